"""How many calls to have out at once where no limit says: found by trying. Pure; time is an argument.

A pool with limits needs none of this: its limiter lets calls go at the pool's rate, so that as many are out as the rate
times the latency. Where nothing is known of a model's limits, more calls at once give more answers a second until the
server (or this machine) is busy; from then on they only wait there instead of here. So: grow while growing pays, and
stay where it stops paying.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Window"]

FIRST: Final = 16
GROWTH: Final = 1.5
PAYS: Final = 1.15
"""Growing by half must bring at least this much more throughput to have paid."""

REST_ROUNDS: Final = 8
"""How many rounds pass before growing is tried again after it didn't pay."""


class Window:
    """The number of calls that may be out, between 1 and `most`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = min(FIRST, most)
        self._begun_s: float | None = None
        self._landed = 0
        self._smaller: tuple[int, float] | None = None
        self._rest = 0

    def landed(self, now_s: float, *, filled: bool) -> bool:
        """Learn that a call has come back well; `filled` says that the window was full when it did.

        Returns:
            Whether this ended a round: as many calls as the window holds.
        """
        if self._begun_s is None or not filled:
            self._begun_s, self._landed = now_s, 0
            return True
        self._landed += 1
        if self._landed < self.size or now_s <= self._begun_s:
            return False
        self._end_round(self._landed / (now_s - self._begun_s))
        self._begun_s, self._landed = now_s, 0
        return True

    def troubled(self) -> None:
        """Learn that the server was overloaded or didn't answer: halve, and rest."""
        self.size = max(1, self.size // 2)
        self._smaller = None
        self._rest = REST_ROUNDS
        self._begun_s = None

    def _end_round(self, per_second: float) -> None:
        if self._smaller is not None:
            size, before = self._smaller
            self._smaller = None
            if per_second < before * PAYS:
                self.size, self._rest = size, REST_ROUNDS
                return
        if self._rest:
            self._rest -= 1
        elif self.size < self.most:
            self._smaller = (self.size, per_second)
            self.size = min(self.most, int(self.size * GROWTH) + 1)
