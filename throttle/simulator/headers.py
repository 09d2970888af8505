"""Rate-limit headers, as OpenAI sends them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from throttle.simulator.durations import cut_to_ms, go_duration, raised_to_ms
from throttle.simulator.judge import Standing

__all__ = ["openai_headers", "shown"]


def shown(standings: Sequence[Standing]) -> list[Standing]:
    """Choose one meter for each scope and unit: the day's requests before the minute's, as recorded; of all else the
    minute's.
    """
    best: dict[tuple[str, str], Standing] = {}
    for standing in standings:
        key = (standing.scope, standing.unit)
        before = best.get(key)
        by_day = standing.unit == "requests"
        if before is None or (standing.period_s > before.period_s) == by_day:
            best[key] = standing
    return list(best.values())


def openai_headers(standings: Sequence[Standing]) -> Iterable[tuple[str, str]]:
    """Print `x-ratelimit-{limit,remaining,reset}-{requests,tokens,…}`.

    `remaining` is the level rounded down, never below zero; the reset is the time until the bucket is full, cut down
    to the millisecond for tokens and rounded up for requests (recorded: 4,662 of 5,120 and 4,577 of 5,051).
    """
    for standing in shown(standings):
        name = ("project-" if standing.scope == "project" else "") + standing.unit.replace("_", "-")
        reset_ms = (raised_to_ms if standing.unit == "requests" else cut_to_ms)(standing.full_in_s)
        yield f"x-ratelimit-limit-{name}", str(int(standing.limit))
        yield f"x-ratelimit-remaining-{name}", str(max(0, standing.level.numerator // standing.level.denominator))
        yield f"x-ratelimit-reset-{name}", go_duration(reset_ms)
