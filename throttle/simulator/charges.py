"""What the simulated server books of a call, which is another figure than what the call uses.

Four models, as measured on recorded answers of 2023 to 2026:

`characters`  from the bytes of the text, before tokenizing: chat `ceil(bytes / 4) + messages + 1 + 765` an image,
              embeddings `floor(bytes / 4)`, completions `ceil(bytes / 4) + 1`; no output. OpenAI's chat since March
              2025.
`input`       real input tokens; in the Responses API 19 more, or 217 with tools.
`maximum`     input and what the body allows as output: `n * (max_tokens or 16)`. The input is real tokens, or as under
              `characters` where `maximum_of="characters"`: OpenAI's chat until March 2025.
`usage`       input and an allowance when the call arrives, the real usage when it is over. OpenAI's reasoning models
              in the Responses API, with an allowance of 217 whatever the body allows; elsewhere no more is held than
              it allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from throttle.simulator.tokens import IMAGE_TOKENS, images_of, input_tokens, text_bytes

__all__ = ["CHARGES", "Booking", "allowed_output", "book", "choices"]

CHARGES = ("characters", "input", "maximum", "usage")
DEFAULT_MAXIMUM = 16
METERED = ("chat/completions", "responses", "completions", "embeddings", "moderations")


@dataclass(frozen=True, slots=True)
class Booking:
    """What one call is booked at arrival, the input tokens that its usage will show, the output that it allows."""

    tokens: int
    input_tokens: int
    images: int
    output_tokens: int
    settles: bool
    """Whether the charge is corrected to the real usage when the call is over."""


def book(
    endpoint: str,
    body: Mapping[str, Any],
    model: str,
    *,
    charge: str = "characters",
    allowance: int = 217,
    maximum_of: str = "input",
) -> Booking:
    """Book one call under one of `CHARGES`. Endpoints that aren't charged by tokens are booked none."""
    images = _images(endpoint, body)
    if endpoint not in METERED:
        return Booking(0, 0, images, 0, False)
    count = input_tokens(endpoint, body, model)
    if endpoint in ("embeddings", "moderations"):
        booked = text_bytes(endpoint, body) // 4 if charge == "characters" else count
        return Booking(booked, count, images, 0, False)
    output = choices(endpoint, body) * (allowed_output(endpoint, body) or DEFAULT_MAXIMUM)
    if charge == "characters":
        tokens = _characters(endpoint, body)
    elif charge == "input":
        tokens = count + (0 if endpoint != "responses" else 217 if body.get("tools") else 19)
    elif charge == "maximum":
        base = _characters(endpoint, body) if maximum_of == "characters" else count
        tokens = base + output
    else:
        tokens = count + (
            allowance if endpoint == "responses" else min(allowance, _most_output(endpoint, body, allowance))
        )
    return Booking(tokens, count, images, output, charge == "usage")


def allowed_output(endpoint: str, body: Mapping[str, Any]) -> int | None:
    """Read the most output tokens that one answer may have; None where the body doesn't say."""
    keys = ("max_output_tokens",) if endpoint == "responses" else ("max_completion_tokens", "max_tokens")
    for key in keys:
        value = body.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return DEFAULT_MAXIMUM if endpoint == "completions" else None


def choices(endpoint: str, body: Mapping[str, Any]) -> int:
    """Count the answers that are generated: `n`, or `best_of` where that is more, for every prompt."""
    most = 1
    for key in ("n", "best_of") if endpoint == "completions" else ("n",) if endpoint == "chat/completions" else ():
        value = body.get(key)
        if isinstance(value, int) and value > most:
            most = value
    if endpoint == "completions":
        prompt = body.get("prompt")
        if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
            most *= len(prompt)
    return most


def _most_output(endpoint: str, body: Mapping[str, Any], otherwise: int) -> int:
    """Tell what all answers together may have as output, where the body says."""
    allowed = allowed_output(endpoint, body)
    return otherwise if allowed is None else allowed * choices(endpoint, body)


def _characters(endpoint: str, body: Mapping[str, Any]) -> int:
    quarters = -(-text_bytes(endpoint, body) // 4)
    if endpoint == "chat/completions":
        messages = body.get("messages")
        count = len(messages) if isinstance(messages, list) else 0
        return quarters + count + 1 + IMAGE_TOKENS * len(images_of(endpoint, body))
    if endpoint == "responses":  # no such server was seen; the plain rule of the endpoints without messages
        return text_bytes(endpoint, body) // 4 + IMAGE_TOKENS * len(images_of(endpoint, body))
    return quarters + 1


def _images(endpoint: str, body: Mapping[str, Any]) -> int:
    if not endpoint.startswith("images/"):
        return 0
    told = str(body.get("n", 1))  # a field of an upload is text
    return int(told) if told.isdigit() and int(told) else 1
