"""What the headers of an answer say about the limits: `read_headers` turns them into `Reading`s, one for each meter
named.

Nothing here is believed that can't be a level: a value that is no number, is negative, or exceeds what any limit
could be counts as absent, and nothing raises. The words of a header's name don't give the window (one account's
"tokens" refill in thirty days): the numbers do, since a bucket that refills evenly is full again after `reset =
(limit - remaining) * window / limit`. What the name or a policy *says* of the window is kept apart, for servers that
send no reset.

Forms that are read (all seen in recorded answers unless marked):

- `x-ratelimit-{limit,remaining,reset}-UNIT`: OpenAI (`requests`, `tokens`, `images`, `input-images`, `project-tokens`,
  `project-requests`, `tokens-usage-based`, `tokens_usage_based`), Azure, Groq, xAI, Together (and no unit at all),
  Mistral and Cerebras (`req-minute`, `tokens-month`, `req-10-second`, `requests-day`), LiteLLM
  (`x-ratelimit-model_per_key-remaining-tokens`), `x-ratelimit-requests` for a limit
- `anthropic-ratelimit-UNIT-{limit,remaining,reset}`, resets as RFC 3339
- `RateLimit` and `RateLimit-Policy` of the IETF's drafts, the newer (`"name";r=199;t=10`) and the older
  (`limit=100, remaining=50, reset=30`), and `RateLimit-{Limit,Remaining,Reset}` (from the drafts)

Resets: durations as Go prints them (`6m0s`, `934.976314ms`, `8.5µs`), bare seconds, bare milliseconds beside a
`renewalperiod` (Azure), seconds or milliseconds of the epoch, RFC 3339 and HTTP dates. A header sent twice counts once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import NamedTuple

__all__ = ["DAY_S", "MONTH_S", "Reading", "infer_window_s", "instant_s", "read_duration_s", "read_headers"]

DAY_S = 86_400.0
MONTH_S = 2_592_000.0
KNOWN_WINDOWS_S = (60.0, DAY_S, MONTH_S)  # the only ones seen among 6,343 recorded answers
RESOLUTION_S = 0.001  # durations are printed to the millisecond
MOST_COUNT = 10**15  # more than any limit: what is above it is a marker ("unlimited"), not a number to reckon with
NAME_MOST = 100  # letters, twice as many as any seen: names are remembered, and a server may send what it likes
MOST_RESET_S = 10 * MONTH_S
EPOCH_S = 1e9  # a bare number from here on is an instant (September 2001), not a span
EPOCH_MS = 1e11


class Reading(NamedTuple):
    """One meter as an answer's headers show it; None where they don't say, or say something that can't be.

    Attributes:
        name: the meter as the header calls it (`"tokens"`, `"tokens-month"`, `"project-tokens"`); tells two of one
            unit apart.
        unit: what is counted: `"requests"`, `"tokens"`, `"images"`, `"input_images"`, …; `""` where the header names
            none.
        scope: for whom: `"organization"`, `"project"`, or another server's own word.
        limit: what the bucket or window holds.
        remaining: what was left in it when the server looked; it may exceed `limit` where a server gets that wrong.
        reset_s: time until it is full again or the window ends, in seconds from the answer.
        window_s: the window that these numbers follow from, as an evenly refilled bucket; None where they don't tell.
        said_window_s: the window that a name or policy claims; not evidence.
    """

    name: str
    unit: str
    scope: str
    limit: int | None
    remaining: int | None
    reset_s: float | None
    window_s: float | None
    said_window_s: float | None = None


_new = tuple.__new__  # a named tuple's own constructor takes thrice as long, and every answer has two


def read_headers(headers: Mapping[str, str], *, wall_s: float) -> tuple[Reading, ...]:
    """Read what an answer's headers say of its meters; in no particular order, `()` where they say nothing.

    Args:
        headers: of the answer; names in any case. `httpx.Headers` and alike are read through their `raw` pairs.
        wall_s: the time of the answer in seconds of the epoch, for resets that are instants.
    """
    raw = getattr(headers, "raw", None)
    pairs = raw if type(raw) is list else None
    if pairs is not None:
        try:
            six = [pair for pair in pairs if pair[0][:11] == b"x-ratelimit"]
            if len(six) == 6:
                return _read_six(dict(six))
        except (KeyError, ValueError, TypeError, OverflowError):
            pass  # other names, or something unusual in them: the patient way
    found = _collect(headers, pairs)
    return _read_any(found, wall_s) if found else ()


# -- finding the headers -----------------------------------------------------------------------------------------------

_PREFIXES = ("x-ratelimit", "ratelimit", "anthropic-ratelimit", "x-rate-limit")


def _collect(headers: Mapping[str, str], pairs: list[tuple[bytes, bytes]] | None) -> dict[str, str]:
    """Pick the headers that concern limits, by lower-case name; values of a repeated one joined by commas."""
    found: dict[str, str] = {}
    if pairs is not None:
        try:
            for key, value in pairs:
                if b"limit" in key.lower():
                    _add(found, key.decode("latin-1").lower(), value.decode("latin-1"))
            return found
        except (TypeError, ValueError, AttributeError):
            found.clear()
    for name, text in headers.items():
        _add(found, str(name).lower(), str(text))
    return found


def _add(found: dict[str, str], name: str, text: str) -> None:
    if name.startswith(_PREFIXES) and len(name) <= NAME_MOST:
        found[name] = f"{found[name]},{text}" if name in found else text


# -- OpenAI's six: nearly every answer, so read straight from the bytes ------------------------------------------------


def _read_six(six: dict[bytes, bytes]) -> tuple[Reading, ...]:
    return (
        _plain(
            "requests",
            int(six[b"x-ratelimit-limit-requests"]),
            int(six[b"x-ratelimit-remaining-requests"]),
            six[b"x-ratelimit-reset-requests"],
        ),
        _plain(
            "tokens",
            int(six[b"x-ratelimit-limit-tokens"]),
            int(six[b"x-ratelimit-remaining-tokens"]),
            six[b"x-ratelimit-reset-tokens"],
        ),
    )


def _plain(unit: str, limit: int, remaining: int, reset: bytes) -> Reading:
    """Read three that look as they should; ValueError where they don't."""
    if not 0 < limit <= MOST_COUNT or not 0 <= remaining <= MOST_COUNT:
        raise ValueError
    if reset[-2:] == b"ms" and reset[:-2].isdigit():
        reset_s = float(reset[:-2]) / 1000.0
    else:
        reset_s = _units(reset.decode("ascii"))
    if not 0.0 <= reset_s <= MOST_RESET_S:
        raise ValueError
    expected_s = (limit - remaining) * 60.0 / limit
    if expected_s >= 0.01 and -0.002 < reset_s - expected_s < 0.002:  # nearly always: the minute, without the search
        window_s: float | None = 60.0
    else:
        window_s = infer_window_s(limit, remaining, reset_s)
    return _new(Reading, (unit, unit, "organization", limit, remaining, reset_s, window_s, None))


