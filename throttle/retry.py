"""How often and when a refused call is sent again.

A refusal that says when to come back is followed; the delays here are for those that don't, and the bounds for all of
them. A retry is a reservation: the call goes back to the head of its pool's queue, and the pool pauses. Nobody
sleeps.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["RETRIED", "Retry"]

RETRIED: Final = ("rate", "overloaded")
"""The refusals that are worth another attempt: a limit that refills, and a server under load."""


@dataclass(frozen=True, slots=True)
class Retry:
    """When a call that the server refused (429) is sent again.

    Attributes:
        attempts: how often it is sent at most, the first time included; 1 or more.
        initial_s: the first delay in seconds, where the server gives none.
        maximum_s: no delay is longer than this, where the server gives none.
        base: by what each delay is longer than the one before.
        jitter: up to which fraction a delay is lengthened at random, never shortened.
        errors: which refusals are sent again: `"rate"` (a limit that refills), `"overloaded"` (the server's own load).
            What can't succeed (a call that is too large, an empty quota) is never among them.
        delays_s: delays one after another in place of `initial_s` and `base`; their number bounds the attempts.
    """

    attempts: int = 10
    initial_s: float = 1.0
    maximum_s: float = 60.0
    base: float = 2.0
    jitter: float = 0.1
    errors: Sequence[str] = RETRIED
    delays_s: Sequence[float] = ()

    def __post_init__(self) -> None:
        for name, least in (("attempts", 1), ("initial_s", 0), ("maximum_s", 0), ("base", 1), ("jitter", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
                raise ValueError(f"Retry({name}={value!r}): a number of {least} or more is wanted")
        errors = (self.errors,) if isinstance(self.errors, str) else tuple(self.errors)
        if unknown := [error for error in errors if error not in RETRIED]:
            raise ValueError(f"Retry(errors={unknown!r}): only {', '.join(RETRIED)} can be sent again")
        if any(not delay >= 0 for delay in self.delays_s):
            raise ValueError(f"Retry(delays_s={self.delays_s!r}): delays of 0 or more are wanted")
        object.__setattr__(self, "errors", errors)

    @classmethod
    def of(cls, given: Retry | Iterable[float] | None) -> Retry | None:
        """Read a policy, an explicit list of delays in seconds, or None for no retries.

        Raises:
            TypeError: something else.
        """
        if given is None or isinstance(given, Retry):
            return given
        if isinstance(given, str | bytes) or not isinstance(given, Iterable):
            raise TypeError(f"retry wants throttle.Retry(…), a list of delays in seconds, or None, not {given!r}")
        delays_s = tuple(given)
        return cls(attempts=len(delays_s) + 1, delays_s=delays_s)

    def allows(self, attempts: int, kind: str) -> bool:
        """Tell whether a call that was sent `attempts` times and refused for `kind` may be sent once more."""
        return attempts < self.attempts and kind in self.errors

    def delay_s(self, attempts: int, hint_s: float | None, in_row: int | None = None) -> float:
        """Tell how long to be silent after the refusal of attempt number `attempts`, in seconds.

        Args:
            attempts: how often the call was sent.
            hint_s: what the server said. It is believed once; where the next call is refused as well, the delays of the
                policy begin beside it. An explicit list of delays is a floor from the first. Jitter comes on top.
            in_row: the number of refusals in a row, if it isn't this call's attempts that count.
        """
        steps = attempts if in_row is None else in_row
        if self.delays_s:
            own_s = self.delays_s[min(attempts, len(self.delays_s)) - 1]
        elif hint_s is None:
            own_s = self._grown_s(steps)
        else:
            own_s = self._grown_s(in_row - 1) if in_row is not None and in_row > 1 else 0.0
        delay_s = max(own_s, hint_s or 0.0)
        return (
            delay_s * (1 + self.jitter * random.random())
            if hint_s is None
            else delay_s + random.random() * min(self.jitter * delay_s, HINT_JITTER_S)
        )

    def _grown_s(self, steps: int) -> float:
        return min(self.maximum_s, self.initial_s * self.base ** min(steps - 1, 64))


HINT_JITTER_S: Final = 0.1
"""A hint is followed to within this: the pool lets its callers go one after another anyway, so no herd is to be
broken up.
"""
