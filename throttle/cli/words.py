"""Figures as a person reads them."""

from __future__ import annotations

__all__ = ["amount", "duration", "percent", "plural"]


def amount(number: float) -> str:
    """Write a count: `1,234`, and `12.3M` from ten millions on."""
    if abs(number) >= 10_000_000:
        return f"{number / 1e6:,.1f}M"
    return f"{number:,.0f}"


def duration(seconds: float | None) -> str:
    """Write a span of time in at most two units: `0.84 s`, `12.3 s`, `4m05s`, `3h20m`, `2d04h`."""
    if seconds is None:
        return "—"
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"


def percent(part: float) -> str:
    """Write a part of one in percent, with a digit behind the point and never rounded up to a whole that it isn't."""
    return f"{int(part * 1000 + 1e-6) / 10:.1f} %"


def plural(number: int, one: str, many: str | None = None) -> str:
    """Write a count with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