# -- any others --------------------------------------------------------------------------------------------------------

_KINDS = frozenset(("limit", "remaining", "reset"))
_UNITS = {
    "": "",
    "req": "requests",
    "request": "requests",
    "requests": "requests",
    "token": "tokens",
    "tokens": "tokens",
    "image": "images",
    "images": "images",
    "input-images": "input_images",
    "input-tokens": "input_tokens",
    "output-tokens": "output_tokens",
}
_SPANS_S = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": DAY_S, "week": 7 * DAY_S, "month": MONTH_S}


def _read_any(found: dict[str, str], wall_s: float) -> tuple[Reading, ...]:
    in_ms = any("renewalperiod" in name for name in found)
    meters: dict[str, dict[str, str]] = {}
    for name, text in found.items():
        if name in ("ratelimit", "ratelimit-policy"):
            continue
        split = _split(name)
        if split:
            meters.setdefault(split[0], {})[split[1]] = text
    readings = [_reading(meter, texts, in_ms, wall_s) for meter, texts in meters.items()]
    readings += _read_drafts(found.get("ratelimit", ""), found.get("ratelimit-policy", ""), wall_s)
    said = [reading for reading in readings if reading is not None]
    units = {reading.unit for reading in said}
    if "tokens" in units and "requests" not in units:  # Together: what isn't called tokens counts requests
        said = [reading._replace(unit="requests") if reading.unit == "" else reading for reading in said]
    return tuple(said)


