"""One line of a job file: a request as OpenAI's Batch API takes it, or a bare body."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from throttle.costs.endpoints import (
    CHAT,
    COMPLETIONS,
    EDITS,
    EMBEDDINGS,
    IMAGE_GENERATIONS,
    MODERATIONS,
    RESPONSES,
    normalise,
)

__all__ = ["JSON_ENDPOINTS", "Line", "MalformedLine", "infer_endpoint", "read_line"]

JSON_ENDPOINTS: Final = (CHAT, RESPONSES, COMPLETIONS, EMBEDDINGS, MODERATIONS, IMAGE_GENERATIONS, EDITS)
"""The endpoints that take one JSON body and answer with one: those that a job file can name."""

ENVELOPE: Final = frozenset({"custom_id", "method", "url", "body"})


class MalformedLine(ValueError):
    """A line that can't be sent; the text says what is wrong and what would be right."""


@dataclass(frozen=True, slots=True)
class Line:
    """One request of a job.

    Attributes:
        number: its line in the input, from 1.
        custom_id: its name; for a bare body `line-NUMBER`.
        endpoint: where it goes, without `/v1`.
        body: what is sent, as it stood in the file.
    """

    number: int
    custom_id: str
    endpoint: str
    body: dict[str, Any]

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def digest(self) -> bytes:
        """Eight bytes that tell this request from another of its name; spacing and order of keys don't matter."""
        text = json.dumps([self.endpoint, self.body], sort_keys=True, separators=(",", ":"))
        return blake2b(text.encode(), digest_size=8).digest()


def read_line(raw: bytes, number: int, *, endpoint: str | None = None) -> Line:
    """Read one line of a job file.

    Args:
        raw: the line, with or without its end.
        number: its number, from 1.
        endpoint: where bare bodies go; None to infer it from each body's keys.

    Raises:
        MalformedLine: it isn't JSON, isn't a request, or asks for what a job file can't carry.
    """
    value = _decode(raw)
    if not isinstance(value, dict):
        raise MalformedLine(f"a line is a JSON object, not {_kind(value)}")
    if ENVELOPE.isdisjoint(value):
        return _checked(Line(number, f"line-{number}", normalise(endpoint or infer_endpoint(value)), value))
    return _checked(_from_envelope(value, number))


def infer_endpoint(body: Mapping[str, Any]) -> str:
    """Tell from a body's keys, and its model's name where these leave it open, where it is meant to go.

    Raises:
        MalformedLine: the keys fit no endpoint.
    """
    model = str(body.get("model", ""))
    if "messages" in body:
        return CHAT
    if "prompt" in body:
        return IMAGE_GENERATIONS if "image" in model or "dall-e" in model else COMPLETIONS
    if "input" in body:
        if "instruction" in body:
            return EDITS
        if "moderation" in model:
            return MODERATIONS
        embeds = "embed" in model or "dimensions" in body or "encoding_format" in body
        return EMBEDDINGS if embeds else RESPONSES
    raise MalformedLine(
        'no endpoint fits a body without "messages", "input" or "prompt": give --endpoint, or a "url" in each line'
    )


def _decode(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except UnicodeDecodeError as error:
        raise MalformedLine(f"not UTF-8 at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise MalformedLine(f"not JSON at column {error.colno}: {error.msg.lower()}") from None
    except RecursionError:
        raise MalformedLine("JSON nested too deep") from None


def _from_envelope(value: Mapping[str, Any], number: int) -> Line:
    for key in ("custom_id", "url", "body"):
        if key not in value:
            raise MalformedLine(f'"{key}" is missing: a line has "custom_id", "method", "url" and "body"')
    custom_id, url, body = value["custom_id"], value["url"], value["body"]
    if not isinstance(custom_id, str) or not custom_id:
        raise MalformedLine(f'"custom_id" is a text that is not empty, not {_kind(custom_id)}')
    if value.get("method", "POST") != "POST":
        raise MalformedLine(f'"method" is "POST", not {json.dumps(value["method"])}')
    if not isinstance(url, str) or not url:
        raise MalformedLine(f'"url" is a path such as "/v1/chat/completions", not {_kind(url)}')
    if not isinstance(body, dict):
        raise MalformedLine(f'"body" is a JSON object, not {_kind(body)}')
    return Line(number, custom_id, normalise(url), body)


def _checked(line: Line) -> Line:
    if line.endpoint not in JSON_ENDPOINTS:
        known = ", ".join("/v1" + name for name in JSON_ENDPOINTS)
        raise MalformedLine(f'a job file can\'t send to "{line.endpoint}"; it can to {known}')
    model = line.body.get("model")
    if not isinstance(model, str) or not model:
        raise MalformedLine(
            '"model" is missing in the body' if model is None else f'"model" is a name, not {_kind(model)}'
        )
    if line.body.get("stream"):
        raise MalformedLine('"stream" has no use in a job file: leave it out')
    return line


def _kind(value: object) -> str:
    """Name a JSON value's kind in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names: dict[type, str] = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number"}
    return "an empty text" if value == "" else names.get(type(value), type(value).__name__)
