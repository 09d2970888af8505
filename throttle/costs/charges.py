"""What a server books of a call, which is another figure than what the call costs.

Measured on public recordings whose answers tell `limit` and `remaining` of a bucket that was full before (1,900 of
chat, 500 of the Responses API, 300 of embeddings, 60 of completions; March 2025 to August 2026). What is left over is
the clock of the server's bucket, which counts microseconds: a token or two at limits beyond 50 million a minute.
"""

from __future__ import annotations

from typing import Final

from throttle.costs import endpoints
from throttle.costs.generations import generation_of

__all__ = ["CHARGES", "by_characters", "by_input", "by_maximum", "by_usage", "default_charge"]

CHARGES: Final = ("characters", "input", "maximum", "usage")
"""The charge models: from the text's bytes; input tokens; input and the maximum of output; what was really used."""

_OPENAI: Final = "api.openai.com"

_AZURE: Final = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com", ".openai.azure.us")

_IMAGE: Final = 765
"""What an image or file is booked, whatever its size (765 of 36,835 real tokens once)."""

_RESPONSE: Final = 19
_RESPONSE_WITH_FUNCTIONS: Final = 217
_RESPONSE_OF_REASONING: Final = 217
"""What the Responses API books besides the input; the last holds room for the output until the end settles it."""

_UNSTATED_MAXIMUM: Final = 16
"""The maximum of output that is booked where the body names none (OpenAI's chat and completions until March 2025)."""


def default_charge(host: str, endpoint: str, model: str) -> str:
    """Return the charge model that is known, or supposed, of a host and endpoint; evidence may say otherwise later.

    OpenAI books text endpoints by bytes, and the Responses API by real input, which for models that reason is settled
    to usage at the end. Azure documents prompt and `max_tokens`. Of any other server nothing is known: usage, as the
    vocabulary and what answers have used foretell it.
    """
    name = host.lower().partition(":")[0]
    if name == _OPENAI or name.endswith(f".{_OPENAI}"):
        if endpoints.normalise(endpoint) == endpoints.RESPONSES:
            return "usage" if generation_of(model).reasons else "input"
        return "characters"
    return "maximum" if name.endswith(_AZURE) else "usage"


def by_characters(endpoint: str, text_bytes: int, *, messages: int, images: int) -> int:
    """Book from bytes, before anything is tokenized, rounded once for the whole call; no output, tools, or schemas.

    A token that the body gives as a number counts four bytes.
    """
    if endpoint == endpoints.CHAT:
        return -(-text_bytes // 4) + messages + 1 + _IMAGE * images
    if endpoint in (endpoints.COMPLETIONS, endpoints.EDITS):
        return -(-text_bytes // 4) + 1
    return text_bytes // 4 + _IMAGE * images


def by_input(endpoint: str, input_tokens: int, *, images: int, image_tokens: int, functions: bool) -> int:
    """Book real input tokens; in the Responses API an allowance on top, larger where all tools are the caller's.

    With an image the recordings have 765 and nothing for the few words around it; how it goes on with more of both is
    not known.
    """
    if endpoint != endpoints.RESPONSES:
        return input_tokens
    tokens = input_tokens - image_tokens + (_RESPONSE_WITH_FUNCTIONS if functions else _RESPONSE)
    return max(tokens, _IMAGE * images)


def by_maximum(input_tokens: int, *, answers: int, maximum: int | None) -> int:
    """Book input tokens and the most output that the body allows, for each answer."""
    return input_tokens + answers * (_UNSTATED_MAXIMUM if maximum is None else maximum)


def by_usage(endpoint: str, input_tokens: int, *, answers: int, maximum: int | None, expected: int) -> int:
    """Book what will be settled at the end: input tokens and what the answers are expected to use."""
    each = expected if maximum is None else min(expected, maximum)
    if endpoint == endpoints.RESPONSES:
        each = max(each, _RESPONSE_OF_REASONING)
    return input_tokens + answers * each