@lru_cache(maxsize=256)  # a host sends the same names again and again
def _split(name: str) -> tuple[str, str] | None:
    """Split a header's name into the meter it speaks of and what it says of it: `("tokens", "limit")`."""
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            parts = [part for part in name[len(prefix) :].replace("_", "-").split("-") if part]
            break
    else:
        return None
    for kind in _KINDS:
        if kind in parts:
            parts.remove(kind)
            return "-".join(parts), kind
    if parts and parts[0] == "renewalperiod":
        return "-".join(parts[1:]), "renewal"
    if parts in (["requests"], ["tokens"]):
        return parts[0], "limit"
    return None


def _reading(meter: str, texts: dict[str, str], in_ms: bool, wall_s: float) -> Reading | None:
    limits, lefts, resets = (_values(texts.get(kind, "")) for kind in ("limit", "remaining", "reset"))
    at = _careful(lefts)
    limit, remaining = _count(_pick(limits, at)), _count(_pick(lefts, at))
    reset_s = _reset_s(_pick(resets, at), in_ms, wall_s)
    if limit == 0:
        limit = None
    if limit is None and remaining is None and reset_s is None:
        return None
    unit, scope, said_s = _meaning(meter)
    renewal_s = _number(texts.get("renewal", ""))
    if renewal_s and 0 < renewal_s <= MONTH_S:
        said_s = renewal_s
    return Reading(meter, unit, scope, limit, remaining, reset_s, infer_window_s(limit, remaining, reset_s), said_s)


@lru_cache(maxsize=256)
def _meaning(meter: str) -> tuple[str, str, float | None]:
    """Tell unit, scope and claimed window of a meter's name."""
    parts, said_s, scope = meter.split("-") if meter else [], None, "organization"
    if parts and parts[-1] in _SPANS_S:
        said_s = _SPANS_S[parts.pop()]
        if parts and parts[-1].isdecimal():
            said_s *= max(1, int(parts.pop()[:6]))
    if parts[-2:] == ["usage", "based"]:
        parts, scope = parts[:-2], "usage-based"
    for size in (2, 1):
        word = "-".join(parts[-size:])
        if len(parts) >= size and word in _UNITS:
            before = "-".join(parts[:-size])
            return _UNITS[word], before or scope, said_s
    return "_".join(parts), scope, said_s


# -- the IETF's drafts -------------------------------------------------------------------------------------------------

_DRAFT_UNITS = {"requests": "requests", "content-bytes": "bytes", "concurrent-requests": "in_flight"}


def _read_drafts(fields: str, policies: str, wall_s: float) -> list[Reading | None]:
    if not fields:
        return []
    old = dict(re.findall(r"\b(limit|remaining|reset)\s*=\s*(\d+)", fields))
    if old:
        limit, remaining = _count(old.get("limit", "")), _count(old.get("remaining", ""))
        reset_s = _reset_s(old.get("reset", ""), False, wall_s)
        said_s = _number("".join(re.findall(r";\s*w=(\d+)", policies)[:1]))
        return [
            Reading(
                "",
                "",
                "organization",
                limit or None,
                remaining,
                reset_s,
                infer_window_s(limit, remaining, reset_s),
                said_s,
            )
        ]
    told = dict(_items(policies))
    found: list[Reading | None] = []
    for name, params in _items(fields):
        policy = told.get(name, {})
        remaining, reset_s = _count(params.get("r", "")), _reset_s(params.get("t", ""), False, wall_s)
        limit = _count(policy.get("q", "")) or None
        unit = _DRAFT_UNITS.get(policy.get("qu", "requests").strip('"'), policy.get("qu", "").strip('"'))
        said_s = _number(policy.get("w", ""))
        if remaining is not None or limit is not None:
            window_s = infer_window_s(limit, remaining, reset_s)
            found.append(Reading(name, unit, "organization", limit, remaining, reset_s, window_s, said_s))
    return found


