"""How long a job takes under which limits: the pools that hold real calls back, in virtual time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any, Final
from urllib.parse import urlsplit

from throttle.bucket import NEVER
from throttle.jobs import packs
from throttle.jobs.packs import Bound
from throttle.jobs.pools import bucket_of
from throttle.jobs.prices import Prices, load_prices
from throttle.jobs.source import Scan, Source, name_of, open_source
from throttle.jobs.usage import Usage
from throttle.jobs.workload import Call, Kind, Workload
from throttle.limits import LimitsTable, load_limits, resolve
from throttle.limits.resolving import families_in
from throttle.limits.values import Match, PoolSpec, ResolvedLimits
from throttle.meter import Amount, Meter, amount_for
from throttle.metering import Workshop
from throttle.pool import Pool, Ticket

__all__ = ["ModelShare", "Plan", "PoolPlan", "TierPlan", "plan", "play"]

LATENCY_S: Final = 1.0
AHEAD: Final = 64
"""How many calls stand in a pool's queue at once: the queue is first in, first out, so more would change nothing."""

NUMBERS_TOLD: Final = 10
OPENAI: Final = "api.openai.com"

WORTH: Final = 0.9
"""A tier pays off where the job takes at most this part of the time that it takes at the tier below."""


@dataclass(frozen=True, slots=True)
class ModelShare:
    """What a job asks of one model; `cost` is None where no price is known."""

    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost: float | None


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """What becomes of one pool.

    Attributes:
        name: the pool's.
        calls: requests that go through it.
        last_s: when the last of them goes.
        binds: the meter that holds the job back, None where none does.
        utilization: of each meter: what is charged, over what was there and flowed in until the last call.
    """

    name: str
    calls: int
    last_s: float
    binds: str | None
    utilization: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TierPlan:
    """What a job comes to under one tier's limits.

    Attributes:
        tier: the tier.
        duration_s: until the last answer is there.
        pools: each pool, the slowest first.
        too_large: how many lines can never go, since each exceeds its bucket.
        too_large_lines: the numbers of the first of them.
        unlimited: models without limits there; their calls are taken to go at once.
    """

    tier: str
    duration_s: float
    pools: tuple[PoolPlan, ...]
    too_large: int = 0
    too_large_lines: tuple[int, ...] = ()
    unlimited: tuple[str, ...] = ()

    @property
    def binds(self) -> PoolPlan | None:
        """The pool that ends last, if a limit of it holds the job back."""
        return self.pools[0] if self.pools and self.pools[0].binds else None


@dataclass(frozen=True, slots=True)
class Plan:
    """A job under several tiers, in the order of the limits file.

    Attributes:
        lines: lines of the job.
        models: what it asks of each model, the largest first.
        tiers: what it comes to under each tier.
    """

    lines: int
    models: tuple[ModelShare, ...]
    tiers: tuple[TierPlan, ...]

    @property
    def pays_off(self) -> str | None:
        """The last tier that is worth its step: from the one before it the job gains a tenth of the time or more."""
        worth = None
        for tier in self.tiers:
            if tier.unlimited or tier.too_large:
                continue
            if worth is None or tier.duration_s <= worth.duration_s * WORTH:
                worth = tier
        return worth.tier if worth else None


def plan(
    source: Source,
    limits: str | os.PathLike[str] | Mapping[str, Any] | LimitsTable | None = None,
    *,
    tiers: Sequence[str] | None = None,
    endpoint: str | None = None,
    pack: bool = False,
    prices: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    latency_s: float = LATENCY_S,
    base_url: str | None = None,
    on_read: Callable[[int], None] = lambda lines: None,
) -> Plan:
    """Foretell how long a job takes, without sending anything.

    Every call waits in the same pools as in a run, buckets full at the start, and is charged what it is estimated to
    cost.

    Args:
        source: as for `Job`.
        limits: as for `Limiter`.
        tiers: which tiers; None for all that have limits for one of the models.
        endpoint: where bodies without a `url` go; None to infer it from each.
        pack: put many prompts in one request, as a run with `pack` does.
        prices: as for `Job`.
        latency_s: how long an answer takes, in seconds.
        base_url: the server; None for OpenAI's.
        on_read: is told now and then how many lines were counted.

    Raises:
        JobFileError: the input has mistakes.
        LimitsError: the limits can't be used, or there is no such tier.
    """
    table = load_limits(limits)
    workload = Workload(pack=pack)
    with open_source(source) as file:
        scan = Scan(file, name_of(source), endpoint=endpoint, on_read=on_read)
        for line, _, _ in scan:
            workload.add(line)
        scan.end()
    host = urlsplit(base_url).hostname or OPENAI if base_url else OPENAI
    plans = []
    for tier in tiers if tiers is not None else _tiers_for(table, workload, base_url):
        resolved = resolve(table, tier=tier, base_url=base_url)
        plans.append(play(workload, resolved, host=host, latency_s=latency_s))
    return Plan(
        len(workload), tuple(_shares(workload, load_prices(prices) if prices is not None else None)), tuple(plans)
    )


