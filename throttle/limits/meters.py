"""The meters that every limits file knows without defining them, and what a meter counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

__all__ = ["DAY_S", "KNOWN_METERS", "MINUTE_S", "MeterKind"]

MINUTE_S = 60.0
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class MeterKind:
    """What a meter of some name measures: the unit, the window in seconds, and what a call is charged (see
    `MeterSpec`)."""

    unit: str
    window_s: float
    counts: tuple[tuple[str, Fraction], ...] = ()


KNOWN_METERS: Mapping[str, MeterKind] = MappingProxyType(
    {
        "rpm": MeterKind("requests", MINUTE_S),
        "rpd": MeterKind("requests", DAY_S),
        "tpm": MeterKind("tokens", MINUTE_S),
        "tpd": MeterKind("tokens", DAY_S),
        "ipm": MeterKind("images", MINUTE_S),
        "max_in_flight": MeterKind("in_flight", 0.0),
        "itpm": MeterKind("input_tokens", MINUTE_S),
        "otpm": MeterKind("output_tokens", MINUTE_S),
    }
)