def _items(text: str) -> Iterable[tuple[str, dict[str, str]]]:
    """Take a structured list of strings with parameters apart: `"burst";r=50;t=1, "day";r=900`."""
    for item in re.split(r",(?=\s*[\"A-Za-z*])", text)[:16]:
        name, *params = item.strip().split(";")
        yield name.strip().strip('"'), {k.strip().lower(): v.strip() for k, _, v in (p.partition("=") for p in params)}


# -- values ------------------------------------------------------------------------------------------------------------


def _values(text: str) -> list[str]:
    """Split a header that came several times; a date keeps its comma."""
    text = text.strip()
    if "," not in text or (text[:3].isalpha() and text.endswith("GMT")):
        return [text]
    values = [value.strip() for value in text.split(",")[:8]]
    return values if len(set(values)) > 1 else values[:1]


def _careful(lefts: list[str]) -> int:
    """Choose among differing copies the one that leaves least."""
    if len(lefts) == 1:
        return 0
    counts = [_count(left) for left in lefts]
    known = [(count, at) for at, count in enumerate(counts) if count is not None]
    return min(known)[1] if known else 0


def _pick(values: list[str], at: int) -> str:
    return values[at] if at < len(values) else values[0]


def _number(text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _count(text: str) -> int | None:
    value = _number(text.partition(";")[0])
    return int(value) if value is not None and 0 <= value <= MOST_COUNT else None


def _reset_s(text: str, in_ms: bool, wall_s: float) -> float | None:
    if not text:
        return None
    value = _number(text)
    if value is None:
        value = read_duration_s(text)
        if value is None:
            value = instant_s(text, wall_s)
    elif value >= EPOCH_MS:
        value = max(0.0, value / 1000.0 - wall_s)
    elif value >= EPOCH_S:
        value = max(0.0, value - wall_s)
    elif in_ms:
        value /= 1000.0
    return value if value is not None and 0.0 <= value <= MOST_RESET_S else None


_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(h|ms|m|s|us|µs|μs|ns|d)")
_SECONDS = {"d": DAY_S, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}


def read_duration_s(text: str) -> float | None:
    """Read a duration as Go prints it (`1h2m3.5s`, `17ms`, `8.5µs`), in seconds; None if it isn't one."""
    try:
        return _units(text.strip().replace("Âµ", "µ"))  # UTF-8 read as Latin-1, as header bytes are
    except ValueError:
        return None


def _units(text: str) -> float:
    at, total = 0, 0.0
    if len(text) > 40:
        raise ValueError
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            raise ValueError
        total += float(part[1]) * _SECONDS[part[2]]
        at = part.end()
    if not at:
        raise ValueError
    return total


def instant_s(text: str, wall_s: float) -> float | None:
    """Read an instant written as RFC 3339 or as an HTTP date, in seconds from now; None if it isn't one."""
    try:
        at = datetime.fromisoformat(text) if text[:4].isdecimal() else parsedate_to_datetime(text)
        return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - wall_s)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def infer_window_s(limit: int | None, remaining: int | None, reset_s: float | None) -> float | None:
    """Infer the window that makes an evenly refilled bucket of `limit` with `remaining` in it full after `reset_s`.

    `remaining` is rounded down and `reset_s` to the millisecond, so the numbers leave a range: a window that servers
    are known to use is taken if it lies inside, the smallest first; else the middle of the range if that is narrow;
    else None, as near a full bucket, where the numbers have too few digits.
    """
    if limit is None or remaining is None or reset_s is None or not 0 <= remaining < limit or reset_s <= 0.0:
        return None
    if reset_s == 60.0 and remaining > 0.9 * limit:
        return None  # seen on answers whose meters said nothing
    used = limit - remaining
    low = (reset_s - RESOLUTION_S) * limit / used
    high = (reset_s + RESOLUTION_S) * limit / (used - 1) if used > 1 else math.inf
    for window_s in KNOWN_WINDOWS_S:
        if low <= window_s <= high:
            return window_s if low >= window_s / 4 or high <= 4 * window_s else None
    return 0.5 * (low + high) if low > 0 and high < 1.05 * low else None
