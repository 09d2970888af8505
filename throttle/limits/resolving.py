"""From a checked table to the plain limits of one account at one moment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from types import MappingProxyType
from urllib.parse import urlsplit

from throttle.errors import LimitsError, Mistake
from throttle.limits.keys import key_hash
from throttle.limits.loading import FLAT_TIER
from throttle.limits.matching import Names, Pattern, bases_of, remembered
from throttle.limits.meters import MINUTE_S, MeterKind
from throttle.limits.schema import Account, Deployment, Family, LimitsTable, MeterLimit, Project, Row, Server
from throttle.limits.values import Match, MeterSpec, PoolSpec, ResolvedLimits, Variant
from throttle.limits.words import unknown

__all__ = ["DEFAULT_TIER", "TIER_VARIABLE", "families_in", "find_account", "find_server", "resolve"]

TIER_VARIABLE = "THROTTLE_TIER"
DEFAULT_TIER = "tier-1"
DEFAULT_ACCOUNT = "default"

_FOLLOWS: Mapping[str, tuple[str, float]] = MappingProxyType({"pay-as-you-go-new": ("pay-as-you-go", 172_800.0)})
"""Tiers that change by themselves in files whose `tier_rules` don't say: the account kinds of 2022, after 48 hours."""


def resolve(
    table: LimitsTable,
    *,
    tier: str | None = None,
    account: str | None = None,
    now: datetime | None = None,
    project: str | None = None,
    base_url: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> ResolvedLimits:
    """Work out which limits hold for an account at a moment.

    The tier is the argument, else the account's in the file, else `THROTTLE_TIER`, else `tier-1`. The account is the
    argument, else `default`, else the only one there is. `project` brings in limits of that project's own, where the
    file has some; `base_url` decides whether a server of the file is meant. `now` (with a time zone) defaults to the
    present; where the tier changes by itself, `changes_at` of the result says when to ask again.

    Raises:
        LimitsError: there is no such tier or account.
    """
    environ = os.environ if environ is None else environ
    now = datetime.now(UTC) if now is None else now
    name, chosen = _account(table, account)
    server_name = find_server(table, base_url)
    if chosen is not None and chosen.server is not None and (account is not None or not server_name):
        server_name = chosen.server
    if account is None and chosen is not None and (chosen.server or "") != server_name:
        name, chosen = "", None
    server = table.servers.get(server_name)
    tiers = _tiers(table, server)
    first = tier if tier is not None else _tier_of(table, chosen, server, tiers, environ)
    if first not in tiers:
        raise LimitsError(table.source, [_no_tier(table, first, tiers)])
    # The tier of the argument is taken at its word; only the file's own `since` makes one follow another.
    current, changes_at = (first, None) if tier is not None else _follow(table, chosen, first, now)
    maker = _Maker(table, server_name, server, current, chosen, project or "", _host(base_url))
    return ResolvedLimits(
        tier=current,
        origin=table.origin,
        source=table.source,
        pools=maker.every_pool(),
        account=name,
        project=maker.project_name,
        server=server_name,
        changes_at=changes_at,
        headers=tuple(server.headers.items()) if server else (),
        find=remembered(maker.match),
    )


def find_account(
    table: LimitsTable, *, api_key: str | None = None, organization: str | None = None, project: str | None = None
) -> str | None:
    """Find the account of the file that a client belongs to: by its key's hash, its organization, or its project."""
    digest = key_hash(api_key) if api_key else ""
    for name, account in table.accounts.items():
        if account.key_hash and digest.startswith(account.key_hash):
            return name
    for name, account in table.accounts.items():
        if account.organization is not None and account.organization == organization:
            return name
    return next((name for name, account in table.accounts.items() if project in account.projects), None)


def families_in(table: LimitsTable, base_url: str | None = None) -> dict[str, Callable[[str], Row | None]]:
    """Give for every tier of a server a function that finds a model's row, apart from any account."""
    name = find_server(table, base_url)
    server = table.servers.get(name)
    tiers = _tiers(table, server)
    makers = {tier: _Maker(table, name, server, tier, None, "", _host(base_url)) for tier in tiers}
    return {tier: maker.row for tier, maker in makers.items()}


def find_server(table: LimitsTable, base_url: str | None) -> str:
    """Find the server of the file at an address; "" where it has none, as for OpenAI's own.

    A pattern counts with or without `https://`, and for everything below it; the most specific one wins.
    """
    if not base_url:
        return ""
    address = _address(base_url)
    entries = [(_address(url), name) for name, server in table.servers.items() for url in server.base_url or ()]
    fitting = [
        (Pattern(url).rank, name)
        for url, name in entries
        if Pattern(url).compiled().fullmatch(address) or Pattern(f"{url}/*").compiled().fullmatch(address)
    ]
    return max(fitting)[1] if fitting else ""


def _address(url: str) -> str:
    return url.partition("://")[2].rstrip("/").lower() if "://" in url else url.rstrip("/").lower()


def _host(base_url: str | None) -> str | None:
    return (urlsplit(base_url).hostname or "") if base_url else None


def _account(table: LimitsTable, name: str | None) -> tuple[str, Account | None]:
    if name is not None:
        if name not in table.accounts:
            raise LimitsError(table.source, [Mistake(0, 0, *unknown("account", name, table.accounts))])
        return name, table.accounts[name]
    if DEFAULT_ACCOUNT in table.accounts:
        return DEFAULT_ACCOUNT, table.accounts[DEFAULT_ACCOUNT]
    if len(table.accounts) == 1:
        only, account = next(iter(table.accounts.items()))
        if account.key_hash is None and account.organization is None and account.server is None:
            return only, account
    return "", None


def _tiers(table: LimitsTable, server: Server | None) -> Mapping[str, Mapping[str, Row | None]]:
    if server is None:
        return table.tiers
    return server.tiers or (table.tiers if server.inherit else {"": {}})


def _tier_of(
    table: LimitsTable,
    account: Account | None,
    server: Server | None,
    tiers: Mapping[str, object],
    environ: Mapping[str, str],
) -> str:
    if table.flat:
        return FLAT_TIER
    if account is not None and account.tier is not None:
        return account.tier
    named = environ.get(TIER_VARIABLE, "")
    # The variable speaks of OpenAI's tiers first: another server's `tier-4` is another thing.
    if named and (server is None or tiers is table.tiers or (named in tiers and named not in table.tiers)):
        return named
    if server is not None and server.tier is not None:
        return server.tier
    return DEFAULT_TIER if DEFAULT_TIER in tiers or len(tiers) != 1 else next(iter(tiers))


def _no_tier(table: LimitsTable, tier: str, tiers: Iterable[str]) -> Mistake:
    if table.flat:
        return Mistake(
            0, 0, f"no tier {tier!r}: these limits were given without tiers", "give limits= or tier=, not both"
        )
    return Mistake(0, 0, *unknown("tier", tier, tiers))


def _follow(table: LimitsTable, account: Account | None, tier: str, now: datetime) -> tuple[str, datetime | None]:
    """Move on to the tier that has followed by itself since the account began; tell when the next one will."""
    since = account.since if account else None
    passed = {tier}
    while since is not None:
        rule = table.tier_rules.get(tier)
        following, after_s = (rule.becomes, rule.after) if rule and rule.becomes else _FOLLOWS.get(tier, (None, None))
        if following is None or after_s is None or following not in table.tiers or following in passed:
            break
        since += timedelta(seconds=after_s)
        if now < since:
            return tier, since
        tier = following
        passed.add(tier)
    return tier, None


@dataclass(frozen=True, slots=True)
class _Plan:
    """A family and what it has in the tier."""

    name: str
    family: Family
    row: Row | None
    server: str
    deployed: bool = False


class _Maker:
    """Makes pools of a table's rows, for one tier, account, project and server."""

    def __init__(
        self,
        table: LimitsTable,
        server_name: str,
        server: Server | None,
        tier: str,
        account: Account | None,
        project: str,
        host: str | None,
    ) -> None:
        self._table = table
        self._server = server
        self._tier = tier
        self._account = account
        self._project: Project | None = account.projects.get(project) if account else None
        self.project_name = project if self._project else ""
        self._kinds = table.kinds()
        self._plans = {plan.name: plan for plan in _plans(table, server_name, server, tier, host)}
        self._names = Names((model, plan) for plan in self._plans.values() for model in plan.family.models)
        self._weights = {
            plan.name: Names(plan.family.weights.items()) for plan in self._plans.values() if plan.family.weights
        }
        self._deployments: Mapping[str, Deployment] = server.deployments if server else {}

    def every_pool(self) -> tuple[PoolSpec, ...]:
        """Make every pool that the file names; those of `per_model` families come into being with a model."""
        pools = [self._pools(plan) for plan in self._plans.values() if not plan.family.per_model]
        matches = [self.match(name) for name in self._deployments]
        pools += [match.pools for match in matches if match]
        return tuple({pool.name: pool for some in pools for pool in some}.values())

    def match(self, model: str) -> Match | None:
        """Find what a model's calls draw on; see `ResolvedLimits.match`."""
        deployment = self._deployments.get(model)
        if deployment is not None:
            return self._deployed(model, deployment)
        plan = self._names.find(model)
        pools = self._pools(plan, self._own_pool(model, plan)) if plan else ()
        if not plan or not pools:
            return None
        weights = self._weights.get(plan.name)
        weight = (weights.find(model) if weights else None) or Fraction(1)
        return Match(pools, weight, plan.name, tuple(self._variants(plan)))

    def row(self, model: str) -> Row | None:
        """Find the row that a model's pool is made of, as the file has it."""
        plan = self._names.find(model)
        return plan.row if plan else None

    def _own_pool(self, model: str, plan: _Plan) -> str:
        """Name the pool of a model that doesn't share one; "" where it draws on the family's."""
        rule = self._table.fine_tuned
        tuned = model.startswith("ft:") or ":ft-" in model
        if tuned and rule is not None and rule.draws_on == "own":
            return model
        return [model, *bases_of(model)][-1] if plan.family.per_model else ""

    def _variants(self, plan: _Plan) -> Iterator[Variant]:
        for service_tier, family in plan.family.service_tiers.items():
            pools = self._pools(self._plans.get(family))
            if pools:
                yield Variant(pools, service_tier=service_tier)
        long_context = plan.family.long_context
        pools = self._pools(self._plans.get(long_context.family)) if long_context else ()
        if long_context and pools:
            yield Variant(pools, input_tokens_over=long_context.over)

    def _pools(self, plan: _Plan | None, own_pool: str = "") -> tuple[PoolSpec, ...]:
        """Make a family's pool, and the project's beside it."""
        if plan is None:
            return ()
        replaced = self._account.limits if self._account else {}
        meters, queue = self._meters(plan, [plan.row, replaced.get("*"), replaced.get(plan.name)])
        name = own_pool or plan.family.pool or plan.name
        pools = []
        if meters:
            pools.append(
                PoolSpec(name, plan.name, meters, self._charge(plan), self._headroom(plan), "organization", queue)
            )
        if self._project is not None:
            rows = [self._project.limits.get("*"), self._project.limits.get(plan.name)]
            own, queue = self._meters(plan, rows)
            if own:
                headroom = self._project.headroom if self._project.headroom is not None else self._headroom(plan)
                beside = f"{name}@{self.project_name}"
                pools.append(PoolSpec(beside, plan.name, own, self._charge(plan), headroom, "project", queue))
        return tuple(pools)

    def _charge(self, plan: _Plan) -> str:
        return plan.family.charge or (self._server.charge if self._server else None) or "auto"

    def _headroom(self, plan: _Plan) -> float:
        if plan.family.headroom is not None:
            return plan.family.headroom
        return (self._account.headroom if self._account else None) or 0.0

    def _meters(self, plan: _Plan, rows: list[Row | None]) -> tuple[tuple[MeterSpec, ...], int | None]:
        """Lay rows over each other, figure by figure, and make meters of what remains."""
        figures: dict[str, tuple[MeterLimit, str]] = {}
        queue = None
        for row in rows:
            if row is None:
                continue
            queue = row.batch_queue_tokens if row.batch_queue_tokens is not None else queue
            for meter, figure in row.meters.items():
                if figure is None:
                    figures.pop(meter, None)
                else:
                    figures[meter] = (figure, self._origin(plan, meter) if row is plan.row else "user")
        window = plan.family.window or (self._server.window if self._server else None)
        specs = [_meter(name, self._kinds[name], figure, window, origin) for name, (figure, origin) in figures.items()]
        return tuple(specs), queue

    def _origin(self, plan: _Plan, meter: str) -> str:
        table, tier = self._table, self._tier
        if plan.deployed:
            return table.origin
        by_name = plan.name in (table.tiers if not plan.server else table.servers[plan.server].tiers).get(tier, {})
        return table.origin_of(plan.server, tier, plan.name if by_name else "*", meter)

    def _deployed(self, name: str, deployment: Deployment) -> Match | None:
        """Make what a deployment draws on: its own quota, else the limits of the model behind it, in a pool of its
        own."""
        plan = self._names.find(deployment.model)
        if plan is None:
            plan = _Plan(name, Family(models=(deployment.model,)), None, "")
        if deployment.limits is not None:
            plan = replace(plan, row=deployment.limits, deployed=True)
        pools = tuple(
            replace(
                pool,
                charge=deployment.charge or pool.charge,
                headroom=pool.headroom if deployment.headroom is None else deployment.headroom,
            )
            for pool in self._pools(plan, name)
        )
        return Match(pools, Fraction(1), plan.name, counted_as=deployment.model) if pools else None


def _plans(table: LimitsTable, server_name: str, server: Server | None, tier: str, host: str | None) -> Iterator[_Plan]:
    families = dict(table.families) if server is None or server.inherit else {}
    families.update(server.families if server else {})
    for name, family in families.items():
        if family.tiers is not None and tier not in family.tiers:
            continue
        if family.hosts is not None and host is not None and not any(_is_host(host, text) for text in family.hosts):
            continue
        own, row = _row(table, server, tier, name)
        yield _Plan(name, family, row, server_name if own else "")


def _is_host(host: str, pattern: str) -> bool:
    return Pattern(pattern.lower()).compiled().fullmatch(host.lower()) is not None


def _row(table: LimitsTable, server: Server | None, tier: str, family: str) -> tuple[bool, Row | None]:
    """Find a family's row, the server's own before the table's; tell whether it is the server's."""
    own = server.tiers.get(tier, {}) if server else {}
    for where, rows in ((True, own), (False, table.tiers.get(tier, {}) if server is None or server.inherit else {})):
        if family in rows or "*" in rows:
            return where, rows.get(family, rows.get("*"))
    return False, None


def _meter(
    name: str, kind: MeterKind, figure: MeterLimit, window: float | Mapping[str, float] | None, origin: str
) -> MeterSpec:
    window_s = kind.window_s if figure.window is None else figure.window
    burst_s = window_s
    if isinstance(window, Mapping):
        burst_s = window.get(name, window_s)
    elif window is not None and window_s == MINUTE_S:
        burst_s = window
    if figure.burst is not None:
        burst_s = figure.burst
    # A bucket that can't hold a single one would let nothing through, ever.
    burst_s = max(burst_s, window_s / figure.limit)
    return MeterSpec(name, kind.unit, figure.limit, window_s, burst_s, origin, figure.resets or "", kind.counts)
