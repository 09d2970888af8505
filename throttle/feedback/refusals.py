"""Why a server refused a call: `read_refusal` turns status, headers and body into a `Refusal`.

Status and code don't suffice: OpenAI says `429 rate_limit_exceeded` of a call that may go in 6 ms and of one that is
larger than the bucket and never will; "exceeded your current quota" means an empty purse on one host and a busy
minute on another. So the text decides, and its numbers are checked against one another before anything is believed:
where a text gives `Limit`, `Used`, `Requested` and a time, `wait = (used + requested - limit) * window / limit` holds
to the millisecond in all that were seen, and a text in which it doesn't (one server always says `Used` = limit,
`Requested 1`) is no evidence of the level.

When to come back, the surest first: the text's own time where its numbers fit; `retry-after-ms`; `retry-after` (seen
as a whole window, whatever is left of it: an upper bound); the text's time; the meter's reset; what the numbers
imply.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from throttle.feedback.headers import DAY_S, MONTH_S, instant_s, read_duration_s, read_headers

__all__ = ["Kind", "Refusal", "read_refusal"]

Kind = Literal["rate", "overloaded", "too-large", "quota", "no-access", "batch", "server", "other"]
"""Why: `rate` a limit that refills; `overloaded` the server's own load, which says nothing of our level; `too-large`
one call that exceeds what the bucket holds; `quota` money or a spending limit; `no-access` a limit of zero; `batch`
the queue of batches is full; `server` a fault or timeout; `other` the caller's mistake or something unknown."""

MOST_TEXT = 4000  # characters of a body that are looked at: the longest error text seen had 900
DAY_HINT_PROBE_S = 60.0  # Azure's "retry after 86400 seconds" comes with limits by the minute: look again after one


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal as it was understood. Amounts are in `unit`; None where the server didn't say.

    Attributes:
        kind: why.
        retry: whether the same call may succeed later.
        unit: the meter: `"requests"`, `"tokens"`, `"images"`, `"input_tokens"`, …
        pool: the pool as the server calls it: a model, or a name of its own.
        scope: `"project"` where the text speaks of one, else `"organization"`.
        limit: what the bucket holds.
        used: how much of it was gone.
        requested: what the refused call would have been charged.
        window_s: the meter's window, from the numbers where they fit, else from the words.
        wait_s: when to come back, from now.
        exact: the numbers and the time fit together: `wait_s` is when room is there, `level` is exact.
        probe: the time can't be right; come back earlier, and slowly.
        code: the server's own code, or its type.
    """

    kind: Kind
    retry: bool
    unit: str | None = None
    pool: str | None = None
    scope: str = "organization"
    limit: float | None = None
    used: float | None = None
    requested: float | None = None
    window_s: float | None = None
    wait_s: float | None = None
    exact: bool = False
    probe: bool = False
    code: str | None = None

    @property
    def level(self) -> float | None:
        """What was left in the bucket, where the text tells it and nothing in the text contradicts it."""
        return self.limit - self.used if self.exact and self.limit is not None and self.used is not None else None


def read_refusal(status: int, headers: Mapping[str, str], body: str | bytes | None, *, wall_s: float) -> Refusal:
    """Read why a call was refused; never raises.

    Args:
        status: of the answer; 200 for an error that came inside a stream.
        headers: of the answer.
        body: as it came: JSON, HTML, plain text, or nothing. An event of a stream may be passed as its JSON.
        wall_s: the time of the answer in seconds of the epoch, for instants in the headers.
    """
    text, code, type_ = _open(body)
    kind, retry = _kind_of(status, text, code, type_)
    if kind not in ("rate", "too-large", "overloaded"):
        return Refusal(kind, _may_retry(headers, kind, retry), code=code or type_)
    limit, used, requested, current = _numbers(text)
    if limit == 0:
        return Refusal("no-access", False, _unit(text, type_), _pool(text), _scope(text), 0.0, code=code or type_)
    if kind == "rate" and limit and requested and requested > limit and used is not None:
        kind, retry = "too-large", False
    hint_s, said_s = _hint_s(text), _said_window_s(text)
    window_s = _fitting_window_s(limit, used, requested, hint_s, said_s)
    exact = window_s is not None and kind == "rate"
    wait_s, probe = None, False
    if kind != "too-large":
        wait_s = hint_s if exact else _wait_s(headers, hint_s, wall_s, _unit(text, type_))
        if wait_s is None and limit and current and current > limit:
            wait_s = (current - limit) / limit * (said_s or 60.0)
        if wait_s is not None and wait_s >= DAY_S and not exact and (said_s or 60.0) < DAY_S:
            wait_s, probe = DAY_HINT_PROBE_S, True
    return Refusal(
        kind,
        _may_retry(headers, kind, retry),
        _unit(text, type_),
        _pool(text),
        _scope(text),
        limit,
        used,
        requested,
        window_s or said_s,
        wait_s,
        exact,
        probe,
        code or type_,
    )


# -- the body ----------------------------------------------------------------------------------------------------------


def _open(body: str | bytes | None) -> tuple[str, str, str]:
    """Take message, code and type out of a body; all of the text where there is no message."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes | bytearray) else str(body or "")
    text = text[: 16 * MOST_TEXT].strip()
    if text[:1] not in ("{", "["):
        return text[:MOST_TEXT], "", ""
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text[:MOST_TEXT], "", ""
    whole = text
    for _ in range(4):  # [..], {"response": {"error": ..}}, {"error": ..}
        if isinstance(found, list) and found:
            found = found[0]
        if not isinstance(found, dict):
            break
        inner = found.get("response") if isinstance(found.get("response"), dict) else found.get("error")
        if not inner:
            break
        found = inner
    if not isinstance(found, dict):
        return str(found)[:MOST_TEXT], "", ""
    message = found.get("message") or found.get("detail") or found.get("msg") or ""
    code, type_ = (str(found.get(key) or "") for key in ("code", "type"))
    if not type_:
        type_ = str(found.get("status") or "")
    delay = re.search(r'"retryDelay"\s*:\s*"(\d[\d.]*s)"', whole)
    message = str(message or whole)
    if delay and not _HINT.search(message):
        message += f" Please retry in {delay[1]}."
    return message[:MOST_TEXT], code, type_