def play(workload: Workload, limits: ResolvedLimits, *, host: str = OPENAI, latency_s: float = LATENCY_S) -> TierPlan:
    """Play a workload against one tier's limits, from full buckets."""
    return _Play(limits, host, round(latency_s * 1e6)).run(workload)


def _tiers_for(table: LimitsTable, workload: Workload, base_url: str | None) -> list[str]:
    models = {kind.model for kind in workload.kinds}
    every = list(families_in(table, base_url))
    fitting = [
        tier for tier in every if any(resolve(table, tier=tier, base_url=base_url).match(model) for model in models)
    ]
    return fitting or every[:1]


def _shares(workload: Workload, prices: Prices | None) -> Iterator[ModelShare]:
    sums: dict[str, list[int]] = {}
    for call in workload.calls(lambda kind: Bound()):
        each = sums.setdefault(call.kind.model, [0, 0, 0])
        each[0] += call.lines
        each[1] += call.input_tokens
        each[2] += call.output_tokens
    for model, (requests, went_in, came_out) in sorted(sums.items(), key=lambda item: -sum(item[1][1:])):
        price = prices.of(model) if prices is not None else None
        yield ModelShare(model, requests, went_in, came_out, price.of(Usage(went_in, came_out)) if price else None)


# the play


@dataclass(slots=True, eq=False)
class _Lane:
    """One pool, the calls that come to it, and what became of them."""

    pool: Pool
    calls: list[tuple[Call, Ticket]] = field(default_factory=list)
    begun: int = 0
    admitted: int = 0
    last_us: int = 0
    charged: list[Amount] = field(default_factory=list)


