"""One meter of the judge: how much may be taken when. Exact, in fractions; time is an argument, in seconds.

Three ways in which servers count are here. All answer the same questions (see `Meter`), and none shares a line with the
limiter that it judges: an oracle that computes with the code under test proves nothing.

A clock that jumps back is held still: no meter ever gives anything back for it.
"""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from typing import Protocol

__all__ = ["Bucket", "FixedWindow", "Meter", "Openings", "SlidingWindow"]

NOTHING = Fraction(0)


class Meter(Protocol):
    """What the judge asks of a meter. Amounts are of the meter's unit (requests, tokens, …), times in seconds."""

    limit: Fraction
    """What it lets through in one of its periods, as the server would print it."""
    period_s: Fraction
    """The span that `limit` is for."""

    @property
    def capacity(self) -> Fraction:
        """The most that it can ever let through at once."""
        ...

    def level(self, at: Fraction) -> Fraction:
        """What could be taken at `at`; below zero where more was settled than was there."""
        ...

    def ready_in(self, at: Fraction, amount: Fraction) -> Fraction | None:
        """Seconds from `at` until `amount` could be taken if nobody else took anything; None if that will never be."""
        ...

    def full_in(self, at: Fraction) -> Fraction:
        """Seconds from `at` until it is as full as it gets."""
        ...

    def take(self, at: Fraction, amount: Fraction) -> None:
        """Take `amount`, whether it is there or not; a negative one gives back."""
        ...

    def gained(self, at: Fraction) -> Fraction:
        """What has flowed in since the beginning, what was spilled because it was full included."""
        ...

    def change(self, at: Fraction, limit: Fraction) -> None:
        """Go on with another limit; what is there stays, as far as it fits."""
        ...


class Bucket:
    """A token bucket with continuous refill: `limit` flows in over `period_s`, and it holds what flows in over
    `holds_s`.

    What OpenAI's headers show: `reset = (limit - remaining) * period / limit`, in 5,636 of 5,644 recorded pairs.
    """

    __slots__ = ("_at", "_gained", "_level", "holds_s", "least", "limit", "period_s")

    def __init__(
        self, limit: Fraction, period_s: Fraction, *, holds_s: Fraction, least: Fraction = NOTHING, start: Fraction
    ) -> None:
        self.limit = limit
        self.period_s = period_s
        self.holds_s = holds_s
        self.least = least  # it holds this much in any case: one request, where a second's refill is less than one
        self._level = self.capacity * start
        self._gained = NOTHING
        self._at = NOTHING

    @property
    def capacity(self) -> Fraction:
        return max(self.least, self.limit * self.holds_s / self.period_s) if self.limit else NOTHING

    def level(self, at: Fraction) -> Fraction:
        self._advance(at)
        return self._level

    def ready_in(self, at: Fraction, amount: Fraction) -> Fraction | None:
        self._advance(at)
        lack = amount - self._level
        if lack <= 0:
            return NOTHING
        return lack * self.period_s / self.limit if amount <= self.capacity and self.limit else None

    def full_in(self, at: Fraction) -> Fraction:
        self._advance(at)
        return (self.capacity - self._level) * self.period_s / self.limit if self.limit else NOTHING

    def take(self, at: Fraction, amount: Fraction) -> None:
        self._advance(at)
        self._level = min(self.capacity, self._level - amount)

    def gained(self, at: Fraction) -> Fraction:
        self._advance(at)
        return self._gained

    def change(self, at: Fraction, limit: Fraction) -> None:
        self._advance(at)
        self.limit = limit
        self._level = min(self.capacity, self._level)

    def _advance(self, at: Fraction) -> None:
        if at <= self._at:
            return
        gain = (at - self._at) * self.limit / self.period_s
        self._at = at
        self._gained += gain
        self._level = min(self.capacity, self._level + gain)


