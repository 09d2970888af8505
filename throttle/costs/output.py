"""How many tokens come out: what the body allows, or else what is expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from throttle.costs import endpoints
from throttle.costs.reading import positive

__all__ = ["choices_of", "explicit_maximum", "output_tokens"]

_EXPECTED: Final = {endpoints.CHAT: 256, endpoints.RESPONSES: 256, endpoints.COMPLETIONS: 16, endpoints.EDITS: 256}
"""Tokens expected of an answer, by endpoint, before any was seen and where the body names no maximum.

Legacy completions end after 16 by their own default; the others are a round number above the median of public
recordings.
"""

_EXPECTED_OF_REASONING: Final = 1024
"""The same for models that reason: hidden tokens count as output."""

_MAXIMA: Final = {
    endpoints.CHAT: ("max_completion_tokens", "max_tokens"),
    endpoints.RESPONSES: ("max_output_tokens",),
    endpoints.COMPLETIONS: ("max_tokens",),
}


def explicit_maximum(body: Mapping[str, Any], endpoint: str) -> int | None:
    """Return the maximum of output tokens a choice that the body names, or None."""
    for key in _MAXIMA.get(endpoint, ()):
        maximum = positive(body.get(key))
        if maximum is not None:
            return maximum
    return None


def choices_of(body: Mapping[str, Any], endpoint: str) -> int:
    """Return how many answers are made for one prompt: `n`, or `best_of` where it is larger (only legacy completions
    have it).
    """
    n = positive(body.get("n")) or 1
    if endpoint == endpoints.COMPLETIONS:
        return max(n, positive(body.get("best_of")) or 1)
    return n if endpoint in (endpoints.CHAT, endpoints.EDITS) else 1


def output_tokens(
    body: Mapping[str, Any], endpoint: str, *, prompts: int, reasons: bool, expected: int | None = None
) -> int:
    """Return the output of the whole call: a choice's maximum, or what is expected of it, times choices and prompts."""
    if endpoint not in _EXPECTED:
        return 0
    each = explicit_maximum(body, endpoint)
    if each is None:
        each = expected if expected is not None else _EXPECTED_OF_REASONING if reasons else _EXPECTED[endpoint]
    return each * choices_of(body, endpoint) * prompts
