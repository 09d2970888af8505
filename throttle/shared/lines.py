"""A meter as a store keeps it: four lines, charged together, the last three of which some do without.

- The *main* line is the bucket. For a meter that learns, its level is the lower bound of what is believed, so that what
  is doubtful is never handed out, and a call takes from it what it may cost at most.
- The *front* line lets no longer burst go than the server takes, or leaves others their headroom.
- The *pace* line has no capacity: it keeps calls apart.
- The *count* line holds nobody back; its `spent` counts the estimates, as they are before anything is learned of them.

The main line of a meter of the calendar day is a dated one.

Every process works out for itself, from the answers to its own calls, what each line should be (a lesson); the store
keeps what the newest anchor says. What other processes charge is read off the count line, and entered in the belief
at the instants at which their calls leave. They are taken to use the models that this process uses: a fleet runs the
same program.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final, NamedTuple

from throttle.bucket import NEVER
from throttle.feedback.belief import BRIM, COLD_RATIO, SIGMAS, Belief
from throttle.meter import MINUTE_US, Amount, BucketMeter, Meter, ResetMeter
from throttle.stores.protocol import DATED, MODULUS, LessonLine, Line, StoredLine

__all__ = [
    "COUNT",
    "LARGEST",
    "LINES",
    "MAIN",
    "BeliefLines",
    "BucketLines",
    "DatedLines",
    "MeterLines",
    "Scale",
    "Seen",
    "lines_of",
    "spent_between",
]

LINES: Final = 4
MAIN, FRONT, PACE, COUNT = 0, 1, 2, 3
LARGEST: Final = 1 << 46
"""No line holds more grains, so that a store may compute in doubles."""
FINEST: Final = 100_000
"""A rate is at least so many grains a tick, so that a hundred-thousandth of it can be told."""
DATED_GRAINS: Final = 1000
"""Grains to one of a dated meter's unit: amounts may be weighted."""
OTHER_PROCESSES: Final = "(other processes)"
WINDOW_PACE, WINDOW_BURST = 0.97, 0.02
"""On a server that counts over windows, processes together go at this share of the limit, in bursts of so much of it:
the one and the other come to less than a window's quota.
"""
STEPS: Final = 8
"""In how many parts what others charged is spread over the time in which they did."""


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


class Seen(NamedTuple):
    """What an answer shows of a meter.

    Attributes:
        level: of the main line, without what is reserved for calls of ours that haven't gone yet.
        at_us: the instant of that, by our clock.
        foreign: what other processes counted since the last exchange.
        charged: what they took from the main line for it.
        from_us: the instant after which their calls go.
        to_us: the instant of the last one.
        day: of a dated line, the number of its latest reset.
    """

    level: int
    at_us: int
    foreign: int
    charged: int
    from_us: int
    to_us: int
    day: int


class BucketLines:
    """The lines of a meter that trusts its own bucket."""

    follows_others = False

    def __init__(self, meter: BucketMeter, scale: Scale) -> None:
        self.meter = meter
        self.scale = scale

    def define(self, now_us: int, first: Amount, crowded: bool) -> list[Line]:
        bucket = self.meter.bucket
        capacity = self.scale.amount(bucket.capacity / bucket.window_us)
        rate = self.scale.rate(bucket.limit * 1e6 / bucket.window_us)
        off = Line(0, self.scale.tick_us, 0, 0)
        return [Line(rate, self.scale.tick_us, capacity, capacity), off, off, off]

    def amounts(self, amount: Amount, model: str) -> list[int]:
        grains = self.scale.amount(amount)
        return [grains] * LINES

    def lesson(self, now_us: int, line: StoredLine) -> list[LessonLine] | None:
        return None

    def anchor_us(self) -> int:
        return -NEVER

    def sync(self, now_us: int, seen: Seen) -> None:
        """Bring the bucket, which only tells what to expect, in line with the store's."""
        bucket = self.meter.bucket
        bucket.level = min(bucket.capacity, int(self.scale.value(seen.level) * bucket.window_us))
        bucket.at_us = seen.at_us

    def pass_time(self, now_us: int) -> None:
        pass

    def coming(self) -> int:
        return 0