# -- why ---------------------------------------------------------------------------------------------------------------

_QUOTA_CODES = frozenset(
    {
        "access_terminated",
        "billing_hard_limit_reached",
        "billing_not_active",
        "credit_balance_exhausted",
        "insufficient_balance",
        "insufficient_quota",
        "insufficient_user_quota",
        "spend_limit_reached",
        "usage_limit_reached",
    }
)
_OVERLOAD_CODES = frozenset(
    {
        "3505",
        "engine_overloaded",
        "engine_overloaded_error",
        "overloaded_error",
        "rate_limited_upstream",
        "server_overloaded",
        "slow_down",
    }
)
_QUOTA = re.compile(
    r"exceeded your current quota|billing hard limit|credit balance|insufficient (?:credits?|balance|quota|funds)"
    r"|spend(?:ing)? limit|usage limit|monthly (?:budget|limit|quota)|requires more credits",
    re.I,
)
_TOO_LARGE = re.compile(r"request too large|tokens must be reduced|reduce your message size", re.I)
_UPSTREAM = re.compile(r"rate.?limited upstream|upstream rate.?limit", re.I)
_RATE = re.compile(r"rate.?limit|per (?:min|sec|hour|day)|too many requests|throttl|\b[TRI]P[MD]\b", re.I)
_OVERLOAD = re.compile(
    r"overload|slow.?down|high demand|capacity|increased too quickly|server is busy|temporarily unavailable", re.I
)


