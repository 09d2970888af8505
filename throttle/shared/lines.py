"""A meter as a store keeps it: three lines, charged together.

- The *main* line is the bucket. For a meter that learns, its level is the lower bound of what is believed, so that what
  is doubtful is never handed out, and a call takes from it what it may cost at most.
- The *front* line lets no longer burst go than the server takes, or leaves others their headroom.
- The *pace* line has no capacity: it keeps calls apart, and counts what they are believed to cost.

Every process works out for itself, from the answers to its own calls, what each line should be (a lesson); the store
keeps what the newest anchor says. What other processes charge is read off the pace line's `spent`, and entered in the
belief as calls of one more model, whose ratio is learned like any other's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from throttle.bucket import NEVER
from throttle.feedback.belief import BRIM, COLD_RATIO, SIGMAS, Belief, Mark
from throttle.meter import Amount, BucketMeter, Meter
from throttle.stores.protocol import MODULUS, LessonLine, Line, StoredLine

__all__ = [
    "LINES",
    "MAIN",
    "PACE",
    "BeliefLines",
    "BucketLines",
    "MeterLines",
    "Scale",
    "Seen",
    "lines_of",
    "spent_between",
]

LINES: Final = 3
MAIN, FRONT, PACE = 0, 1, 2
LARGEST: Final = 1 << 46
"""No line holds more grains, so that a store may compute in doubles."""
FINEST: Final = 100_000
"""A rate is at least so many grains a tick, so that a hundred-thousandth of it can be told."""
OTHER_PROCESSES: Final = "(other processes)"
WINDOW_PACE, WINDOW_BURST = 0.97, 0.02
"""On a server that counts over windows, processes together go at this share of the limit, in bursts of so much of it:
the one and the other come to less than a window's quota.
"""
STEPS: Final = 8
"""In how many parts what others charged is spread over the time in which they did."""
STALE_S: Final = 2.0
"""After so long without news of the others, the store's level is nearer the truth than ours."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How a meter's amounts are counted: `grains` to one of its unit, refilled each `tick_us`."""

    grains: int
    tick_us: int

    @classmethod
    def of(cls, limit: float, window_us: int) -> Scale:
        """Choose the finest scale that a store can compute with exactly."""
        fine = 1
        while limit * fine < FINEST:
            fine *= 10
        tick_us = 1
        while limit * fine * window_us / tick_us >= LARGEST and tick_us < window_us:
            tick_us *= 10
        return cls(max(1, fine * window_us // tick_us), tick_us)

    def amount(self, value: float) -> int:
        """Count an amount, rounded up."""
        grains = value * self.grains if isinstance(value, int) else math.ceil(value * self.grains)
        return max(-LARGEST, min(2 * LARGEST, grains))

    def rate(self, per_s: float) -> int:
        """Count a rate, rounded down, but never to nothing."""
        return max(1, int(per_s * self.grains * self.tick_us / 1e6 * (1 + 1e-12)))  # whole rates stay whole

    def value(self, grains: int) -> float:
        """Tell an amount in the meter's unit."""
        return grains / self.grains


@dataclass(frozen=True, slots=True)
class Seen:
    """What an answer shows of a meter.

    Attributes:
        level: of the main line, without what is reserved for calls of ours that haven't gone yet.
        at_us: the instant of that, by our clock.
        foreign: what other processes charged since the last exchange.
        gap_us: how long ago that was.
    """

    level: int
    at_us: int
    foreign: int
    gap_us: int


class BucketLines:
    """The lines of a meter that trusts its own bucket."""

    def __init__(self, meter: BucketMeter, scale: Scale) -> None:
        self.meter = meter
        self.scale = scale

    def define(self, now_us: int, first: Amount, crowded: bool) -> list[Line]:
        bucket = self.meter.bucket
        capacity = self.scale.amount(bucket.capacity / bucket.window_us)
        rate = self.scale.rate(bucket.limit * 1e6 / bucket.window_us)
        off = Line(0, self.scale.tick_us, 0, 0)
        return [Line(rate, self.scale.tick_us, capacity, capacity), off, off]

    def amounts(self, amount: Amount, model: str) -> list[int]:
        grains = self.scale.amount(amount)
        return [grains, grains, grains]

    def lesson(self, now_us: int, line: StoredLine) -> list[LessonLine] | None:
        return None

    def anchor_us(self) -> int:
        return -NEVER

    def sync(self, now_us: int, seen: Seen) -> None:
        """Bring the bucket, which only tells what to expect, in line with the store's."""
        bucket = self.meter.bucket
        bucket.level = min(bucket.capacity, int(self.scale.value(seen.level) * bucket.window_us))
        bucket.at_us = seen.at_us

    def placed(self, mark: Any, foreign_since: int) -> Any:
        return mark