class _Play:
    def __init__(self, limits: ResolvedLimits, host: str, latency_us: int) -> None:
        self._limits = limits
        self._host = host
        self._latency_us = latency_us
        self._workshop = Workshop("burst", lambda now_us: now_us / 1e6)
        self._lanes: dict[tuple[str, ...], _Lane] = {}
        self._meters: dict[tuple[str, str], Meter] = {}
        self._matches: dict[str, Match | None] = {}
        self._too_large: list[int] = []
        self._too_large_count = 0
        self._unlimited: dict[str, None] = {}

    def run(self, workload: Workload) -> TierPlan:
        for call in workload.calls(self._bound):
            self._line_up(call)
        for lanes in self._sharing():
            if not self._fits_at_once(lanes):
                self._run(lanes)
        lanes = list(self._lanes.values())
        last_us = max((lane.last_us for lane in lanes), default=0)
        pools = sorted(map(_told, lanes), key=lambda told: -told.last_s)
        return TierPlan(
            tier=self._limits.tier,
            duration_s=(last_us + self._latency_us) / 1e6,
            pools=tuple(pools),
            too_large=self._too_large_count,
            too_large_lines=tuple(self._too_large[:NUMBERS_TOLD]),
            unlimited=tuple(self._unlimited),
        )

    def _match(self, model: str) -> Match | None:
        if model not in self._matches:
            self._matches[model] = self._limits.match(model)
        return self._matches[model]

    def _bound(self, kind: Kind) -> Bound:
        match = self._match(kind.model)
        return packs.bound_of(kind.endpoint, bucket_of(match) if match else None)

    def _line_up(self, call: Call) -> None:
        match = self._match(call.kind.model)
        if match is None:
            self._unlimited[call.kind.model] = None
            return
        specs = match.pools_for(input_tokens=call.input_tokens, service_tier=call.kind.service_tier or None)
        lane = self._lane(specs)
        known = self._known(call, specs[0].charge, float(match.weight))
        amounts = tuple(amount_for(meter, known) for meter in lane.pool.meters)
        if any(amount > meter.largest for amount, meter in zip(amounts, lane.pool.meters, strict=True)):
            self._too_large_count += call.lines
            self._too_large.append(call.first)
            return
        lane.calls.append((call, Ticket(lane.pool, call.kind.model, amounts)))

    def _known(self, call: Call, charge: str, weight: float) -> dict[str, Amount]:
        tokens = call.booked(charge, self._host)
        return {
            "requests": 1,
            "tokens": tokens if weight == 1 else tokens * weight,
            "images": call.images,
            "input_tokens": call.input_tokens,
            "output_tokens": call.output_tokens,
            "in_flight": 1,
        }

    def _lane(self, specs: tuple[PoolSpec, ...]) -> _Lane:
        names = tuple(spec.name for spec in specs)
        lane = self._lanes.get(names)
        if lane is None:
            meters = tuple(self._meter(spec, i) for spec in specs for i in range(len(spec.meters)))
            lane = self._lanes[names] = _Lane(Pool(specs[0].name, meters))
            lane.charged = [0] * len(meters)
        return lane

    def _meter(self, spec: PoolSpec, i: int) -> Meter:
        key = (spec.name, spec.meters[i].name)
        if key not in self._meters:
            self._meters[key] = self._workshop.meter_of(spec, spec.meters[i], 0, None)
        return self._meters[key]

    def _sharing(self) -> Iterator[list[_Lane]]:
        """Group the lanes that share meters, which have to be played together."""
        left = list(self._lanes.values())
        while left:
            group = [left.pop()]
            for lane in group:
                mine = {id(meter) for meter in lane.pool.meters}
                group += [other for other in left if any(id(meter) in mine for meter in other.pool.meters)]
                left = [other for other in left if other not in group]
            for lane in group:
                lane.pool.beside = tuple(other.pool for other in group if other is not lane)
            yield group

    def _fits_at_once(self, lanes: list[_Lane]) -> bool:
        """Tell whether full buckets hold all calls, which then go at the start; notes them as gone if so."""
        if len(lanes) > 1:
            return False
        lane = lanes[0]
        sums = [sum(ticket.amounts[i] for _, ticket in lane.calls) for i in range(len(lane.pool.meters))]
        if any(total > meter.largest for total, meter in zip(sums, lane.pool.meters, strict=True)):
            return False
        lane.admitted, lane.charged = len(lane.calls), sums
        return True

    def _run(self, lanes: list[_Lane]) -> None:
        """Let time go from one event to the next: a call's turn, or the end of one that is out."""
        now_us, order = 0, count()
        out: list[tuple[int, int, _Lane, Ticket]] = []
        frees = any(meter.unit == "in_flight" for lane in lanes for meter in lane.pool.meters)
        while True:
            next_us = out[0][0] if out else NEVER
            for lane in lanes:
                for ticket in self._advance(lane, now_us):
                    if frees:
                        heappush(out, (now_us + self._latency_us, next(order), lane, ticket))
                next_us = min(next_us, out[0][0] if out else NEVER, lane.pool.next_at(now_us))
            if next_us >= NEVER:
                return
            now_us = max(now_us, next_us)
            while out and out[0][0] <= now_us:
                _, _, lane, ticket = heappop(out)
                lane.pool.release(now_us, ticket)

    def _advance(self, lane: _Lane, now_us: int) -> Iterable[Ticket]:
        """Fill the queue and admit whoever's turn it is."""
        went: list[Ticket] = []
        pool = lane.pool
        while True:
            while pool.waiting < AHEAD and lane.begun < len(lane.calls):
                pool.enqueue(now_us, lane.calls[lane.begun][1])
                lane.begun += 1
            admitted = pool.tick(now_us)
            if not admitted:
                return went
            lane.last_us = now_us
            lane.admitted += len(admitted)
            for ticket in admitted:
                for i, amount in enumerate(ticket.amounts):
                    lane.charged[i] += amount
            went += admitted


def _told(lane: _Lane) -> PoolPlan:
    utilization = {
        meter.name: charged / offered
        for meter, charged in zip(lane.pool.meters, lane.charged, strict=True)
        if (offered := _offered(meter, lane.last_us))
    }
    binds = max(utilization, key=lambda name: utilization[name], default=None) if lane.last_us else None
    return PoolPlan(lane.pool.name, lane.admitted, lane.last_us / 1e6, binds, utilization)


def _offered(meter: Meter, until_us: int) -> float:
    """What a meter offers from a full bucket on; nothing that one could add up for calls in flight."""
    if not meter.window_s:
        return 0.0
    return meter.largest + meter.limit * until_us / 1e6 / meter.window_s
