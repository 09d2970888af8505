"""Answers of the endpoints that aren't about text alone: moderations, images, audio."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from throttle.simulator.answers import Answer
from throttle.simulator.tokens import prompts_of
from throttle.simulator.words import words

__all__ = ["MEDIA", "media_answer"]

STREAM = "text/event-stream; charset=utf-8"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CATEGORIES = ("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent")
MORE_CATEGORIES = ("self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors")
STILL_MORE = ("violence", "violence/graphic")
MEDIA = (
    "moderations",
    "images/generations",
    "images/edits",
    "images/variations",
    "audio/transcriptions",
    "audio/translations",
    "audio/speech",
)
"""The endpoints answered here."""


def media_answer(endpoint: str, body: Mapping[str, Any], number: int, input_tokens: int, output_tokens: int) -> Answer:
    """Answer a call of one of `MEDIA`."""
    if endpoint == "moderations":
        return _moderation(body, number, input_tokens)
    if endpoint.startswith("images/"):
        return _images(body, number, input_tokens)
    if endpoint == "audio/speech":
        return Answer(
            b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(4 * output_tokens), None, input_tokens, 0, "audio/mpeg"
        )
    return _transcription(endpoint, body, number, output_tokens)


def _moderation(body: Mapping[str, Any], number: int, input_tokens: int) -> Answer:
    names = CATEGORIES + MORE_CATEGORIES + STILL_MORE
    verdict = {
        "flagged": False,
        "categories": dict.fromkeys(names, False),
        "category_scores": dict.fromkeys(names, 0.0),
        "category_applied_input_types": {name: ["text"] for name in names},
    }
    given = prompts_of(body, "input")
    several = [verdict for each in given if not isinstance(each, dict)] or [verdict]
    told = {"id": f"modr-{number:012d}", "model": body.get("model") or "omni-moderation-latest", "results": several}
    return Answer(told, None, input_tokens, 0)


def _images(body: Mapping[str, Any], number: int, input_tokens: int) -> Answer:
    count = body.get("n")
    pixel = base64.b64encode(PIXEL).decode()
    by_link = str(body.get("model") or "").startswith("dall-e") and body.get("response_format") != "b64_json"
    one = {"url": f"https://images.invalid/{number}.png"} if by_link else {"b64_json": pixel}
    told = {"created": 1_700_000_000 + number, "data": [one] * (int(count) if count else 1)}
    return Answer(told, None, input_tokens, 0)


def _transcription(endpoint: str, body: Mapping[str, Any], number: int, output_tokens: int) -> Answer:
    pieces = words(output_tokens, number)
    text = "".join(pieces).strip()
    usage = {"type": "duration", "seconds": 1}
    if str(body.get("stream")).lower() == "true" and endpoint == "audio/transcriptions":
        return Answer({}, tuple(_transcript_events(pieces, text, usage)), 0, output_tokens, STREAM)
    form = body.get("response_format") or "json"
    if form in ("text", "srt", "vtt"):
        return Answer((text + "\n").encode(), None, 0, output_tokens, "text/plain; charset=utf-8")
    told: dict[str, Any] = {"text": text, "usage": usage}
    if form == "verbose_json":
        told |= {"task": endpoint[6:-1], "language": "english", "duration": 1.0, "segments": [], "words": []}
    return Answer(json.dumps(told).encode(), None, 0, output_tokens)


def _transcript_events(pieces: list[str], text: str, usage: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for piece in pieces:
        yield "transcript.text.delta", {"type": "transcript.text.delta", "delta": piece}
    yield "transcript.text.done", {"type": "transcript.text.done", "text": text, "usage": usage}
