"""Limits as an account itself tells them: rows of the administration API, and headers in recordings of calls."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["ADMIN_FIELDS", "figures_of_rate_limits", "read_recording"]

ADMIN_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "max_requests_per_1_minute": "rpm",
        "max_requests_per_1_day": "rpd",
        "max_tokens_per_1_minute": "tpm",
        "max_images_per_1_minute": "ipm",
        "max_audio_megabytes_per_1_minute": "audio_megabytes_per_minute",
        "batch_1_day_max_input_tokens": "batch_queue_tokens",
    }
)
"""Fields of the administration API's `project.rate_limit`, and the meters they are."""

_MODEL = re.compile(r'\\?"model\\?"\s*:\s*\\?"([^"\\]{1,200})\\?"')
_LIMIT_HEADER = re.compile(r"(x-|anthropic-)?rate-?limit", re.IGNORECASE)
_DEPTH = 40


def figures_of_rate_limits(rows: Iterable[Any]) -> dict[str, dict[str, int]]:
    """Take limits by model and meter from rows of the administration API; a field of 0 doesn't apply to its model."""
    figures: dict[str, dict[str, int]] = {}
    for row in rows:
        told = {meter: getattr(row, name, None) for name, meter in ADMIN_FIELDS.items()}
        known = {meter: int(limit) for meter, limit in told.items() if limit}
        if known:
            figures[row.model] = known
    return figures


def read_recording(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Find the answers in a recording that carry rate-limit headers; give the model and the headers of each.

    Taken are JSON lines, JSON (HAR files among them) and YAML (cassettes of VCR and its kin). The model is what the
    answer's `openai-model` header says, else what the request or the answer calls `model`; an answer without one is
    passed over.
    """
    for record in _records(text):
        yield from _answers(record, "", _DEPTH)


def _records(text: str) -> Iterator[Any]:
    try:
        yield json.loads(text)
        return
    except ValueError:
        pass
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and lines[0].lstrip().startswith("{"):
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                continue
        return
    import yaml

    try:
        yield yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return


def _answers(node: Any, model: str, depth: int) -> Iterator[tuple[str, dict[str, str]]]:
    if depth == 0:
        return
    if isinstance(node, list):
        for part in node:
            yield from _answers(part, model, depth - 1)
        return
    if not isinstance(node, Mapping):
        return
    if "request" in node or "response" in node or isinstance(node.get("model"), str):
        model = _model_in(node, _DEPTH) or model
    headers = {**_headers(node), **_headers(node.get("headers"))}
    if any(_LIMIT_HEADER.match(name) for name in headers):
        name = headers.get("openai-model") or model
        if name:
            yield name, headers
    for key, part in node.items():
        if key != "headers":
            yield from _answers(part, model, depth - 1)


def _headers(node: Any) -> dict[str, str]:
    """Read headers as a mapping of texts or lists of texts, or as a list of pairs or of name and value."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(node, Mapping):
        pairs = list(node.items())
    elif isinstance(node, list):
        pairs = [(part.get("name"), part.get("value")) for part in node if isinstance(part, Mapping)]
        pairs += [(part[0], part[1]) for part in node if isinstance(part, (list, tuple)) and len(part) == 2]
    flat = [(name, value[0] if isinstance(value, list) and value else value) for name, value in pairs]
    return {name.lower(): value for name, value in flat if isinstance(name, str) and isinstance(value, str)}


def _model_in(node: Any, depth: int) -> str:
    """Find the first model named in a request or an answer, also within bodies kept as text."""
    if depth == 0:
        return ""
    if isinstance(node, str):
        found = _MODEL.search(node)
        return found.group(1) if found else ""
    if isinstance(node, Mapping):
        own = node.get("model")
        if isinstance(own, str) and own:
            return own
    parts = node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ()
    return next((model for part in parts if (model := _model_in(part, depth - 1))), "")