class DatedLines:
    """The lines of a meter that does not refill but at an hour of the day."""

    follows_others = False

    def __init__(self, meter: ResetMeter) -> None:
        self.meter = meter
        self.scale = Scale(DATED_GRAINS, MINUTE_US)

    def define(self, now_us: int, first: Amount, crowded: bool) -> list[Line]:
        capacity = self.scale.amount(self.meter.limit)
        off = Line(0, self.scale.tick_us, 0, 0)
        return [Line(DATED, self.scale.tick_us, capacity, capacity), off, off, off]

    def amounts(self, amount: Amount, model: str) -> list[int]:
        return [self.scale.amount(amount)] * LINES

    def lesson(self, now_us: int, line: StoredLine) -> list[LessonLine] | None:
        return None

    def anchor_us(self) -> int:
        return -NEVER

    def sync(self, now_us: int, seen: Seen) -> None:
        """See what all took on the same day."""
        meter = self.meter
        if seen.day == meter.day_at(now_us):
            meter.taken = max(meter.limit - self.scale.value(seen.level), meter.shown)

    def pass_time(self, now_us: int) -> None:
        pass

    def coming(self) -> int:
        return 0


class BeliefLines:
    """The lines of a meter that learns from answers."""

    follows_others = True

    def __init__(self, meter: Belief, scale: Scale) -> None:
        self.meter = meter
        self.scale = scale
        self._latest: tuple[str, float] = ("", 0.0)
        self._mine: dict[str, float] = {}
        self._coming: deque[tuple[int, int, int]] = deque()

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
            Line(0, scale.tick_us, 0, 0),
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
        self._mine[model] = self._mine.get(model, 0.0) + amount
        grains = scale.amount(own)
        return [scale.amount(most), grains, grains, scale.amount(amount)]

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
            return [LessonLine(0, scale.amount(limit)), front, paces, LessonLine(0, 0)]
        kept = min(belief._margin(now, k, amount), BRIM * limit)
        level = None if belief.blind or not belief._anchored else scale.amount(min(limit, state.level) - kept)
        main = LessonLine(scale.rate(belief._free_rate()), scale.amount(limit - kept), level)
        first = belief.trickle or belief.share
        front = LessonLine(scale.rate(first.rate), scale.amount(first.room)) if first is not None else LessonLine(0, 0)
        return [main, front, paces, LessonLine(0, 0)]

    def sync(self, now_us: int, seen: Seen) -> None:
        """Take note of what other processes charged since the last exchange."""
        self.pass_time(now_us)
        if seen.foreign or seen.charged:
            span = max(0, seen.to_us - seen.from_us)
            for step in range(1, STEPS + 1):
                part = slice_of(seen.foreign, step), slice_of(seen.charged, step)
                self._coming.append((seen.to_us - span * (STEPS - step) // STEPS, *part))

    def pass_time(self, now_us: int) -> None:
        """Enter the calls of other processes that have left by now."""
        coming = self._coming
        while coming and coming[0][0] <= now_us:
            at_us, foreign, _ = coming.popleft()
            if foreign:
                self._enter(at_us * 1e-6, self.scale.value(foreign))

    def coming(self) -> int:
        """Tell what the main line was charged for calls of others that have not left yet."""
        return sum(charged for _, _, charged in self._coming)

    def _enter(self, at: float, amount: float) -> None:
        belief, mine = self.meter, self._mine
        belief._ease_until_us = 0
        total = sum(mine.values())
        for model, share in list(mine.items()) if total > 0 else [(OTHER_PROCESSES, 1.0)]:
            part = amount * share / total if total > 0 else amount
            if part == 0.0:
                continue
            k = belief._of(model)
            belief._catch_up(at)
            own = belief.filter.ratios[k] * part
            if belief.known:
                belief.filter.charge(k, part, own * own)
            else:
                belief.filter.level -= own
            times = belief.ledger.times
            belief.ledger.add(max(at, times[-1]) if times else at, k, part, own)


MeterLines = BucketLines | BeliefLines | DatedLines


def lines_of(meter: Meter) -> MeterLines | None:
    """Make a meter's lines; None where a store has none for it (calls in flight)."""
    if isinstance(meter, BucketMeter):
        return BucketLines(meter, Scale.of(meter.limit, meter.bucket.window_us))
    if isinstance(meter, Belief):
        return BeliefLines(meter, Scale.of(meter.limit, round(meter.window_s * 1e6)))
    if isinstance(meter, ResetMeter):
        return DatedLines(meter)
    return None


def spent_between(before: int, after: int) -> int:
    """Tell the difference of two of a line's sums; it may be negative, where charges were given back."""
    more = (after - before) % MODULUS
    return more - MODULUS if more >= MODULUS // 2 else more


def slice_of(whole: int, step: int) -> int:
    """Tell the part of a whole that belongs to one of `STEPS`; together they come to it exactly."""
    return whole * step // STEPS - whole * (step - 1) // STEPS
