"""Tool definitions as the API shows them to its models: one TypeScript namespace.

The shape was worked out from recordings of public repositories whose answers report `usage` (2023 to 2026): for texts
with tools in chat and Responses API the count of this rendering, plus a constant, is the reported one, to the token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from throttle.costs.reading import as_items, as_mapping, as_text

__all__ = ["Dialect", "namespace"]

_Trail: TypeAlias = tuple[str, ...]
"""The way down to a type: a reference that was followed, or nothing, for each level."""

_BOUNDS: Final = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minItems",
    "maxItems",
    "uniqueItems",
)
"""Keywords that become one more line of comment, `minimum: 0, maximum: 5`."""

_PLAIN: Final = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}

_DEFAULT: Final = ", // default: "

_DEPTH: Final = 24
"""Types nested deeper are `any`."""

_NODES: Final = 20_000
_CHARACTERS: Final = 8_000_000
"""Types, and characters of comments and enums, in one namespace; the rest are `any` or left out.

References that multiply would have no end otherwise.
"""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a generation's rendering differs.

    Attributes:
        titles: whether a title is told, as a comment like a description.
        apart: whether an empty line of comment stands between title and description.
        one_line: whether an object without a comment stands on one line.
        repeats: whether the members of `type: [..]` each repeat the comment of the whole.
    """

    titles: bool = True
    apart: bool = False
    one_line: bool = True
    repeats: bool = True


def namespace(functions: Sequence[Mapping[str, Any]], dialect: Dialect) -> str:
    """Render function definitions (`name`, `description`, `parameters`) as `namespace functions { … }`."""
    writer = _Writer(dialect)
    types = "\n\n".join(writer.function(each) for each in functions)
    return f"namespace functions {{\n\n{types}\n\n}} // namespace functions"


class _Writer:
    """Writes types of one namespace, with a bound on how many."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._root: Mapping[str, Any] = {}
        self._left = _NODES
        self._room = _CHARACTERS

    def function(self, function: Mapping[str, Any]) -> str:
        """Render one function: its description as a comment, its parameters as the type of its one argument."""
        self._root = as_mapping(function.get("parameters"))
        schema, trail = self._resolved(self._root, ())
        head = "".join(_comment(function.get("description"))) + f"type {as_text(function.get('name'))} = "
        if not as_mapping(schema.get("properties")):
            return head + "() => any;"
        return head + "(_: " + "".join(self._words(schema)) + self._object(schema, trail) + ") => any;"

    def _type(self, schema: Mapping[str, Any], trail: _Trail) -> str:
        self._left -= 1
        if len(trail) > _DEPTH or self._left < 0:
            return "any"
        schema, trail = self._resolved(schema, (*trail, ""))
        if isinstance(schema.get("enum"), list | tuple):
            return self._spent(" | ".join(map(_literal, schema["enum"])))
        if "const" in schema:
            return _literal(schema["const"])
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self._union([as_mapping(each) for each in as_items(schema[key])], trail)
        if len(as_items(schema.get("allOf"))) == 1:
            return self._type(as_mapping(schema["allOf"][0]), trail)
        kind = schema.get("type")
        if isinstance(kind, list | tuple):
            base = schema if self._dialect.repeats else {**schema, "title": None, "description": None}
            return self._union([{**base, "type": each} for each in kind[: max(0, self._left)]], trail)
        return self._single(kind, schema, trail)

    def _single(self, kind: Any, schema: Mapping[str, Any], trail: _Trail) -> str:
        if isinstance(kind, str) and kind in _PLAIN:
            return _PLAIN[kind]
        if kind == "array":
            return self._array(as_mapping(schema.get("items")), trail)
        if kind == "object" or "properties" in schema:
            return self._object(schema, trail) if as_mapping(schema.get("properties")) else "object"
        return "any"

    def _array(self, items: Mapping[str, Any], trail: _Trail) -> str:
        if not items:
            return "any[]"
        items, trail = self._resolved(items, trail)
        inner = self._type(items, trail)
        comment = "".join(self._comments(items)) if "properties" in items else ""
        if comment:
            return f"Array<\n{comment}{inner}\n>"
        return f"({inner})[]" if " | " in inner and not inner.startswith("{") else f"{inner}[]"

    def _union(self, members: Sequence[Mapping[str, Any]], trail: _Trail) -> str:
        comments, types = [], []
        for member in members[: max(0, self._left)]:
            schema, onward = self._resolved(member, trail)
            comments.append("".join(self._comments(schema)))
            types.append(self._type(schema, onward))
        if not any(comments):
            return " | ".join(types)
        lines = (f"\n{comment} | {kind}" for comment, kind in zip(comments, types, strict=True))
        return "".join(lines) + ("\n" if comments[-1] else "")

    def _object(self, schema: Mapping[str, Any], trail: _Trail) -> str:
        required = as_items(schema.get("required"))
        properties = as_mapping(schema.get("properties"))
        fields = [self._field(name, name in required, properties[name], trail) for name in properties]
        if self._dialect.one_line and not any("\n" in field or _DEFAULT in field for field in fields):
            return "{ " + " ".join(fields)[:-1] + " }"
        return "{\n" + "".join(f"{field}\n" for field in fields) + "}"

    def _field(self, name: str, required: bool, schema: Any, trail: _Trail) -> str:
        schema, trail = self._resolved(as_mapping(schema), trail)
        kind = self._type(schema, trail)
        default = f"{_DEFAULT}{_literal(schema['default'])}" if "default" in schema else ","
        return f"{''.join(self._comments(schema))}{name}{'' if required else '?'}: {kind}{default}"

    def _comments(self, schema: Mapping[str, Any]) -> Iterator[str]:
        yield from self._words(schema)
        bounds = [f"{key}: {_bound(schema[key])}" for key in _BOUNDS if key in schema]
        if bounds:
            yield f"// {', '.join(bounds)}\n"

    def _words(self, schema: Mapping[str, Any]) -> Iterator[str]:
        if self._room < 0:
            return
        title = "".join(_comment(schema.get("title"))) if self._dialect.titles else ""
        description = "".join(_comment(schema.get("description")))
        between = "//\n" if title and description and self._dialect.apart else ""
        if title or description:
            yield self._spent(f"{title}{between}{description}")

    def _spent(self, text: str) -> str:
        self._room -= len(text)
        return text if self._room >= 0 else "any"

    def _resolved(self, schema: Mapping[str, Any], trail: _Trail) -> tuple[Mapping[str, Any], _Trail]:
        """Follow a reference into the definitions of the same schema; what stands beside it wins, and a circle is
        `any`.
        """
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            return schema, trail
        if reference in trail:
            return {}, trail
        target: Any = self._root
        for key in reference[1:].split("/"):
            if key:
                target = as_mapping(target).get(key.replace("~1", "/").replace("~0", "~"))
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return {**as_mapping(target), **beside}, (*trail, reference)


def _comment(text: Any) -> Iterator[str]:
    """Yield the lines of a comment, each stripped."""
    if isinstance(text, str) and text:
        for line in text.strip().split("\n"):
            stripped = line.strip()
            yield f"// {stripped}\n" if stripped else "//\n"


def _literal(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return as_text(value)


def _bound(value: Any) -> str:
    return value if isinstance(value, str) else _literal(value)
