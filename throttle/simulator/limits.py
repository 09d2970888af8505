"""The simulated account's limits: pools of meters, which model draws on which, and what a project or a long context
adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Any

from throttle.simulator.errors import SettingsError

__all__ = ["IN_FLIGHT", "KNOWN_METERS", "AccountLimits", "LongContext", "MeterLimit", "PoolLimits", "read_limits"]

IN_FLIGHT = "in_flight"
MINUTE_S = Fraction(60)
DAY_S = Fraction(86_400)

KNOWN_METERS: Mapping[str, tuple[str, Fraction]] = {
    "rpm": ("requests", MINUTE_S),
    "rpd": ("requests", DAY_S),
    "tpm": ("tokens", MINUTE_S),
    "tpd": ("tokens", DAY_S),
    "ipm": ("images", MINUTE_S),
    "itpm": ("input_tokens", MINUTE_S),
    "otpm": ("output_tokens", MINUTE_S),
    "max_in_flight": (IN_FLIGHT, Fraction(1)),
}
"""The meters known by name: unit and period in seconds."""


@dataclass(frozen=True, slots=True)
class MeterLimit:
    """One limit: so much of `unit` in every `period_s`; `holds_s`, where given, is how many seconds' refill may pile
    up.
    """

    name: str
    unit: str
    limit: Fraction
    period_s: Fraction
    holds_s: Fraction | None = None


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """One pool of capacity, shared by all models that draw on it. `scope` is `"organization"` or `"project"`."""

    name: str
    family: str
    meters: tuple[MeterLimit, ...]
    scope: str = "organization"


@dataclass(frozen=True, slots=True)
class LongContext:
    """The pool that calls of more than `over` input tokens draw on besides their family's."""

    over: int
    pool: str


@dataclass(frozen=True, slots=True)
class Family:
    """Which models share a pool, what one token of each counts there, and what a long context draws on besides."""

    pool: str
    models: tuple[str, ...]
    weights: Mapping[str, Fraction]
    long_context: LongContext | None = None

    def weight_of(self, model: str) -> Fraction:
        """Tell what part of a token of the pool one token of `model` counts."""
        for pattern, weight in self.weights.items():
            if fnmatchcase(model, pattern):
                return weight
        return Fraction(1)


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """All pools of the account, and the way from a model to those that a call of it draws on."""

    pools: Mapping[str, PoolLimits]
    families: Mapping[str, Family]
    every_model: bool
    projects: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # project -> family (or "*") -> pool

    def family_of(self, model: str) -> Family | None:
        """Find the family of a model by its exact name, then by the most specific pattern; None where there is none."""
        if self.every_model:
            return next(iter(self.families.values()))
        name = model.removeprefix("ft:").split(":", 1)[0] if model.startswith("ft:") else model
        best: tuple[int, Family] | None = None
        for family in self.families.values():
            for pattern in family.models:
                if fnmatchcase(name, pattern):
                    rank = len(name) + 1 if pattern == name else len(pattern)
                    if best is None or rank > best[0]:
                        best = (rank, family)
        return best[1] if best else None

    def pools_of(self, family: Family, *, project: str | None = None, input_tokens: int = 0) -> tuple[str, ...]:
        """List the pools that a call draws on: the family's first, then the long context's, then the project's."""
        pools = [family.pool]
        if family.long_context is not None and input_tokens > family.long_context.over:
            pools.append(family.long_context.pool)
        of_project = self.projects.get(project or "", {})
        pool = of_project.get(family.pool, of_project.get("*"))
        if pool is not None:
            pools.append(pool)
        return tuple(pools)

    @property
    def models(self) -> tuple[str, ...]:
        """Name every model that the limits tell by name, not by a pattern."""
        if self.every_model:
            return ()
        named = {name for family in self.families.values() for name in family.models if "*" not in name}
        return tuple(sorted(named))


