"""What a pool remembers of refusals: how many came in a row, and whether it goes on with one call at a time.

Where the server tells when there is room again, the pool pauses until then and goes on as before. Where nobody can
tell (an overload, a refusal without a time, a time that can't be right), one call goes when the pause has ended: the
*probe*. Everybody else waits until its end is known; refused, it lengthens the next pause. Pure: time is an argument.
"""

from __future__ import annotations

from typing import Final

from throttle.bucket import NEVER

__all__ = ["Breaker"]

PATIENCE_US: Final = 5_000_000
"""How long at least a probe is waited for before another one goes. A refusal comes at once; an answer that takes
minutes must not stop a pool for as long.
"""


class Breaker:
    """The refusals of one pool, as they follow one another."""

    __slots__ = ("_pause_us", "_tripped_at_us", "in_row", "probe", "probing")

    def __init__(self) -> None:
        self.in_row = 0
        self.probing = False
        self.probe: object | None = None
        self._pause_us = 0
        self._tripped_at_us = -NEVER

    def in_row_with(self, admitted_us: int) -> int:
        """Count the refusals in a row, with that of a call admitted then. Calls that went before the last refusal was
        known tell nothing new: a hundred refused at once are one.
        """
        return max(1, self.in_row + (admitted_us >= self._tripped_at_us))

    def trip(self, now_us: int, admitted_us: int, pause_us: int, *, told: bool) -> None:
        """Learn of a refusal, after which the pool pauses; `told`: the server said for how long, and may be right."""
        is_news = admitted_us >= self._tripped_at_us
        self.in_row = self.in_row_with(admitted_us)
        if is_news:
            self._tripped_at_us = now_us
            self._pause_us = pause_us
            self.probing, self.probe = not told, None
        elif not told:
            self.probing = True

    def send(self, probe: object) -> int:
        """Let a call go as the probe; tells how long it is to be waited for, in microseconds."""
        self.probe = probe
        return max(self._pause_us, PATIENCE_US)

    def calm(self, admitted_us: int) -> None:
        """Learn that a call was not refused."""
        if admitted_us >= self._tripped_at_us:
            self.in_row = 0

    def close(self) -> None:
        """Learn that the probe was not refused: everybody may go again."""
        self.probing, self.probe = False, None
