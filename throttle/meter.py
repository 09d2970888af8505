"""What a pool asks of a meter, and the meters that need no feedback.

A meter is one limit of a pool: requests a minute, tokens a day, calls in flight. A pool asks each of its meters when a
call may go, and charges all of them at the one instant at which every one can pay. Amounts are in the meter's own unit
(requests, tokens, …).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from throttle.bucket import NEVER, Bucket, grains_of
from throttle.feedback.belief import Belief, BeliefSnapshot
from throttle.feedback.headers import Reading
from throttle.feedback.refusals import Refusal

__all__ = ["Amount", "BucketMeter", "InFlightMeter", "Meter", "MeterSnapshot", "ResetMeter", "amount_for"]

MINUTE_US = 60_000_000
FORETOLD_US = 400 * 86_400_000_000
"""How far ahead a wait is foretold for a meter that is full again at an hour of the day."""

Amount = float
"""What a call is charged, in a meter's unit; mostly a whole number."""


@dataclass(frozen=True, slots=True)
class MeterSnapshot:
    """What one meter is believed to hold.

    Attributes:
        name: the meter's name in the limits file (`"rpm"`, `"tpm"`, …).
        unit: what it counts.
        level: what could be charged now, in `unit`; below zero where more was charged than there was.
        limit: what flows in during one window.
        window_s: the window in seconds; 0 for calls in flight.
        capacity: what the bucket holds when full.
        origin: where the limit comes from: `"bundled"`, `"user"` or `"server"`.
    """

    name: str
    unit: str
    level: float
    limit: float
    window_s: float
    capacity: float
    origin: str