def _kind_of(status: int, text: str, code: str, type_: str) -> tuple[Kind, bool]:
    words = {code.lower(), type_.lower()}
    if words & _OVERLOAD_CODES or status in (503, 529):
        return "overloaded", True
    if "enqueued token" in text.lower() or code == "token_limit_exceeded":
        return "batch", False
    if words & _QUOTA_CODES or status == 402:
        return "quota", False
    if _QUOTA.search(text) and not _HINT.search(text) and "Rate limit reached" not in text:
        return "quota", False
    limited = status in (200, 413, 429) or "rate_limit_exceeded" in words
    if limited and _TOO_LARGE.search(text):
        return "too-large", False
    if status == 429 or (status == 200 and _is_refusal_in_stream(words, text)):
        if _UPSTREAM.search(text) or (_OVERLOAD.search(text) and not _RATE.search(text)):
            return "overloaded", True
        return "rate", True
    if status in (408, 409) or status >= 500 or words & {"server_error", "internal_error"}:
        return "server", True
    if status in (200, 400) and _RATE.search(text) and ('"429"' in text or "status 429" in text):
        return "rate", True  # a host that wraps another's refusal into a 400
    return "other", False


def _is_refusal_in_stream(words: set[str], text: str) -> bool:
    """Tell whether an error inside a stream is a refusal: by its code and type, or by its text where it has neither."""
    if any(words):
        return bool(words & {"rate_limit_exceeded", "429", "rate_limit_error"})
    return bool(_RATE.search(text) or _OVERLOAD.search(text))


def _may_retry(headers: Mapping[str, str], kind: Kind, retry: bool) -> bool:
    """Heed `x-should-retry`: a no always; a yes only where we had no firm reason against it."""
    said = str(headers.get("x-should-retry") or "").lower()
    if said == "false":
        return False
    return True if said == "true" and kind in ("server", "other", "overloaded", "rate") else retry


# -- which meter -------------------------------------------------------------------------------------------------------

_NUMBER = r"~?\s*(\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?)"
_FIELDS = {
    field: re.compile(rf"\b{field}:?\s*{_NUMBER}", re.I)
    for field in ("limit", "used", "requested", "current", "remaining")
}
_CROSSED = re.compile(r"current ([rt]pm): (\d+), [rt]pm limit: (\d+)", re.I)
_RATE_OF = re.compile(rf"(?:rate limit of|limited to) {_NUMBER} ", re.I)
_METER = re.compile(r"\b(input |output )?(token|request|image|call)s? per (sec|min|hour|day|month)", re.I)
_SHORT = re.compile(r"\b([TRI])P([MD])\b")
_KINDS = re.compile(r"\b(token|call|request)s? rate limit|limit type: (token|request|max_parallel)", re.I)
_UNIT_OF = {
    "token": "tokens",
    "request": "requests",
    "call": "requests",
    "image": "images",
    "max_parallel": "in_flight",
}
_SHORT_UNITS = {"T": "tokens", "R": "requests", "I": "images"}
_SPAN_S = {"sec": 1.0, "min": 60.0, "hour": 3600.0, "day": DAY_S, "month": MONTH_S}
_NAMED = re.compile(r"(?:limit reached for|too large for|requests to) (?:model )?[`'\"]?([\w.:/@-]+)", re.I)
_FOR_LIMIT = re.compile(r"\(for limit ([^)]{1,80})\)", re.I)


def _numbers(text: str) -> tuple[float | None, float | None, float | None, float | None]:
    """Find limit, used, requested and the oldest texts' `Current`."""
    for _, current, most in _CROSSED.findall(text):
        if float(current) >= float(most):
            return float(most), None, None, float(current)
    found = {field: _first(form, text) for field, form in _FIELDS.items()}
    limit, used = found["limit"], found["used"]
    if limit is None:
        limit = _first(_RATE_OF, text)
    if used is None and limit is not None and found["remaining"] is not None:
        used = limit - found["remaining"]
    return limit, used, found["requested"], found["current"]


def _first(form: re.Pattern[str], text: str) -> float | None:
    m = form.search(text)
    return float(m[1].replace(",", "")) if m else None


