"""Limits that are full again at an hour of the day, instead of refilling evenly."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

__all__ = ["next_reset", "zone_of"]


def zone_of(resets: str) -> tzinfo | None:
    """Find the time zone of a text such as `"00:00 America/Los_Angeles"`; None where there is no such zone."""
    name = resets.partition(" ")[2]
    if name in ("UTC", "Z"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def next_reset(resets: str, now: datetime) -> datetime:
    """Give the next moment after `now` at which a meter with these `resets` is full again.

    The day is counted in the zone's own calendar, so that midnight stays midnight where clocks are put forward or back.

    Raises:
        ValueError: `resets` is not of the form `"HH:MM ZONE"`, or `now` has no time zone.
    """
    zone = zone_of(resets)
    if zone is None or now.tzinfo is None:
        raise ValueError(f"no time of reset: {resets!r} at {now!r}")
    hour, minute = resets.partition(" ")[0].split(":")
    local = now.astimezone(zone)
    at = datetime.combine(local.date(), time(int(hour), int(minute)), tzinfo=zone)
    while at.astimezone(UTC) <= now:
        at = datetime.combine(at.date() + timedelta(days=1), at.time(), tzinfo=zone)
    return at.astimezone(UTC)