class Openings:
    """How many calls may be under way at once; each takes one, and gives it back when it ends."""

    __slots__ = ("_open", "limit", "period_s")

    def __init__(self, limit: Fraction, period_s: Fraction) -> None:
        self.limit = limit
        self.period_s = period_s
        self._open = NOTHING

    @property
    def capacity(self) -> Fraction:
        return self.limit

    def level(self, at: Fraction) -> Fraction:
        return self.limit - self._open

    def ready_in(self, at: Fraction, amount: Fraction) -> Fraction | None:
        """Nobody knows when a call will end; one period is said, so that somebody comes to look."""
        if amount <= self.limit - self._open:
            return NOTHING
        return self.period_s if amount <= self.limit else None

    def full_in(self, at: Fraction) -> Fraction:
        return NOTHING

    def take(self, at: Fraction, amount: Fraction) -> None:
        self._open += amount

    def gained(self, at: Fraction) -> Fraction:
        return NOTHING

    def change(self, at: Fraction, limit: Fraction) -> None:
        self.limit = limit


class FixedWindow:
    """A counter that starts again at nothing every `period_s`; the first window ends at `phase_s`."""

    __slots__ = ("_at", "_ends", "_gained", "_used", "limit", "period_s")

    def __init__(
        self, limit: Fraction, period_s: Fraction, *, start: Fraction, phase_s: Fraction | None = None
    ) -> None:
        self.limit = limit
        self.period_s = period_s
        self._used = limit * (1 - start)
        self._ends = period_s if phase_s is None else phase_s
        self._gained = NOTHING
        self._at = NOTHING

    @property
    def capacity(self) -> Fraction:
        return self.limit

    def level(self, at: Fraction) -> Fraction:
        self._advance(at)
        return self.limit - self._used

    def ready_in(self, at: Fraction, amount: Fraction) -> Fraction | None:
        self._advance(at)
        if amount <= self.limit - self._used:
            return NOTHING
        return self._ends - self._at if amount <= self.limit else None

    def full_in(self, at: Fraction) -> Fraction:
        self._advance(at)
        return self._ends - self._at if self._used else NOTHING

    def take(self, at: Fraction, amount: Fraction) -> None:
        self._advance(at)
        self._used = max(NOTHING, self._used + amount)

    def gained(self, at: Fraction) -> Fraction:
        self._advance(at)
        return self._gained

    def change(self, at: Fraction, limit: Fraction) -> None:
        self._advance(at)
        self.limit = limit

    def _advance(self, at: Fraction) -> None:
        if at <= self._at:
            return
        self._at = at
        if at >= self._ends:
            begun = (at - self._ends) // self.period_s + 1
            self._ends += begun * self.period_s
            self._gained += begun * self.limit
            self._used = NOTHING


class SlidingWindow:
    """Whatever was taken in the last `period_s` counts; each amount comes back exactly `period_s` after it was."""

    __slots__ = ("_at", "_gained", "_taken", "_used", "limit", "period_s")

    def __init__(self, limit: Fraction, period_s: Fraction, *, start: Fraction) -> None:
        self.limit = limit
        self.period_s = period_s
        self._used = limit * (1 - start)
        self._taken: deque[tuple[Fraction, Fraction]] = deque([(NOTHING, self._used)] if self._used else [])
        self._gained = NOTHING
        self._at = NOTHING

    @property
    def capacity(self) -> Fraction:
        return self.limit

    def level(self, at: Fraction) -> Fraction:
        self._advance(at)
        return self.limit - self._used

    def ready_in(self, at: Fraction, amount: Fraction) -> Fraction | None:
        self._advance(at)
        lack = amount - (self.limit - self._used)
        if lack <= 0:
            return NOTHING
        if amount <= self.limit:
            for taken_at, taken in self._taken:
                lack -= taken
                if lack <= 0:
                    return taken_at + self.period_s - self._at
        return None

    def full_in(self, at: Fraction) -> Fraction:
        self._advance(at)
        return self._taken[-1][0] + self.period_s - self._at if self._taken else NOTHING

    def take(self, at: Fraction, amount: Fraction) -> None:
        self._advance(at)
        self._taken.append((self._at, amount))
        self._used += amount

    def gained(self, at: Fraction) -> Fraction:
        self._advance(at)
        return self._gained

    def change(self, at: Fraction, limit: Fraction) -> None:
        self._advance(at)
        self.limit = limit

    def _advance(self, at: Fraction) -> None:
        if at <= self._at:
            return
        self._gained += (at - self._at) * self.limit / self.period_s
        self._at = at
        while self._taken and self._taken[0][0] + self.period_s <= at:
            self._used -= self._taken.popleft()[1]