def _unit(text: str, type_: str) -> str | None:
    if m := _METER.search(text):
        return _lower(m[1]) + _UNIT_OF[m[2].lower()]
    for unit, current, limit in _CROSSED.findall(text):
        if float(current) >= float(limit):
            return _SHORT_UNITS[unit[0].upper()]
    if "Crossed TPM" not in text and (m := _SHORT.search(text)):
        return _SHORT_UNITS[m[1]]
    if m := _KINDS.search(text):
        return _UNIT_OF[(m[1] or m[2]).lower()]
    return type_ if type_ in ("tokens", "requests", "images") else None


def _lower(word: str | None) -> str:
    return f"{word.strip().lower()}_" if word else ""


def _said_window_s(text: str) -> float | None:
    if m := _METER.search(text):
        return _SPAN_S[m[3].lower()]
    if m := _SHORT.search(text):
        return DAY_S if m[2] == "D" else 60.0
    if re.search(r"/ ?min|/1min", text):
        return 60.0
    return DAY_S if "per-day" in text else None


def _pool(text: str) -> str | None:
    if m := _FOR_LIMIT.search(text):
        return m[1]
    if (m := _NAMED.search(text)) and m[1].lower() not in ("tokens.", "requests.", "the", "images"):
        return m[1].rstrip(".")
    return None


def _scope(text: str) -> str:
    return "project" if re.search(r"\bin project\b|project \S+ on ", text) else "organization"


# -- when to come back -------------------------------------------------------------------------------------------------

_HINT = re.compile(
    r"(?:try(?:ing)? again|retry(?:ing)?) (?:in|after) (?:about )?"
    r"((?:\d+(?:\.\d+)?(?:ms|[hmsd]|µs)(?![a-z]))(?:\d+(?:\.\d+)?(?:ms|[hmsd]))*"
    r"|\d+(?:\.\d+)? (?:milli)?(?:second|minute|hour|day)s?)",
    re.I,
)
_WORD_S = {"millisecond": 1e-3, "second": 1.0, "minute": 60.0, "hour": 3600.0, "day": DAY_S}
_WINDOWS_S = (60.0, DAY_S, MONTH_S, 3600.0, 1.0)
_SLACK_S = 0.002  # hints are cut to the millisecond, and one was half a millisecond short


def _hint_s(text: str) -> float | None:
    m = _HINT.search(text)
    if not m:
        return None
    number, _, word = m[1].partition(" ")
    return float(number) * _WORD_S[word.lower().rstrip("s")] if word else read_duration_s(m[1])


def _fitting_window_s(
    limit: float | None, used: float | None, requested: float | None, hint_s: float | None, said_s: float | None
) -> float | None:
    """Tell the window in which numbers and time fit together; None where there is none: then the text guesses.

    `used` may hide a part of a unit (requests refill slowly and are shown whole), so in the window that the words
    name the true time may be shorter by a unit's. Another window must fit to the millisecond: some would fit any time
    otherwise.
    """
    if not limit or used is None or not requested or hint_s is None or used > limit or requested > limit:
        return None
    lack = used + requested - limit
    for window_s in _WINDOWS_S:
        unit_s = window_s / limit
        hidden = 1 if window_s == (said_s or 60.0) else 0
        if lack > 0 and (lack - hidden) * unit_s - _SLACK_S <= hint_s <= lack * unit_s + _SLACK_S:
            return window_s
    return None


def _wait_s(headers: Mapping[str, str], hint_s: float | None, wall_s: float, unit: str | None) -> float | None:
    told_ms, told = (str(headers.get(name) or "").strip() for name in ("retry-after-ms", "retry-after"))
    wait_s = _positive(told_ms)
    if wait_s:
        return min(wait_s / 1000.0, MONTH_S)
    wait_s = _positive(told)
    if wait_s is None and told:
        wait_s = read_duration_s(told)
        if wait_s is None:
            wait_s = instant_s(told, wall_s)
    if wait_s is not None:
        return min(wait_s, MONTH_S)
    if hint_s is not None:
        return min(hint_s, MONTH_S)
    resets = [r.reset_s for r in read_headers(headers, wall_s=wall_s) if r.unit in (unit, "") and r.remaining == 0]
    return min((reset_s for reset_s in resets if reset_s is not None), default=None)


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
