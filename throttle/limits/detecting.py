"""Which tier an account is on, told by the limits that its answers show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from throttle.limits.resolving import families_in
from throttle.limits.schema import LimitsTable, Row

__all__ = ["matching_tiers"]


def matching_tiers(
    table: LimitsTable, observed: Mapping[str, Mapping[str, int]], *, base_url: str | None = None
) -> tuple[str, ...]:
    """Name the tiers whose limits are those that were observed, in the order of the table; () where none fits.

    A tier fits if every observed figure that it has a meter for is one of its own (or one of those it has been `seen`
    with), and at least one is. Several tiers can fit: gpt-4o has the same 10,000 requests a minute in tier-4 and
    tier-5.

    Args:
        table: the tiers to choose from.
        observed: by model, limits by meter (`rpm`) or, where the window isn't known, by unit (`requests`).
        base_url: the server, where it isn't OpenAI's.
    """
    rows_of = families_in(table, base_url)
    return tuple(
        tier for tier, find in rows_of.items() if _fits(table, [(find(model), observed[model]) for model in observed])
    )


def _fits(table: LimitsTable, pairs: list[tuple[Row | None, Mapping[str, int]]]) -> bool:
    votes = [
        figure in known
        for row, figures in pairs
        if row is not None
        for name, figure in figures.items()
        if (known := set(_figures(table, row, name)))
    ]
    return bool(votes) and all(votes)


def _figures(table: LimitsTable, row: Row, name: str) -> Iterator[int]:
    """Give the figures of a row for a meter or unit of that name."""
    kinds = table.kinds()
    if name == "batch_queue_tokens":
        if row.batch_queue_tokens is not None:
            yield from (row.batch_queue_tokens, *row.seen.get(name, ()))
        return
    for meter, figure in row.meters.items():
        if figure is not None and name in (meter, kinds[meter].unit):
            yield figure.limit
            yield from row.seen.get(meter, ())
