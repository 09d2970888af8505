"""Which way a call goes: by the limits that hold now, to the gate of its pool. And how both follow limits that change.

Everything here is called under the limiter's lock, but for `Routing.find`, which only looks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from throttle.account import Account, Identity
from throttle.errors import LimitsError
from throttle.feedback.belief import Belief
from throttle.feedback.headers import Reading
from throttle.gate import Gate
from throttle.learning import unmet_readings
from throttle.limits import LimitsFile, LimitsTable, bundled_path, find_source, load_limits
from throttle.limits.values import PoolSpec, Variant
from throttle.meter import BucketMeter, Meter, ResetMeter
from throttle.metering import Workshop
from throttle.pool import ADMITTED, Pool

if TYPE_CHECKING:
    from throttle.permit import Permit
    from throttle.shared.sharing import Sharing

__all__ = ["LimitsSource", "Route", "Routing"]

LimitsSource = str | os.PathLike[str] | Mapping[str, Any] | LimitsTable

LOOK_US: Final = 500_000
"""How often is looked for limits that have changed: twice within the second in which a changed file is to be noticed.
"""


@dataclass(frozen=True, slots=True)
class Route:
    """The way of a model's calls: through which gate, how they are charged there.

    Attributes:
        gate: the gate of their pool.
        learns: whether the pool's meters follow what the server says.
        charge: what the server books (`auto` or one of `throttle.costs.CHARGES`).
        weight: the part of one of the pool's tokens that one of the model's counts.
        variants: other pools for some of the calls, by what the limits file says.
        is_plain: the pool has two meters, which count a call's requests and tokens.
    """

    gate: Gate
    learns: bool
    charge: str
    weight: float
    variants: tuple[Variant, ...]
    is_plain: bool


class Routing:
    """The accounts whose calls a limiter holds, their pools, and the way of each model's calls."""

    def __init__(
        self,
        limits: LimitsSource | None,
        workshop: Workshop,
        clock: Callable[[], int],
        *,
        tier: str | None,
        account: str | None,
        who: Identity | None,
        api_key: str | None,
        sharing: Sharing | None = None,
    ) -> None:
        """Find out which limits hold.

        Raises:
            LimitsError: the limits can't be used, or there is no such tier or account.
        """
        self._workshop = workshop
        self._sharing = sharing
        self._clock = clock
        self._file = _live_file(limits)
        table = self._file.table if self._file else load_limits(limits)
        self._given = (tier, account)
        name = account if who is None or account is not None else who.account_in(table, api_key)
        wall_s = workshop.wall_s(clock())
        self.home = Account(table, tier=tier, name=name, who=who or Identity(), wall_s=wall_s)
        self._accounts: dict[str, Account] = {"": self.home}
        self._gates: dict[tuple[str, ...], Gate] = {}
        self._meters: dict[tuple[str, str], tuple[Meter, ...]] = {}
        self._routes: dict[tuple[str, str, str], Route] = {}
        self._learned: dict[tuple[str, str], tuple[object, ...]] = {}  # what the last answers told of the limits
        self.look_at_us = clock() + LOOK_US

    @property
    def store_is_away(self) -> bool:
        """Whether there is a store of pools that does not answer."""
        return self._sharing is not None and self._sharing.courier.is_away

    @property
    def is_live(self) -> bool:
        """Whether the limits come from a file that is followed."""
        return self._file is not None

    @property
    def gates(self) -> Iterable[Gate]:
        """The gates of all pools in use."""
        return self._gates.values()

    def know(self, account: str, who: Identity, api_key: str | None) -> None:
        """Learn of another account; its limits are those that the file has for it."""
        if account in self._accounts:
            return
        tier, name = self._given
        table = self.home.table
        found = name if name is not None else who.account_in(table, api_key)
        wall_s = self._workshop.wall_s(self._clock())
        self._accounts[account] = Account(table, tier=tier, name=found, who=who, wall_s=wall_s)

    def counted_as(self, account: str, model: str) -> str | None:
        """Tell which model a deployment is of; None where the name is the model's own."""
        match = self._accounts[account].match(model)
        return (match.counted_as or None) if match is not None else None

    # the way of a call

    def find(self, account: str, model: str, variant: str = "", *, learns: bool = False) -> Route | None:
        """Find the way of a model's calls of an account, if it has been opened; with `learns`, one whose meters follow
        the server.
        """
        route = self._routes.get((account, model, variant))
        return None if route is None or (learns and not route.learns) else route

    def open(self, account: str, model: str, variant: str = "", host: str | None = None) -> tuple[Route, list[str]]:
        """Open the way of a model's calls, with the meters of its pools; also returns what is worth telling.

        Args:
            account: whose calls; "" for the limiter's own account.
            model: the model's name.
            variant: which of the model's variants, by its place; "" for its usual pools.
            host: the server whose answers the meters will follow; None where none will be seen.
        """
        news: list[str] = []
        standing = self._accounts[account]
        if host is not None:
            standing.host = host
        match = standing.match(model)
        specs = () if match is None else match.variants[int(variant)].pools if variant else match.pools
        names = (account, *(spec.name for spec in specs)) if match else (account, "", model)
        gate = self._gates.get(names)
        meters = tuple(meter for spec in specs for meter in self._meters_of(account, spec, host))
        if gate is None:
            name = specs[0].name if specs else model
            told = f"{name}@{account}" if account else name
            if self._sharing is not None and meters:
                gate = self._sharing.gate(told, account, names[1:], meters, restless=self.is_live)
            else:
                gate = Gate(Pool(told, meters), restless=self.is_live)
            self._gates[names] = gate
            gate.stand_beside(self._gates.values())
            if match is None:
                news.append(f"no limits are known for model {model!r}: its calls are let through and counted")
        elif specs and gate.pool.meters[: len(meters)] != meters:
            gate.pool.replace_meters(meters)
            gate.tick(self._clock())
        weight = float(match.weight) if match else 1.0
        route = self._routes[account, model, variant] = Route(
            gate=gate,
            learns=host is not None,
            charge=specs[0].charge if specs else "auto",
            weight=int(weight) if weight.is_integer() else weight,
            variants=match.variants if match and not variant else (),
            is_plain=[(m.unit, m.counts) for m in meters] == [("requests", ()), ("tokens", ())],
        )
        return route, news

    def begin_to_learn(self, permit: Permit) -> None:
        """Somebody shows an answer by hand: from now on the meters of its pool follow the server. What the call was
        charged moves along.
        """
        if permit.state != ADMITTED or not any(isinstance(meter, BucketMeter) for meter in permit.meters):
            return
        now_us = self._clock()
        charged = dict(zip(permit.meters, permit.marks, strict=True))
        amounts = {meter.name: amount for meter, amount in zip(permit.meters, permit.amounts, strict=True)}
        self.open(permit.account, permit.model, host=self._accounts[permit.account].host or "")
        permit.meters = permit.pool.meters
        permit.amounts = tuple(amounts.get(meter.name, 0) for meter in permit.meters)
        permit.marks = tuple(
            charged[meter] if meter in charged else meter.take(now_us, amount, permit.row)
            for meter, amount in zip(permit.meters, permit.amounts, strict=True)
        )
        for before in charged:
            if isinstance(before, BucketMeter) and before.heir is not None and before.heir in permit.meters:
                before.heir.give(now_us, amounts[before.name])  # it inherited what has just been taken again

    def _meters_of(self, account: str, spec: PoolSpec, host: str | None) -> tuple[Meter, ...]:
        """Find or make a pool's meters: several gates may stand before one. They learn from when a client comes
        first.
        """
        key = (account, spec.name)
        there = self._meters.get(key)
        if there is None or (host is not None and any(isinstance(meter, BucketMeter) for meter in there)):
            now_us = self._clock()
            made = [self._workshop.meter_of(spec, meter, now_us, host) for meter in spec.meters]
            exact = {meter.name: meter for meter in there or () if isinstance(meter, BucketMeter)}
            kept = {meter.name: meter for meter in there or () if meter.name not in exact}
            for meter in made:
                if isinstance(meter, Belief) and (before := exact.get(meter.name)) is not None:
                    before.heir = meter if meter.was_used(before.used_at(now_us)) else None
            there = self._meters[key] = tuple(kept.get(meter.name, meter) for meter in made)
        return there

    # limits that change

    def look_around(self, now_us: int) -> list[str]:
        """Notice what has changed: the file, or a tier that changes by itself. Returns what is worth telling."""
        self.look_at_us = now_us + LOOK_US
        wall_s = self._workshop.wall_s(now_us)
        news: list[str] = []
        update = self._file.check() if self._file else None
        if update is not None and update.error is not None:
            news.append(f"the limits stay as they were: {update.error}")
        table = update.table if update else None
        for account in self._accounts.values():
            if table is not None or account.is_due(wall_s):
                news += self._refresh(account, wall_s, table)
        return news

    def learn(self, account: str, model: str, pool: Pool, readings: Sequence[Reading], now_us: int) -> list[str]:
        """Take over limits that an answer shows, make meters of those that only it tells of, and see which tier they
        are those of. Returns what is worth telling.
        """
        standing = self._accounts[account]
        news = _adopted(pool.meters)
        if standing.host is None or not readings:
            return news
        told = (pool.meters, [(r.name, r.unit, r.limit, r.window_s, r.remaining is None) for r in readings])
        if self._learned.get((account, model)) == told:  # nearly always: no meter is missing, no tier is news
            return news
        if unmet := unmet_readings(pool.meters, readings):
            born = tuple(self._workshop.meter_told(reading, now_us, standing.host) for reading in unmet)
            pool.replace_meters(pool.meters + born)
            news += [f"the server has a limit of {m.limit:,g} {m.unit} in {m.window_s:g} s" for m in born]
        if standing.is_assumed and (tiers := standing.observe(model, readings, self._workshop.wall_s(now_us))):
            news.append(f"the limits in the server's answers are those of {' or '.join(tiers)}")
            if not standing.is_assumed:
                self._adopt()
        self._learned[account, model] = told
        return news

    def _refresh(self, account: Account, wall_s: float, table: LimitsTable | None) -> list[str]:
        before = account.limits
        try:
            changed = account.refresh(wall_s, table)
        except LimitsError as error:
            return [f"the limits stay as they were: {error}"]
        if changed or table is not None:  # a model may belong elsewhere, though no limit changed
            self._adopt()
        if not changed:
            return []
        now = account.limits
        if before.tier != now.tier:
            return [f"the tier is {now.tier} from now on, after {before.tier}"]
        return [f"the limits of {now.source} are taken up"]

    def _adopt(self) -> None:
        """Bring every meter in line with what the limits say now; levels stay, and nobody who waits is lost."""
        now_us = self._clock()
        models = {(account, model) for account, model, _ in self._routes}
        self._routes.clear()
        self._learned.clear()
        for (name, pool_name), meters in list(self._meters.items()):
            account = self._accounts[name]
            matches = (account.match(model) for owner, model in models if owner == name)
            its_own = (spec for match in matches if match is not None for spec in match.pools)  # a pool for each model
            spec = next((spec for spec in chain(account.limits.pools, its_own) if spec.name == pool_name), None)
            if spec is not None:
                self._meters[name, pool_name] = self._adopted_meters(spec, meters, now_us, account.host)
        for names, gate in self._gates.items():
            filed = tuple(meter for name in names[1:] for meter in self._meters.get((names[0], name), ()))
            known = {meter.name for meter in filed}
            told = tuple(m for m in gate.pool.meters if m.origin == "server" and m.name not in known)
            if filed and filed + told != gate.pool.meters:
                gate.pool.replace_meters(filed + told)
            gate.tick(now_us)

    def _adopted_meters(
        self, spec: PoolSpec, meters: tuple[Meter, ...], now_us: int, host: str | None
    ) -> tuple[Meter, ...]:
        learns = any(isinstance(meter, Belief) for meter in meters)
        by_name = {meter.name: meter for meter in meters}
        adopted = []
        for wanted in spec.meters:
            meter = by_name.get(wanted.name)
            if meter is None or isinstance(meter, ResetMeter) != bool(wanted.resets):
                meter = self._workshop.meter_of(spec, wanted, now_us, host if learns else None)
            elif meter.origin != "server" and meter.limit != wanted.limit:
                meter.adopt(now_us, wanted.limit, wanted.origin)
            adopted.append(meter)
        return tuple(adopted)


def _adopted(meters: tuple[Meter, ...]) -> list[str]:
    """Tell, once each, of the limits that were taken over from the server."""
    news: list[str] = []
    for meter in meters:
        if isinstance(meter, Belief) and meter.change is not None:
            before, now = meter.change
            meter.change = None
            news.append(f"the server's {meter.name} is {now:,g}, not {before:,g}; it is followed from now on")
    return news


def _live_file(limits: LimitsSource | None) -> LimitsFile | None:
    """Open the limits file that is to be followed; the bundled one and what was given in code don't change."""
    if limits is not None and not isinstance(limits, str | os.PathLike):
        return None
    path = find_source(limits)
    return None if path == bundled_path() else LimitsFile(path)
