"""Rate-limit headers: OpenAI's, those of others who serve the same API, and ways in which they go wrong.

Each form was seen in recorded answers, but for the last group, which is what a reader must withstand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from throttle.simulator.durations import cut_to_ms, go_duration, raised_to_ms
from throttle.simulator.judge import Standing

__all__ = ["HEADER_FORMS", "openai_headers", "print_headers", "shown"]

Pairs = list[tuple[str, str]]


def print_headers(form: str, standings: Sequence[Standing], wall_s: float, before: Pairs | None = None) -> Pairs:
    """Print the headers in one of `HEADER_FORMS`. `wall_s` is the time of day; `before` what the last answer had."""
    if form == "late":
        return before if before is not None else openai_headers(standings)
    return HEADER_FORMS[form](standings, wall_s)


def shown(standings: Sequence[Standing]) -> list[Standing]:
    """Choose one meter for each scope and unit: of requests the day's before the minute's, as recorded; else the
    minute's.
    """
    best: dict[tuple[str, str], Standing] = {}
    for standing in standings:
        key = (standing.scope, standing.unit)
        before = best.get(key)
        by_day = standing.unit == "requests"
        if standing.unit != "in_flight" and (before is None or (standing.period_s > before.period_s) == by_day):
            best[key] = standing
    return list(best.values())


def openai_headers(standings: Sequence[Standing]) -> Pairs:
    """Print `x-ratelimit-{limit,remaining,reset}-{requests,tokens,…}`.

    `remaining` is the level rounded down, never below zero; the reset is the time until the bucket is full, cut down to
    the millisecond for tokens and rounded up for requests (recorded: 4,662 of 5,120 and 4,577 of 5,051).
    """
    return [pair for standing in shown(standings) for pair in _openai(standing)]


def _openai(standing: Standing) -> Pairs:
    name = _name(standing)
    reset_ms = (raised_to_ms if standing.unit == "requests" else cut_to_ms)(standing.full_in_s)
    reset = str(-(-reset_ms // 1000)) if standing.unit == "images" else go_duration(reset_ms)
    return [*_limit_and_remaining(standing, name), (f"x-ratelimit-reset-{name}", reset)]


def _name(standing: Standing) -> str:
    return ("project-" if standing.scope == "project" else "") + standing.unit.replace("_", "-")


def _remaining(standing: Standing) -> int:
    return max(0, standing.level.numerator // standing.level.denominator)


def _limit_and_remaining(standing: Standing, name: str) -> Pairs:
    return [
        (f"x-ratelimit-limit-{name}", str(int(standing.limit))),
        (f"x-ratelimit-remaining-{name}", str(_remaining(standing))),
    ]


def _azure(standings: Sequence[Standing], wall_s: float) -> Pairs:
    """Azure: the usual six, with the reset as a bare number of milliseconds, and the period."""
    pairs: Pairs = []
    for each in shown(standings):
        name = _name(each)
        pairs += _limit_and_remaining(each, name)
        pairs.append((f"x-ratelimit-reset-{name}", str(cut_to_ms(each.full_in_s))))
        pairs.append((f"x-ratelimit-renewalperiod-{name}", str(int(each.period_s))))
    return pairs


def _without_reset(standings: Sequence[Standing], wall_s: float) -> Pairs:
    """xAI, and Azure at times."""
    return [pair for each in shown(standings) for pair in _limit_and_remaining(each, _name(each))]


def _mistral(standings: Sequence[Standing], wall_s: float) -> Pairs:
    names = {"requests": "req-minute", "tokens": "tokens-minute"}
    return [pair for each in shown(standings) for pair in _limit_and_remaining(each, names.get(each.unit, each.unit))]


def _together(standings: Sequence[Standing], wall_s: float) -> Pairs:
    """Together: requests without a suffix, resets in bare seconds."""
    pairs: Pairs = []
    for each in shown(standings):
        suffix = "" if each.unit == "requests" else f"-{_name(each)}"
        pairs.append((f"x-ratelimit-limit{suffix}", str(int(each.limit))))
        pairs.append((f"x-ratelimit-remaining{suffix}", str(_remaining(each))))
        pairs.append((f"x-ratelimit-reset{suffix}", str(-(-raised_to_ms(each.full_in_s) // 1000))))
    return pairs


def _cerebras(standings: Sequence[Standing], wall_s: float) -> Pairs:
    """Cerebras: the period in the name, resets in seconds with a fraction."""
    pairs: Pairs = []
    for each in shown(standings):
        name = f"{each.unit}-{'day' if each.period_s == 86_400 else 'minute'}"
        pairs += _limit_and_remaining(each, name)
        pairs.append((f"x-ratelimit-reset-{name}", repr(float(each.full_in_s))))
    return pairs


def _openrouter(standings: Sequence[Standing], wall_s: float) -> Pairs:
    """OpenRouter: one meter without a name, the reset as milliseconds of the epoch."""
    first = shown(standings)[:1]
    return [
        pair
        for each in first
        for pair in (
            ("x-ratelimit-limit", str(int(each.limit))),
            ("x-ratelimit-remaining", str(_remaining(each))),
            ("x-ratelimit-reset", str(int((wall_s + float(each.full_in_s)) * 1000))),
        )
    ]


def _ietf(standings: Sequence[Standing], wall_s: float) -> Pairs:
    """The IETF's draft: `RateLimit: "requests";r=9;t=6` and `RateLimit-Policy: "requests";q=10;w=60`."""
    states, policies = [], []
    for each in shown(standings):
        whole_s = -(-raised_to_ms(each.full_in_s) // 1000)
        states.append(f'"{each.unit}";r={_remaining(each)};t={whole_s}')
        policies.append(f'"{each.unit}";q={int(each.limit)};w={int(each.period_s)}')
    return [("ratelimit", ", ".join(states)), ("ratelimit-policy", ", ".join(policies))] if states else []


def _requests_only(standings: Sequence[Standing], wall_s: float) -> Pairs:
    """OpenAI for embeddings and audio of some accounts."""
    return openai_headers([each for each in standings if each.unit == "requests"])


def _nothing(standings: Sequence[Standing], wall_s: float) -> Pairs:
    return []


def _openai_form(standings: Sequence[Standing], wall_s: float) -> Pairs:
    return openai_headers(standings)


def _replaced(values: Callable[[str, str], str]) -> Callable[[Sequence[Standing], float], Pairs]:
    def form(standings: Sequence[Standing], wall_s: float) -> Pairs:
        return [(name, values(name, value)) for name, value in openai_headers(standings)]

    return form


def _absurd(name: str, value: str) -> str:
    if "-limit-" in name:
        return "1"
    return "99999999999999999999" if "-remaining-" in name else "-83h99m-3s"


def _twice(standings: Sequence[Standing], wall_s: float) -> Pairs:
    pairs = openai_headers(standings)
    return [*pairs, *pairs]


def _full(standings: Sequence[Standing], wall_s: float) -> Pairs:
    """A level that is always full, as a proxy with a cache might tell."""
    stale = [
        Standing(each.pool, each.scope, each.meter, each.unit, each.limit, each.limit, Fraction(0), each.period_s)
        for each in standings
    ]
    return openai_headers(stale)


HEADER_FORMS: Mapping[str, Callable[[Sequence[Standing], float], Pairs]] = {
    "openai": _openai_form,
    "requests-only": _requests_only,
    "azure": _azure,
    "xai": _without_reset,
    "mistral": _mistral,
    "together": _together,
    "cerebras": _cerebras,
    "openrouter": _openrouter,
    "ietf": _ietf,
    "none": _nothing,
    "late": _openai_form,
    "full": _full,
    "twice": _twice,
    "negative": _replaced(lambda name, value: "-1"),
    "zero": _replaced(lambda name, value: "0"),
    "words": _replaced(lambda name, value: "unlimited"),
    "absurd": _replaced(_absurd),
}
"""The forms known by name. `late` is OpenAI's, as of the answer before."""
