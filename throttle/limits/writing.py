"""A limits file written from what an account told of itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from throttle.limits.matching import Names, bases_of
from throttle.limits.schema import LimitsTable

__all__ = ["limits_text"]

_ORDER = ("rpm", "rpd", "tpm", "tpd", "ipm", "itpm", "otpm", "max_in_flight")

Figures = Mapping[str, int]


def limits_text(
    observed: Mapping[str, Figures],
    *,
    table: LimitsTable,
    tier: str,
    source: str,
    as_of: str,
    account: str = "default",
    extends: str = "bundled",
) -> str:
    """Write a limits file in which an account has the limits that were observed, and all else is as in `extends`.

    Models that one family has, and that were observed alike, are written once under its name; one that differs from its
    family, or that no family has, gets a family of its own.

    Args:
        observed: limits by model and meter (`batch_queue_tokens` among them).
        table: what `extends` stands for.
        tier: the account's tier, for models that weren't observed.
        source: where the figures come from, in words.
        as_of: the day.
        account: the account's name in the file.
        extends: `bundled`, or a path.
    """
    rows, fresh = _grouped(observed, table, tier)
    left = _left_over(table, set(fresh.values()))
    lines = [f"# {source}, {as_of}", "version: 1", f"extends: {_text(extends)}", ""]
    if fresh:
        models = {**left, **{name: [model] for name, model in fresh.items()}}
        lines.append("families:")
        lines += [f"  {_text(name)}: {{models: [{', '.join(map(_text, some))}]}}" for name, some in models.items()]
        lines.append("")
    lines += ["accounts:", f"  {_text(account)}:", f"    tier: {_text(tier)}", "    limits:"]
    origin = f"source: {_text(source)}, as_of: {_text(as_of)}, verified: true"
    lines += [f"      {_text(name)}: {{{_row(figures)}, {origin}}}" for name, figures in rows.items()]
    return "\n".join(lines) + "\n"


def _grouped(
    observed: Mapping[str, Figures], table: LimitsTable, tier: str
) -> tuple[dict[str, Figures], dict[str, str]]:
    """Sort observed models into families; give the rows, and the families that have to be made with their one model."""
    families = table.families.items()
    holding = [(name, family) for name, family in families if family.tiers is None or tier in family.tiers]
    names = Names((model, name) for name, family in holding if not family.per_model for model in family.models)
    rows: dict[str, Figures] = {}
    fresh: dict[str, str] = {}
    # The shortest name first: a family is known by its base, and snapshots are what may differ from it.
    for model in sorted(observed, key=lambda name: (len(name), name)):
        known = _long_context(model, table) or names.find(model)
        if known is None:
            known = _base_in(model, fresh)
        if known is not None and rows.setdefault(known, observed[model]) == observed[model]:
            continue
        own = model if model not in table.families else f"{model} (own)"
        rows[own] = observed[model]
        fresh[own] = model
    return rows, fresh


def _left_over(table: LimitsTable, taken: set[str]) -> dict[str, list[str]]:
    """List the models of the families that name one which now has its own, without it."""
    families = table.families.items()
    return {
        name: [model for model in family.models if model not in taken]
        for name, family in families
        if taken.intersection(family.models)
    }


def _long_context(model: str, table: LimitsTable) -> str | None:
    """Find a family that is no model's but named like one, as the limits of long calls are (`gpt-5.5-long-context`)."""
    family = table.families.get(model)
    return model if family is not None and not family.models else None


def _base_in(model: str, fresh: Iterable[str]) -> str | None:
    known = set(fresh)
    return next((base for base in bases_of(model) if base in known), None)


def _row(figures: Figures) -> str:
    ordered = sorted(figures, key=lambda meter: (_ORDER.index(meter) if meter in _ORDER else len(_ORDER), meter))
    return ", ".join(f"{_text(meter)}: {figures[meter]:_}" for meter in ordered)


def _text(value: str) -> str:
    plain = value.replace("-", "").replace("_", "").replace(".", "")
    if plain.isalnum() and plain.isascii() and plain[0].isalpha() and value[-1] != ".":
        return value
    return json.dumps(value, ensure_ascii=False)
