"""Reading bodies that may hold anything: a wrong type is its text or nothing, never an error, and nothing is
changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

__all__ = [
    "as_items",
    "as_mapping",
    "as_text",
    "bytes_within",
    "compact",
    "fingerprint",
    "parsed_json",
    "plain",
    "positive",
    "written",
]

_DEPTH: Final = 100
"""Nesting that `plain` follows; what lies deeper counts as nothing."""

_NODES: Final = 1_000_000
"""Values that `plain` copies; what comes after counts as nothing. It ends what holds itself."""

_SCALARS: Final = (str, int, float, bytes)
_SEQUENCES: Final = (list, tuple)

_COMPACT: Final = (",", ":")


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping for a dict or a pydantic model, and an empty one for anything else."""
    if isinstance(value, dict):
        return value
    if value is None or isinstance(value, _SCALARS):
        return {}
    if isinstance(value, Mapping):
        return value
    dump = getattr(type(value), "model_dump", None)
    if callable(dump):
        try:
            dumped = dump(value, mode="json", by_alias=True, exclude_unset=True)
        except Exception:  # a foreign object may raise whatever it likes; it then counts as nothing
            return {}
        return dumped if isinstance(dumped, dict) else {}
    return {}


def as_items(value: Any) -> Sequence[Any]:
    """Return the items of a list or tuple; nothing for anything else: iterators are never consumed."""
    return value if isinstance(value, _SEQUENCES) else ()


def as_text(value: Any) -> str:
    """Return a string as it is, numbers as JSON writes them, and nothing for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        try:
            return str(value)
        except ValueError:  # an int of more digits than Python agrees to write
            return ""
    return ""


def positive(value: Any) -> int | None:
    """Return a whole number of at least 1, or None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else None


def written(value: Any, *, spaced: bool = False, ascii_only: bool = False) -> str:
    """Return a value as JSON, compact or with Python's blanks; what JSON doesn't know is written as the plain value it
    holds.
    """
    separators = None if spaced else _COMPACT
    try:
        return json.dumps(value, separators=separators, ensure_ascii=ascii_only)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(plain(value), separators=separators, ensure_ascii=ascii_only)


def compact(text: str) -> str:
    """Return JSON text without its blanks, and any other text as it is."""
    parsed, known = parsed_json(text)
    return written(parsed) if known else text


def parsed_json(text: str) -> tuple[Any, bool]:
    """Return what JSON text says and True, or the text itself and False where it isn't JSON."""
    try:
        return json.loads(text), True
    except (ValueError, RecursionError):
        return text, False


def fingerprint(value: Any) -> int:
    """Return a hash of a value by its JSON, for remembering a count of it."""
    return hash(written(value))


def bytes_within(value: Any) -> int:
    """Return a bound of the UTF-8 bytes of all that a value holds, without a call within a call."""
    size = 0
    left = _NODES
    waiting = [value]
    while waiting and left > 0:
        left -= 1
        each = waiting.pop()
        if isinstance(each, str):
            size += 4 * len(each)
        elif isinstance(each, dict):
            waiting.extend(islice(each.values(), left))
            waiting.extend(islice(each, left))
        elif isinstance(each, _SEQUENCES):
            waiting.extend(each[:left])
        size += 8
    return size


def plain(value: Any) -> Any:
    """Copy a value into dicts, lists and scalars that JSON can write; what is too deep, too much or unknown becomes
    None.
    """
    return _plain(value, _DEPTH, [_NODES])


def _plain(value: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 64 else None
    if isinstance(value, str):
        return str(value)
    if depth <= 0:
        return None
    if isinstance(value, list | tuple):
        return [_plain(each, depth - 1, left) for each in value[: max(0, left[0])]]
    mapping = as_mapping(value)
    return {as_text(key): _plain(mapping[key], depth - 1, left) for key in islice(mapping, max(0, left[0]))}
