"""Others on the same account: calls that nobody here sent, and that the limits have to bear as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import Any

from throttle.simulator.errors import SettingsError

__all__ = ["PATTERNS", "Others", "read_others"]

LEAST_GAP_S = 1e-6


@dataclass(frozen=True, slots=True)
class Others:
    """Somebody else's traffic.

    Attributes:
        pattern: `steady` (evenly), `poisson`, `bursts` (all of a period at once), `on-off` (a period at twice the rate,
            then a period of nothing), `ramp` (from nothing to the full rate over a period, then steady).
        rpm: calls a minute, on average.
        tokens: what each is charged.
        pool: the pool they draw on; by default the first.
        period_s: of `bursts`, `on-off` and `ramp`.
        begin_s, end_s: from when to when.
    """

    pattern: str = "steady"
    rpm: float = 60.0
    tokens: int = 500
    pool: str | None = None
    period_s: float = 30.0
    begin_s: float = 0.0
    end_s: float | None = None

    def instants(self, random: Random) -> Iterator[float]:
        """Tell the instants of the calls, in seconds, in order; without an end where none is set."""
        if self.rpm <= 0:
            return
        for at in PATTERNS[self.pattern](self, self.rpm / 60, random):
            if self.end_s is not None and self.begin_s + at >= self.end_s:
                return
            yield self.begin_s + at


def _steady(others: Others, rate: float, random: Random) -> Iterator[float]:
    count = 0
    while True:
        count += 1
        yield count / rate


def _poisson(others: Others, rate: float, random: Random) -> Iterator[float]:
    at = 0.0
    while True:
        at += max(LEAST_GAP_S, random.expovariate(rate))
        yield at


def _bursts(others: Others, rate: float, random: Random) -> Iterator[float]:
    count, due = 0, 0.0
    while True:
        count += 1
        due += rate * others.period_s
        while due >= 1:
            due -= 1
            yield count * others.period_s


def _on_off(others: Others, rate: float, random: Random) -> Iterator[float]:
    count = 0
    while True:
        count += 1
        busy_s = count / (2 * rate)
        yield busy_s + busy_s // others.period_s * others.period_s


def _ramp(others: Others, rate: float, random: Random) -> Iterator[float]:
    """The rate grows as `rate * t / period`, so the calls until `t` are `rate * t² / (2 * period)`."""
    count = 0
    risen = rate * others.period_s / 2
    while True:
        count += 1
        if count <= risen:
            yield (2 * others.period_s * count / rate) ** 0.5
        else:
            yield others.period_s + (count - risen) / rate


PATTERNS: Mapping[str, Callable[[Others, float, Random], Iterator[float]]] = {
    "steady": _steady,
    "poisson": _poisson,
    "bursts": _bursts,
    "on-off": _on_off,
    "ramp": _ramp,
}
"""How calls of others are spread, by name."""


def read_others(told: Any) -> tuple[Others, ...]:
    """Read the `others` setting: a mapping such as `{"pattern": "poisson", "rpm": 100, "tokens": 400}`, or a list of
    such.

    Raises:
        SettingsError: if a pattern or a key is unknown, or a number can't be used.
    """
    each = [told] if isinstance(told, Mapping) else told
    if not isinstance(each, Sequence) or isinstance(each, str):
        raise SettingsError(f"others: give a mapping or a list of mappings, not {told!r}")
    return tuple(_read(dict(values)) for values in each)


def _read(values: dict[str, Any]) -> Others:
    known = [each.name for each in fields(Others)]
    for name in values:
        if name not in known:
            raise SettingsError(f"others: unknown key {name}; known are {', '.join(known)}")
    others = Others(**values)
    if others.pattern not in PATTERNS:
        raise SettingsError(f"others: pattern {others.pattern!r} is none of {', '.join(PATTERNS)}")
    if others.period_s <= 0 or others.rpm < 0 or others.tokens < 0 or others.rpm > 10_000_000:
        raise SettingsError("others: rpm and tokens must not be below zero, and period_s must be above it")
    return others
