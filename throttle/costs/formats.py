"""Tokens of a JSON schema that the answer must follow.

Found in recordings of public repositories (October 2024 to August 2026): the schema is told as compact JSON under a
heading with its name, without the keywords that constrain values; chat names it once more where each answer begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from throttle.costs.counter import TokenCounter
from throttle.costs.reading import as_mapping, as_text, fingerprint, plain, written

__all__ = ["format_tokens", "schema_of"]

_UNTOLD: Final = frozenset(
    (
        "required",
        "additionalProperties",
        "$schema",
        "default",
        "format",
        "pattern",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
    )
)
"""Keywords of a schema that the model isn't told."""

_NAMED: Final = frozenset(("properties", "$defs", "definitions"))
"""Keywords whose value maps names to schemas, so that a name may look like a keyword."""


def schema_of(form: Any) -> Mapping[str, Any]:
    """Return the part of a `response_format` (chat) or `text.format` (responses) with name and schema; empty for
    others.
    """
    form = as_mapping(form)
    if form.get("type") != "json_schema":
        return {}
    inner = as_mapping(form.get("json_schema")) or form
    return inner if as_mapping(inner.get("schema")) else {}


def format_tokens(form: Mapping[str, Any], counter: TokenCounter) -> int:
    """Return the tokens of a schema with its heading; `form` as `schema_of` returns it."""
    return counter.derived(hash((fingerprint(form), "format")), lambda: counter.count(_told(plain(form))))


def _told(form: Mapping[str, Any]) -> str:
    description = as_text(form.get("description")).strip()
    lines = "".join(f"// {line.strip()}\n" for line in description.split("\n")) if description else ""
    schema = written(_stripped(form.get("schema")))
    return f"# Response Formats\n\n## {as_text(form.get('name'))}\n\n{lines}{schema}"


def _stripped(value: Any, *, named: bool = False) -> Any:
    """Copy a plain schema without what isn't told; `named` where the keys are names and not keywords."""
    if isinstance(value, list):
        return [_stripped(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _stripped(each, named=not named and key in _NAMED)
        for key, each in value.items()
        if named or key not in _UNTOLD
    }
