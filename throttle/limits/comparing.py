"""What differs between two tables, in the figures that would count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from throttle.limits.resolving import resolve
from throttle.limits.schema import Account, LimitsTable
from throttle.limits.values import ResolvedLimits

__all__ = ["Change", "compare", "compare_tables"]


@dataclass(frozen=True, slots=True)
class Change:
    """One figure that is another; None where one of the two has none.

    Attributes:
        server: the server of the file, "" for OpenAI's own.
        tier: the tier; of the newer limits, where the two are of different ones.
        pool: the pool.
        meter: the meter, or `batch_queue_tokens`.
        old: the figure before.
        new: the figure now.
    """

    server: str
    tier: str
    pool: str
    meter: str
    old: int | None
    new: int | None


def compare(old: ResolvedLimits, new: ResolvedLimits) -> tuple[Change, ...]:
    """List the figures in which two accounts' limits differ, pool by pool."""
    before, after = _figures(old), _figures(new)
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return tuple(Change(new.server, new.tier, *key, before.get(key), after.get(key)) for key in changed)


def compare_tables(old: LimitsTable, new: LimitsTable) -> tuple[Change, ...]:
    """List the figures in which two tables differ, tier by tier and server by server, apart from accounts."""
    return tuple(_changes(_bare(old), _bare(new)))


def _changes(old: LimitsTable, new: LimitsTable) -> Iterator[Change]:
    for server in ("", *dict.fromkeys([*old.servers, *new.servers])):
        before, after = _by_tier(old, server), _by_tier(new, server)
        for tier in dict.fromkeys([*before, *after]):
            nothing = ResolvedLimits(tier, "", "", (), server=server)
            yield from compare(before.get(tier, nothing), after.get(tier, nothing))


def _by_tier(table: LimitsTable, server: str) -> dict[str, ResolvedLimits]:
    if server and server not in table.servers:
        return {}
    tiers = table.servers[server].tiers if server else table.tiers
    account = server or None
    return {tier: resolve(table, tier=tier, account=account, environ={}) for tier in tiers}


def _bare(table: LimitsTable) -> LimitsTable:
    """Leave the accounts out, and give each server one of its own, by which it can be asked for."""
    return table.model_copy(update={"accounts": {name: Account(server=name) for name in table.servers}})


def _figures(limits: ResolvedLimits) -> dict[tuple[str, str], int]:
    figures = {(pool.name, meter.name): meter.limit for pool in limits.pools for meter in pool.meters}
    queues = {
        (pool.name, "batch_queue_tokens"): pool.batch_queue_tokens
        for pool in limits.pools
        if pool.batch_queue_tokens is not None
    }
    return {**figures, **queues}