def read_limits(limits: Mapping[str, Any], projects: Mapping[str, Any] | None = None) -> AccountLimits:
    """Read the `limits` and `projects` settings.

    `limits` is either `{"rpm": 600, "tpm": 60_000}`, one pool for every model, or such a mapping for each family of
    models, `{"gpt-4o": {"rpm": …}}`. A family takes the models of its name, with or without a date or a suffix,
    unless it lists its `"models"`; it may have `"weights"` (pattern to the part of a token that one token counts) and
    `"long_context"` (`{"over": 128_000, "tpm": …}`). A limit is a number, or `{"limit": n, "window_s": 60, "holds_s":
    1, "unit": "tokens"}`.

    Raises:
        SettingsError: if a meter, a number or a shape is none of these.
    """
    if not isinstance(limits, Mapping) or not limits:
        raise SettingsError(
            'limits= must be a mapping such as {"rpm": 600, "tpm": 60_000}, or one such for each family'
        )
    pools: dict[str, PoolLimits] = {}
    families: dict[str, Family] = {}
    every_model = _is_pool(limits)
    for name, outline in ({"default": limits} if every_model else limits).items():
        _read_family(name, outline, pools, families)
    of_projects: dict[str, dict[str, str]] = {}
    for project, outline in (projects or {}).items():
        own = {"*": outline} if _is_pool(outline) else outline
        for family, meters in own.items():
            if family != "*" and family not in families:
                raise SettingsError(f"projects: {project} limits the family {family}, which limits= does not have")
            pool = f"{project}/{family}"
            pools[pool] = PoolLimits(pool, family, _read_meters(pool, meters), scope="project")
            of_projects.setdefault(project, {})[family] = pool
    return AccountLimits(pools, families, every_model, of_projects)


def _is_pool(outline: Any) -> bool:
    return isinstance(outline, Mapping) and any(
        name in KNOWN_METERS or (isinstance(value, Mapping) and "limit" in value) for name, value in outline.items()
    )


def _read_family(name: str, outline: Any, pools: dict[str, PoolLimits], families: dict[str, Family]) -> None:
    if not isinstance(outline, Mapping):
        raise SettingsError(
            f"limits: {name} must be a mapping of meters such as {{'rpm': 600, 'tpm': 60_000}}, not {outline!r}"
        )
    meters = dict(outline)
    models = tuple(meters.pop("models", (name, f"{name}-*")))
    weights = {pattern: Fraction(weight) for pattern, weight in dict(meters.pop("weights", {})).items()}
    long_context = None
    beyond = meters.pop("long_context", None)
    if beyond is not None:
        own = dict(beyond)
        over = int(own.pop("over"))
        pool = f"{name}-long-context"
        pools[pool] = PoolLimits(pool, name, _read_meters(pool, own))
        long_context = LongContext(over, pool)
    pools[name] = PoolLimits(name, name, _read_meters(name, meters))
    families[name] = Family(name, models, weights, long_context)


def _read_meters(pool: str, outline: Mapping[str, Any]) -> tuple[MeterLimit, ...]:
    meters = tuple(_read_meter(pool, name, value) for name, value in outline.items())
    if not meters:
        raise SettingsError(f"limits: {pool} has no meter; give it one of {', '.join(KNOWN_METERS)}")
    return meters


def _read_meter(pool: str, name: str, value: Any) -> MeterLimit:
    own = dict(value) if isinstance(value, Mapping) else {"limit": value}
    unit, period_s = KNOWN_METERS.get(name, (None, MINUTE_S))
    unit = own.pop("unit", unit)
    if unit is None:
        raise SettingsError(
            f"limits: {pool} has an unknown meter {name}; known are {', '.join(KNOWN_METERS)}, or give it a unit"
        )
    limit = _number(f"{pool}.{name}", own.pop("limit", None))
    period_s = _number(f"{pool}.{name}.window_s", own.pop("window_s", period_s))
    holds_s = own.pop("holds_s", None)
    if own:
        raise SettingsError(
            f"limits: {pool}.{name} has an unknown key {next(iter(own))}; known are limit, window_s, holds_s, unit"
        )
    if limit < 0 or period_s <= 0:
        raise SettingsError(f"limits: {pool}.{name} must not be below zero, and its window must be longer than nothing")
    return MeterLimit(
        name, unit, limit, period_s, None if holds_s is None else _number(f"{pool}.{name}.holds_s", holds_s)
    )


def _number(place: str, value: Any) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, (int, float, Fraction)):
        raise SettingsError(f"limits: {place} must be a number, not {value!r}")
    return Fraction(value)
