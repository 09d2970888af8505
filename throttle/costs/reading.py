"""Reading bodies that may hold anything: a wrong type is its text or nothing, never an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["as_items", "as_mapping", "as_text", "positive"]


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping for a dict or a pydantic model, and an empty one for anything else."""
    if isinstance(value, Mapping):
        return value
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        try:
            dumped = dump(mode="json", by_alias=True, exclude_unset=True)
        except Exception:  # a foreign object may raise whatever it likes; it then counts as nothing
            return {}
        return dumped if isinstance(dumped, dict) else {}
    return {}


def as_items(value: Any) -> Sequence[Any]:
    """Return the items of a list or tuple; nothing for anything else: iterators are never consumed."""
    return value if isinstance(value, list | tuple) else ()


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
