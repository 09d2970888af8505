"""The judge: which call is let through and which is refused, and by which meter. Pure: time is an argument, in seconds.

A call draws on one or more pools, and is charged an amount for each unit that any of their meters counts. It is
admitted if every meter of every pool can pay at that instant; then all are charged. Otherwise nothing is charged
(what a refused call costs can be set), and the meter that would make it wait longest is named.

All arithmetic is in fractions: at any rate and after any number of calls the judge is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from throttle.simulator.durations import raised_to_ms
from throttle.simulator.limits import IN_FLIGHT, AccountLimits, MeterLimit, read_limits
from throttle.simulator.meters import Bucket, FixedWindow, Meter, Openings, SlidingWindow

__all__ = ["POLICIES", "Admission", "Judge", "MeterSummary", "Refusal", "Standing", "one_pool"]

POLICIES = ("bucket", "fixed", "sliding", "per-second")
"""Ways of counting: a bucket that holds one period's limit; windows; a bucket of requests that holds one second's
refill.
"""

Amount = Fraction | int | float

NOTHING = Fraction(0)
SECOND = Fraction(1)


@dataclass(frozen=True, slots=True)
class Admission:
    """A call that was let through: what it was charged for each unit, in which pools, and every level just before."""

    at: Fraction
    pools: tuple[str, ...]
    charge: Mapping[str, Fraction]
    levels: Mapping[str, Fraction]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that was refused, and everything that a server says about it.

    `wait_s` is exact: the seconds until this call would have been admitted if nobody else had come, None if never.
    `told_s` is what an answer tells: the same from figures rounded to whole units, as in the recorded answers.
    """

    at: Fraction
    pools: tuple[str, ...]
    charge: Mapping[str, Fraction]
    levels: Mapping[str, Fraction]
    pool: str
    meter: str
    unit: str
    limit: int
    used: int
    requested: int
    period_s: Fraction
    wait_s: Fraction | None
    told_s: Fraction | None

    @property
    def too_large(self) -> bool:
        """Tell whether the call is larger than the meter can ever hold."""
        return self.wait_s is None


@dataclass(frozen=True, slots=True)
class Standing:
    """One meter as a header shows it."""

    pool: str
    scope: str
    meter: str
    unit: str
    limit: Fraction
    level: Fraction
    full_in_s: Fraction
    period_s: Fraction


@dataclass(frozen=True, slots=True)
class MeterSummary:
    """What became of one meter since the first call after the mark.

    `offered` is the level then and all that flowed in until the last admission; `utilization` is `charged` over
    `offered` less what others on the account took: 1 is everything.
    """

    pool: str
    meter: str
    unit: str
    limit: float
    period_s: float
    level: float
    level_at_start: float
    charged: float
    others: float
    offered: float
    utilization: float


class _Tracked:
    """A meter with its name and its counters."""

    __slots__ = (
        "at_last",
        "charged",
        "charged_at_last",
        "level_at_start",
        "meter",
        "others",
        "others_at_last",
        "spec",
        "start",
    )

    def __init__(self, spec: MeterLimit, meter: Meter) -> None:
        self.spec = spec
        self.meter = meter
        self.forget()

    def forget(self) -> None:
        self.start: Fraction | None = None  # what had flowed in when the first call came
        self.level_at_start = self.charged = self.others = self.at_last = self.others_at_last = NOTHING

    def begin(self, at: Fraction) -> None:
        if self.start is None:
            self.others = NOTHING
            self.start = self.at_last = self.meter.gained(at)
            self.level_at_start = self.meter.level(at)

    def charge(self, at: Fraction, amount: Fraction, *, others: bool) -> None:
        self.meter.take(at, amount)
        if self.spec.unit == IN_FLIGHT:  # comes back, so it is no part of any sum
            return
        if others:
            self.others += amount
        else:
            self.charged += amount
            self.at_last = self.meter.gained(at)
            self.others_at_last = self.others

    def settle(self, at: Fraction, amount: Fraction) -> None:
        self.meter.take(at, amount)
        self.charged += amount

    def summary(self, pool: str, at: Fraction) -> MeterSummary:
        start = self.meter.gained(at) if self.start is None else self.start
        level_at_start = self.meter.level(at) if self.start is None else self.level_at_start
        offered = level_at_start + max(NOTHING, self.at_last - start)
        room = offered - self.others_at_last
        return MeterSummary(
            pool=pool,
            meter=self.spec.name,
            unit=self.spec.unit,
            limit=float(self.meter.limit),
            period_s=float(self.meter.period_s),
            level=float(self.meter.level(at)),
            level_at_start=float(level_at_start),
            charged=float(self.charged),
            others=float(self.others),
            offered=float(offered),
            utilization=float(self.charged / room) if room > 0 else 0.0,
        )