class Meter(Protocol):
    """The seam between a pool and its meters. `mark` is whatever `take` returned for that call.

    Attributes:
        crowded: more than one call waits; set by the pool.
        pool: the pool's name in the limits file, which servers name in refusals.
        scope: `"organization"`, or `"project"` for a project's own limit.
        counts: what a call is charged, as units with their factors; empty: the meter's own unit.
    """

    crowded: bool
    pool: str
    scope: str
    counts: tuple[tuple[str, float], ...]

    @property
    def name(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def origin(self) -> str: ...

    @property
    def limit(self) -> float: ...

    @property
    def window_s(self) -> float:
        """The window in seconds; 0 where nothing refills."""

    @property
    def largest(self) -> float:
        """What one call may cost at most; headroom and cushions never lower it."""

    def ready_at(self, now_us: int, amount: Amount, model: str, alone: bool) -> int:
        """Tell the first instant at which a call of `amount` may go, as far as known now; NEVER where only an event can
        tell.

        `alone` says that no call of the pool is under way, so that no answer can come to teach more.
        """

    def foretell(self, now_us: int, total: Amount, model: str) -> int:
        """Tell when calls that need `total` together will all have gone, at the earliest; may exceed the capacity."""

    def take(self, now_us: int, amount: Amount, model: str) -> Any:
        """Charge a call that goes now."""

    def cancel(self, now_us: int, mark: Any) -> None:
        """Give back the charge of a call that was not sent."""

    def release(self, now_us: int, mark: Any) -> None:
        """Learn that the call has ended; its charge stays."""

    def settle(self, now_us: int, mark: Any, amount: Amount) -> Any:
        """Replace what was charged by what the call really cost; returns the new mark."""

    def answered(self, now_us: int, mark: Any, reading: Reading | None) -> None:
        """Learn what the headers of a call's answer say of this meter; None where they say nothing."""

    def refused(self, now_us: int, mark: Any, refusal: Refusal, *, mine: bool | None) -> None:
        """Learn that the server refused the call for its rate and charged nothing; `mine`: for this meter, None: it
        didn't say for which.
        """

    def adopt(self, now_us: int, limit: float, origin: str) -> None:
        """Go on with another limit; the level stays, but for what no longer fits."""

    def snapshot(self, now_us: int) -> MeterSnapshot | BeliefSnapshot: ...


def amount_for(meter: Meter, known: Mapping[str, Amount]) -> Amount:
    """Tell what a meter counts of a call of which so much is known, by unit."""
    if meter.counts:
        return sum(known.get(unit, 0) * factor for unit, factor in meter.counts)
    return known.get(meter.unit, 0)


class BucketMeter:
    """A meter that trusts its own bucket: exact where nobody else uses the account and the estimate is what the server
    books.
    """

    __slots__ = (
        "_burst_us",
        "_headroom",
        "bucket",
        "counts",
        "crowded",
        "heir",
        "largest",
        "name",
        "origin",
        "pool",
        "scope",
        "unit",
    )

    def __init__(
        self,
        name: str,
        unit: str,
        limit: int,
        window_us: int,
        *,
        now_us: int,
        burst_us: int,
        headroom: float,
        origin: str,
    ) -> None:
        """Make the meter; full at `now_us`.

        Args:
            name: its name in the limits file.
            unit: what it counts.
            limit: how much flows in during one window.
            window_us: the window in microseconds.
            now_us: the instant of its making.
            burst_us: how many microseconds of refill the bucket holds.
            headroom: the fraction of the limit that is left to others, 0 to below 1.
            origin: where the limit comes from.
        """
        self.name = name
        self.unit = unit
        self.origin = origin
        self.pool = ""
        self.scope = "organization"
        self.counts: tuple[tuple[str, float], ...] = ()
        self.crowded = False
        self.heir: Belief | None = None  # the meter that took this one's place, and its charges
        self._burst_us = burst_us
        self._headroom = Fraction(headroom).limit_denominator(10**6)
        self.largest = max(1.0, limit * burst_us / window_us)
        usable, capacity = self._usable(limit, window_us)
        self.bucket = Bucket(usable, window_us, at_us=now_us, capacity=capacity)

    def _usable(self, limit: float, window_us: int) -> tuple[int, int]:
        """Tell what headroom leaves of a limit: tokens a window, and the grains that the bucket holds."""
        usable = max(1, int(limit * (1 - self._headroom)))
        return usable, max(usable * self._burst_us, window_us)

    def adopt(self, now_us: int, limit: float, origin: str) -> None:
        window_us = self.bucket.window_us
        self.origin = origin
        self.largest = max(1.0, limit * self._burst_us / window_us)
        self.bucket.resize(now_us, *self._usable(limit, window_us))

    def ready_at(self, now_us: int, amount: Amount, model: str, alone: bool) -> int:
        bucket = self.bucket
        grains = amount * bucket.window_us if type(amount) is int else grains_of(amount, bucket.window_us)
        bucket.advance(now_us)
        if grains <= bucket.level:
            return now_us
        if grains <= bucket.capacity:
            return bucket.ready_at(now_us, grains)
        if amount > self.largest and self.origin != "bundled":
            return NEVER
        # what exceeds the bucket goes when it is full, and is earned back afterwards
        return bucket.ready_at(now_us, bucket.capacity)

    def foretell(self, now_us: int, total: Amount, model: str) -> int:
        bucket = self.bucket
        lack = grains_of(total, bucket.window_us) - bucket.level_at(now_us)
        return now_us if lack <= 0 else now_us - (-lack // bucket.limit)

    def take(self, now_us: int, amount: Amount, model: str) -> int:
        bucket = self.bucket
        grains = amount * bucket.window_us if type(amount) is int else grains_of(amount, bucket.window_us)
        if now_us > bucket.at_us:
            bucket.advance(now_us)
        bucket.level -= grains
        return grains

    @property
    def limit(self) -> float:
        return self.bucket.limit

    @property
    def window_s(self) -> float:
        return self.bucket.window_us / 1e6

    def cancel(self, now_us: int, mark: int) -> None:
        self._give(now_us, mark)

    def release(self, now_us: int, mark: int) -> None:
        pass

    def answered(self, now_us: int, mark: int, reading: Reading | None) -> None:
        pass

    def refused(self, now_us: int, mark: int, refusal: Refusal, *, mine: bool | None) -> None:
        self._give(now_us, mark)

    def settle(self, now_us: int, mark: int, amount: Amount) -> int:
        grains = grains_of(amount, self.bucket.window_us)
        self._give(now_us, mark - grains)
        return grains

    def _give(self, now_us: int, grains: int) -> None:
        self.bucket.give(now_us, grains)
        if self.heir is not None:
            self.heir.give(now_us, grains / self.bucket.window_us)

    def used_at(self, now_us: int) -> float:
        """Tell how much of the bucket has not flowed back yet."""
        bucket = self.bucket
        return (bucket.capacity - bucket.level_at(now_us)) / bucket.window_us

    def snapshot(self, now_us: int) -> MeterSnapshot:
        bucket = self.bucket
        window_us = bucket.window_us
        return MeterSnapshot(
            name=self.name,
            unit=self.unit,
            level=bucket.level_at(now_us) / window_us,
            limit=bucket.limit,
            window_s=window_us / 1e6,
            capacity=bucket.capacity / window_us,
            origin=self.origin,
        )


class InFlightMeter:
    """A bound on the calls that are under way at the same time. A place comes back when a call ends, not with time."""

    __slots__ = ("counts", "crowded", "limit", "name", "origin", "pool", "scope", "taken", "unit", "window_s")

    def __init__(self, name: str, limit: int, *, origin: str) -> None:
        self.name = name
        self.unit = "in_flight"
        self.limit: float = limit
        self.origin = origin
        self.pool = ""
        self.scope = "organization"
        self.counts: tuple[tuple[str, float], ...] = ()
        self.taken: float = 0
        self.window_s = 0.0
        self.crowded = False

    @property
    def largest(self) -> float:
        return self.limit

    def ready_at(self, now_us: int, amount: Amount, model: str, alone: bool) -> int:
        return now_us if self.taken + amount <= self.limit or not self.taken else NEVER

    def foretell(self, now_us: int, total: Amount, model: str) -> int:
        return now_us

    def take(self, now_us: int, amount: Amount, model: str) -> Amount:
        self.taken += amount
        return amount

    def cancel(self, now_us: int, mark: Amount) -> None:
        self.taken -= mark

    def release(self, now_us: int, mark: Amount) -> None:
        self.taken -= mark

    def answered(self, now_us: int, mark: Amount, reading: Reading | None) -> None:
        pass

    def refused(self, now_us: int, mark: Amount, refusal: Refusal, *, mine: bool | None) -> None:
        self.taken -= mark

    def settle(self, now_us: int, mark: Amount, amount: Amount) -> Amount:
        return mark

    def adopt(self, now_us: int, limit: float, origin: str) -> None:
        self.limit, self.origin = limit, origin

    def snapshot(self, now_us: int) -> MeterSnapshot:
        return MeterSnapshot(
            name=self.name,
            unit=self.unit,
            level=float(self.limit - self.taken),
            limit=self.limit,
            window_s=0.0,
            capacity=self.limit,
            origin=self.origin,
        )


class ResetMeter:
    """A meter that does not refill: what was taken comes back all at once, at an hour of the day."""

    __slots__ = (
        "_next_us",
        "_until_us",
        "_wall_us",
        "counts",
        "crowded",
        "day",
        "limit",
        "name",
        "origin",
        "pool",
        "scope",
        "shown",
        "taken",
        "unit",
        "window_s",
    )

    def __init__(
        self,
        name: str,
        unit: str,
        limit: int,
        next_us: Callable[[int], int],
        *,
        window_s: float,
        origin: str,
        wall_us: Callable[[int], int] = int,
    ) -> None:
        """Make the meter, with nothing taken.

        Args:
            name: its name in the limits file.
            unit: what it counts.
            limit: how much may be taken from one reset to the next.
            next_us: tells for an instant the next one at which it is full again.
            window_s: how long a day is, in seconds.
            origin: where the limit comes from.
            wall_us: tells the time of day, in microseconds of the epoch, at an instant.
        """
        self.name = name
        self.unit = unit
        self.limit: float = limit
        self.window_s = window_s
        self.origin = origin
        self.pool = ""
        self.scope = "organization"
        self.counts: tuple[tuple[str, float], ...] = ()
        self.crowded = False
        self.taken: float = 0
        self.shown: float = 0
        """What the server has shown to be taken, at least."""
        self.day = 0
        """The day's number, the same in all processes: the minute of the epoch with which it ends."""
        self._next_us = next_us
        self._wall_us = wall_us
        self._until_us = -NEVER

    @property
    def largest(self) -> float:
        return self.limit

    def day_at(self, now_us: int) -> int:
        """Tell the number of the day that it is."""
        self._roll(now_us)
        return self.day

    def full_at(self, now_us: int) -> int:
        """Tell when everything comes back next."""
        self._roll(now_us)
        return self._until_us

    def took_today(self, now_us: int, mark: tuple[int, Amount]) -> bool:
        """Tell whether what a mark tells of was taken since the last reset."""
        self._roll(now_us)
        return mark[0] == self._until_us

    def ready_at(self, now_us: int, amount: Amount, model: str, alone: bool) -> int:
        self._roll(now_us)
        if amount > self.limit and self.origin != "bundled":
            return NEVER
        return now_us if min(amount, self.limit) <= self.limit - self.taken else self._until_us

    def foretell(self, now_us: int, total: Amount, model: str) -> int:
        self._roll(now_us)
        left, at_us = self.limit - self.taken, now_us
        while total > left and at_us < now_us + FORETOLD_US:
            at_us = self._until_us if at_us == now_us else self._next_us(at_us)
            left += self.limit
        return at_us

    def take(self, now_us: int, amount: Amount, model: str) -> tuple[int, Amount]:
        self._roll(now_us)
        self.taken += amount
        return self._until_us, amount

    def cancel(self, now_us: int, mark: tuple[int, Amount]) -> None:
        if self.took_today(now_us, mark):  # what was taken before has come back already
            self.taken -= mark[1]

    def release(self, now_us: int, mark: tuple[int, Amount]) -> None:
        pass

    def settle(self, now_us: int, mark: tuple[int, Amount], amount: Amount) -> tuple[int, Amount]:
        self.cancel(now_us, mark)
        return self.take(now_us, amount, "")

    def answered(self, now_us: int, mark: tuple[int, Amount], reading: Reading | None) -> None:
        """Follow the server where it counts more than we do."""
        if self.took_today(now_us, mark) and reading is not None and reading.remaining is not None:
            self.shown = max(self.shown, self.limit - reading.remaining)
            self.taken = max(self.taken, self.shown)

    def refused(self, now_us: int, mark: tuple[int, Amount], refusal: Refusal, *, mine: bool | None) -> None:
        self.cancel(now_us, mark)
        if mine:
            self.shown = max(self.shown, self.limit)
            self.taken = max(self.taken, self.shown)

    def adopt(self, now_us: int, limit: float, origin: str) -> None:
        self.limit, self.origin = limit, origin

    def snapshot(self, now_us: int) -> MeterSnapshot:
        self._roll(now_us)
        return MeterSnapshot(
            name=self.name,
            unit=self.unit,
            level=float(self.limit - self.taken),
            limit=self.limit,
            window_s=self.window_s,
            capacity=self.limit,
            origin=self.origin,
        )

    def _roll(self, now_us: int) -> None:
        if now_us >= self._until_us:
            self._until_us, self.taken, self.shown = self._next_us(now_us), 0, 0
            self.day = round(self._wall_us(self._until_us) / MINUTE_US)