class BeliefLines:
    """The lines of a meter that learns from answers."""

    def __init__(self, meter: Belief, scale: Scale) -> None:
        self.meter = meter
        self.scale = scale
        self._latest: tuple[str, float] = ("", 0.0)

    def define(self, now_us: int, first: Amount, crowded: bool) -> list[Line]:
        """Make the lines of a server of which nothing is known: taken for empty, but that a lone call goes at once."""
        belief, scale = self.meter, self.scale
        capacity = scale.amount(belief.limit)
        rate = scale.rate(belief.rate)
        if belief.known:
            level = capacity  # a long window, which starts full in our belief
        else:
            level = 0 if crowded else self.amounts(first, "")[MAIN]
        front = belief.trickle or belief.share
        front_line = (scale.rate(front.rate), scale.amount(front.room)) if front is not None else (0, 0)
        pace = scale.rate(belief.rate) if belief.pacing == "smooth" else 0
        return [
            Line(rate, scale.tick_us, capacity, min(level, capacity)),
            Line(front_line[0], scale.tick_us, front_line[1], front_line[1]),
            Line(pace, scale.tick_us, 0, 0),
        ]

    def amounts(self, amount: Amount, model: str) -> list[int]:
        belief, scale = self.meter, self.scale
        k = belief._index.get(model)
        ratio = 1.0 if k is None else belief.filter.ratios[k]
        own = ratio * amount
        if belief.fixed:
            most = own
        elif not belief.known:
            most = COLD_RATIO * own
        else:
            deviation = belief.filter.ratio_sd(k) if k is not None else 0.25
            most = own + SIGMAS * deviation * amount
        self._latest = (model, float(amount))
        grains = scale.amount(own)
        return [scale.amount(most), grains, grains]

    def anchor_us(self) -> int:
        """Tell when the newest call left of which an answer has come."""
        belief = self.meter
        return round(belief._confirmed_at * 1e6) if belief.known and belief._anchored else -NEVER

    def lesson(self, now_us: int, line: StoredLine) -> list[LessonLine] | None:
        """Tell what the lines should be now."""
        belief, scale = self.meter, self.scale
        if not belief.known:
            return None
        now = now_us * 1e-6
        model, amount = self._latest
        k = belief._of(model)
        belief._catch_up(now)
        state, limit = belief.filter, belief.limit
        pace = belief._speed(now, belief.ledger.sums[-1])
        paces = LessonLine(0 if math.isinf(pace) else scale.rate(pace), 0)
        if belief._in_windows():
            front = LessonLine(scale.rate(WINDOW_PACE * belief.rate), scale.amount(WINDOW_BURST * limit))
            return [LessonLine(0, scale.amount(limit)), front, paces]
        kept = min(belief._margin(now, k, amount), BRIM * limit)
        level = None if belief.blind or not belief._anchored else scale.amount(min(limit, state.level) - kept)
        main = LessonLine(scale.rate(belief._free_rate()), scale.amount(limit - kept), level)
        first = belief.trickle or belief.share
        front = LessonLine(scale.rate(first.rate), scale.amount(first.room)) if first is not None else LessonLine(0, 0)
        return [main, front, paces]

    def sync(self, now_us: int, seen: Seen) -> None:
        """Enter what other processes charged since the last exchange."""
        belief, now, gap_us = self.meter, now_us * 1e-6, seen.gap_us
        amount = self.scale.value(seen.foreign)
        if gap_us > STALE_S * 1e6 and belief.known:
            belief._catch_up(now)
            kept = belief._margin(now, 0, 0.0) if belief.filter.ratios else 0.0
            level = self.scale.value(seen.level) + min(kept, BRIM * belief.limit)
            belief.filter.level = min(belief.limit, level)
            belief.filter.cov[0][0] += (0.02 * belief.limit) ** 2
            self._enter(now, amount, gap_us, charge=False)
        elif amount:
            self._enter(now, amount, gap_us, charge=True)

    def _enter(self, now: float, amount: float, gap_us: int, *, charge: bool) -> None:
        belief = self.meter
        k = belief._of(OTHER_PROCESSES)
        belief._catch_up(now)
        belief._ease_until_us = 0
        own = belief.filter.ratios[k] * amount
        if charge and belief.known:
            belief.filter.charge(k, amount, own * own / STEPS)
        elif charge:
            belief.filter.level -= own
        ledger = belief.ledger
        begun = max(now - gap_us * 1e-6, ledger.times[-1] if ledger.times else -math.inf)
        for step in range(1, STEPS + 1):
            ledger.add(begun + (now - begun) * step / STEPS, k, amount / STEPS, own / STEPS)

    def placed(self, mark: Mark, foreign_since: int) -> Mark:
        """Place a call where it was reserved: before what others reserved since, although that is entered already."""
        if not foreign_since:
            return mark
        belief, amount = self.meter, self.scale.value(foreign_since)
        k = belief._index[OTHER_PROCESSES]
        totals = list(mark.totals)
        totals[k] -= amount
        return mark._replace(totals=tuple(totals), sent=mark.sent - belief.filter.ratios[k] * amount)


MeterLines = BucketLines | BeliefLines


def lines_of(meter: Meter) -> MeterLines | None:
    """Make a meter's lines; None where a store has none for it (calls in flight, limits of the calendar day)."""
    if isinstance(meter, BucketMeter):
        return BucketLines(meter, Scale.of(meter.limit, meter.bucket.window_us))
    if isinstance(meter, Belief):
        return BeliefLines(meter, Scale.of(meter.limit, round(meter.window_s * 1e6)))
    return None


def spent_between(before: int, after: int) -> int:
    """Tell the difference of two of a line's sums; it may be negative, where charges were given back."""
    more = (after - before) % MODULUS
    return more - MODULUS if more >= MODULUS // 2 else more