class Judge:
    """Decide calls by the limits of an account.

    Args:
        limits: the account, as `read_limits` gives it.
        policy: one of `POLICIES`.
        start: how full every meter is at time 0, from 0 to 1.
        window_s: the span over which is counted, where it isn't the meter's own: the length of a window, or how many
            seconds' refill a bucket holds. The quota of a window is the limit's share of it.
        phase_s: when the first fixed window ends; by default after one window.
        refused_cost: what a refused call is charged all the same, by unit, as far as it is there.
        lockout_s: for so long after a refusal everything is refused; whoever keeps trying stays out.
    """

    def __init__(
        self,
        limits: AccountLimits,
        *,
        policy: str = "bucket",
        start: float | Fraction = 1,
        window_s: float | Fraction | None = None,
        phase_s: float | Fraction | None = None,
        refused_cost: Mapping[str, int] | None = None,
        lockout_s: float | Fraction = 0,
    ) -> None:
        self.limits = limits
        self._policy = policy
        self._start = Fraction(start)
        self._window_s = None if window_s is None else Fraction(window_s)
        self._phase_s = None if phase_s is None else Fraction(phase_s)
        self._refused_cost = {unit: Fraction(amount) for unit, amount in (refused_cost or {}).items()}
        self._lockout_s = Fraction(lockout_s)
        self._locked_until: dict[str, Fraction] = {}
        self._meters: dict[str, list[_Tracked]] = {
            name: [_Tracked(spec, self._build(spec, self._start)) for spec in pool.meters]
            for name, pool in limits.pools.items()
        }

    def arrive(
        self,
        at: Fraction | float,
        charge: Mapping[str, Amount],
        pools: Sequence[str] = ("default",),
        *,
        others: bool = False,
    ) -> Admission | Refusal:
        """Decide a call that arrives at `at` and is charged `charge` (unit to amount) in each of `pools`.

        Instants must not go back; one that does is taken as the latest seen. `others=True` is for whoever else is on
        the account: they are judged alike and counted apart.
        """
        now = Fraction(at)
        amounts = {unit: Fraction(amount) for unit, amount in charge.items()}
        amounts.setdefault(IN_FLIGHT, SECOND)
        drawn = [(pool, tracked) for pool in pools for tracked in self._meters[pool]]
        levels: dict[str, Fraction] = {}
        worst: tuple[Fraction | None, str, _Tracked] | None = None
        for pool, tracked in drawn:
            if not others:
                tracked.begin(now)
            levels[self._key(pool, pools, tracked)] = tracked.meter.level(now)
            wait_s = tracked.meter.ready_in(now, amounts.get(tracked.spec.unit, NOTHING))
            if wait_s != 0 and (worst is None or _longer(wait_s, worst[0])):
                worst = (wait_s, pool, tracked)
        locked_s = self._locked_until.get(pools[0], now) - now
        if locked_s > 0 and (worst is None or _longer(locked_s, worst[0])):
            worst = (locked_s, *drawn[0])
        if worst is not None:
            self._locked_until[pools[0]] = now + self._lockout_s
            refusal = self._refuse(now, amounts, tuple(pools), levels, *worst)
            self._charge_refused(now, drawn, others)
            return refusal
        for _, tracked in drawn:
            tracked.charge(now, amounts.get(tracked.spec.unit, NOTHING), others=others)
        return Admission(now, tuple(pools), amounts, levels)

    def settle(self, at: Fraction | float, admission: Admission, charge: Mapping[str, Amount]) -> None:
        """Correct what an admitted call was charged to `charge`; a unit that isn't named stays as it was."""
        now = Fraction(at)
        for pool in admission.pools:
            for tracked in self._meters.get(pool, ()):
                unit = tracked.spec.unit
                if unit in charge:
                    tracked.settle(now, Fraction(charge[unit]) - admission.charge.get(unit, NOTHING))

    def release(self, at: Fraction | float, admission: Admission) -> None:
        """Note that an admitted call is over, for meters of calls under way."""
        for pool in admission.pools:
            for tracked in self._meters.get(pool, ()):
                if tracked.spec.unit == IN_FLIGHT:
                    tracked.meter.take(Fraction(at), -SECOND)

    def standings(self, at: Fraction | float, pools: Sequence[str]) -> list[Standing]:
        """Tell how each meter of `pools` stands at `at`."""
        now = Fraction(at)
        shown = []
        for pool in pools:
            outline = self.limits.pools[pool]
            for tracked in self._meters[pool]:
                meter, spec = tracked.meter, tracked.spec
                missing = meter.capacity - meter.level(now)
                shown.append(
                    Standing(
                        pool,
                        outline.scope,
                        spec.name,
                        spec.unit,
                        meter.limit,
                        meter.limit - missing,
                        meter.full_in(now),
                        meter.period_s,
                    )
                )
        return shown

    def change(self, at: Fraction | float, limits: AccountLimits) -> None:
        """Go on with other limits. A meter that was there keeps its level as far as it fits; a new one starts full."""
        now = Fraction(at)
        meters: dict[str, list[_Tracked]] = {}
        for name, pool in limits.pools.items():
            before = {tracked.spec.name: tracked for tracked in self._meters.get(name, ())}
            meters[name] = [self._carry(now, spec, before.get(spec.name)) for spec in pool.meters]
        self.limits = limits
        self._meters = meters

    def mark(self) -> None:
        """Begin to count anew at the next call; levels stay."""
        for tracked in self._all():
            tracked.forget()

    def summary(self, at: Fraction | float) -> tuple[MeterSummary, ...]:
        """Tell what became of every meter since the mark."""
        now = Fraction(at)
        return tuple(tracked.summary(pool, now) for pool, group in self._meters.items() for tracked in group)

    def _all(self) -> list[_Tracked]:
        return [tracked for group in self._meters.values() for tracked in group]

    def _build(self, spec: MeterLimit, start: Fraction) -> Meter:
        if spec.unit == IN_FLIGHT:
            return Openings(spec.limit, spec.period_s)
        if self._policy in ("fixed", "sliding"):
            window_s = self._window_s or spec.period_s
            quota = spec.limit * window_s / spec.period_s
            if self._policy == "fixed":
                return FixedWindow(quota, window_s, start=start, phase_s=self._phase_s)
            return SlidingWindow(quota, window_s, start=start)
        least = SECOND if spec.unit == "requests" else NOTHING
        by_second = self._policy == "per-second" and spec.unit == "requests"
        holds_s = spec.holds_s or self._window_s or (SECOND if by_second else spec.period_s)
        return Bucket(spec.limit, spec.period_s, holds_s=holds_s, least=least, start=start)

    def _carry(self, at: Fraction, spec: MeterLimit, before: _Tracked | None) -> _Tracked:
        if before is None or before.spec.period_s != spec.period_s:
            fresh = _Tracked(spec, self._build(spec, SECOND))
            fresh.meter.level(at)
            return fresh
        span_s = before.meter.period_s
        before.meter.change(at, spec.limit * span_s / spec.period_s)
        before.spec = spec
        return before

    def _refuse(
        self,
        at: Fraction,
        amounts: Mapping[str, Fraction],
        pools: tuple[str, ...],
        levels: Mapping[str, Fraction],
        wait_s: Fraction | None,
        pool: str,
        tracked: _Tracked,
    ) -> Refusal:
        meter, spec = tracked.meter, tracked.spec
        missing = meter.capacity - meter.level(at)
        limit, used = int(meter.limit), min(_raised(meter.limit), _raised(missing))
        requested = _raised(amounts.get(spec.unit, NOTHING))
        told_s = None if wait_s is None else Fraction(raised_to_ms(wait_s), 1000)
        lacking = used + requested - limit
        if wait_s is not None and lacking > 0 and isinstance(meter, Bucket) and meter.capacity == meter.limit:
            told_s = lacking * meter.period_s / meter.limit
        return Refusal(
            at,
            pools,
            amounts,
            levels,
            pool,
            spec.name,
            spec.unit,
            limit,
            used,
            requested,
            meter.period_s,
            wait_s,
            told_s,
        )

    def _charge_refused(self, at: Fraction, drawn: Sequence[tuple[str, _Tracked]], others: bool) -> None:
        for _, tracked in drawn:
            amount = min(self._refused_cost.get(tracked.spec.unit, NOTHING), max(NOTHING, tracked.meter.level(at)))
            if amount:
                tracked.charge(at, amount, others=others)

    @staticmethod
    def _key(pool: str, pools: Sequence[str], tracked: _Tracked) -> str:
        return tracked.spec.name if pool == pools[0] else f"{pool}/{tracked.spec.name}"


def one_pool(**limits: float) -> AccountLimits:
    """Make an account of one pool, `default`, with these meters: `one_pool(rpm=600, tpm=60_000)`."""
    return read_limits(limits)


def _longer(wait_s: Fraction | None, than: Fraction | None) -> bool:
    return than is not None and (wait_s is None or wait_s > than)


def _raised(amount: Fraction) -> int:
    return -(-amount.numerator // amount.denominator)
