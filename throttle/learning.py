"""Which of a pool's meters an answer speaks of: headers and refusals name units, pools have meters.

A header's name says little: "requests" may be the minute's or the day's, and the window has to be inferred. So a
reading goes to the meter of its unit and its window; where the window doesn't follow from the numbers, to the one
whose limit it shows, or else to the one that refills fastest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from throttle.feedback.headers import Reading
from throttle.feedback.refusals import Refusal
from throttle.meter import Meter

__all__ = ["meter_name", "readings_by_meter", "refused_meter", "takes_bursts", "unmet_readings"]

MINUTE_S: Final = 60.0
DAY_S: Final = 86_400.0
MONTH_S: Final = 2_592_000.0
OPENAI_HOST: Final = "api.openai.com"


def readings_by_meter(meters: Sequence[Meter], readings: Sequence[Reading]) -> list[Reading | None]:
    """Find for each meter what an answer's headers say of it; None where they don't."""
    found: list[Reading | None] = [None] * len(meters)
    for reading in readings:
        place = _place_of(meters, reading)
        if place is not None and found[place] is None:
            found[place] = reading
    return found


def unmet_readings(meters: Sequence[Meter], readings: Sequence[Reading]) -> list[Reading]:
    """Return what headers tell of limits that none of the meters stands for, complete enough to make a meter of.

    Beside a meter of the same unit only a window of a day or of thirty is believed, the ones that were seen: the
    resets of servers that count in windows look like any window at all.
    """
    units = {meter.unit for meter in meters}
    return [
        reading
        for reading in readings
        if reading.scope == "organization"
        and reading.limit
        and reading.limit > 0
        and reading.remaining is not None
        and reading.unit in ("requests", "tokens", "images", "input_tokens", "output_tokens")
        and _place_of(meters, reading) is None
        and (reading.unit not in units or reading.window_s in (DAY_S, MONTH_S))
    ]


def refused_meter(meters: Sequence[Meter], refusal: Refusal) -> Meter | None:
    """Find the meter that a refusal names; None where it names none of them."""
    mine = [meter for meter in meters if meter.unit == refusal.unit and meter.window_s > 0]
    mine = [meter for meter in mine if meter.pool == refusal.pool] or mine
    mine = [meter for meter in mine if meter.scope == refusal.scope] or mine
    if refusal.window_s is not None:
        mine = [meter for meter in mine if meter.window_s == refusal.window_s] or mine
    return min(mine, key=lambda meter: meter.window_s, default=None)


def takes_bursts(host: str) -> bool:
    """Tell whether a host is known to let a full bucket go at once. Nearly all that aren't OpenAI refuse a part of
    it.
    """
    return host == OPENAI_HOST or host.endswith(f".{OPENAI_HOST}")


def meter_name(unit: str, window_s: float) -> str:
    """Name a meter that was learned from a header, in the words of the limits file where there is one."""
    letter = {"requests": "r", "tokens": "t", "images": "i", "input_tokens": "it", "output_tokens": "ot"}.get(unit)
    span = {MINUTE_S: "m", DAY_S: "d"}.get(window_s)
    return f"{letter}p{span}" if letter and span else f"{unit} per {window_s:g} s"


def _place_of(meters: Sequence[Meter], reading: Reading) -> int | None:
    unit, scope = reading.unit, reading.scope
    mine = []
    for i, meter in enumerate(meters):
        if meter.unit == unit and meter.scope == scope and meter.window_s > 0 and not meter.counts:
            mine.append(i)
    if reading.window_s is not None:
        for i in mine:
            if _is_near(meters[i].window_s, reading.window_s):
                return i
        if reading.window_s in (DAY_S, MONTH_S):
            return None  # other windows may be a count that ends, whose reset looks like any window at all
    if len(mine) == 1:  # nearly always
        return mine[0]
    shown = [i for i in mine if reading.limit is not None and meters[i].limit == reading.limit]
    return min(shown or mine, key=lambda i: meters[i].window_s, default=None)


def _is_near(window_s: float, inferred_s: float) -> bool:
    # an inferred window is rounded to one that is in use, or else carries the rounding of its header
    return abs(window_s - inferred_s) <= 0.05 * window_s
