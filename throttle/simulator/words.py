"""What the simulated models say: text of an exact number of tokens, JSON that fits a schema, vectors of texts."""

from __future__ import annotations

import base64
import hashlib
import struct
from array import array
from collections.abc import Mapping
from math import sqrt
from typing import Any

__all__ = ["embedding_of", "encoded_embedding", "instance_of", "words"]

VOCABULARY = (
    " time",
    " people",
    " way",
    " water",
    " day",
    " part",
    " place",
    " work",
    " name",
    " line",
    " world",
    " hand",
)
"""Each is one token in both vocabularies, wherever it stands."""


def words(count: int, seed: int = 0) -> list[str]:
    """Make a text of exactly `count` tokens, in pieces of one token each."""
    size = len(VOCABULARY)
    return [VOCABULARY[(seed + index * 5) % size] for index in range(count)]


def embedding_of(text: str | list[int], dimensions: int) -> array[float]:
    """Make the vector of a text: of length 1, the same for the same text and another for any other."""
    told = text.encode(errors="surrogatepass") if isinstance(text, str) else repr(text).encode()
    numbers = struct.unpack("<8i", hashlib.sha256(told).digest())
    scale = 1 / sqrt(sum(number * number for number in numbers) * max(1, dimensions / 8))
    few = array("f", (number * scale for number in numbers))
    return (few * (dimensions // 8 + 1))[:dimensions]


def encoded_embedding(vector: array[float]) -> str:
    """Encode a vector as the API does for `encoding_format="base64"`: 32-bit floats, the lowest byte first."""
    if struct.pack("=i", 1) != struct.pack("<i", 1):
        vector = vector[:]
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()


def instance_of(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """Make the plainest value that fits a JSON schema, as far as structured outputs use the language."""
    if not isinstance(schema, Mapping) or depth > 16:
        return None
    root = schema if root is None else root
    if "$ref" in schema:
        return instance_of(_resolve(str(schema["$ref"]), root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return instance_of(schema[key][-1 if depth > 8 else 0], root, depth + 1)
    if schema.get("allOf"):
        return instance_of(schema["allOf"][0], root, depth + 1)
    return _plain(schema, root, depth)


def _plain(schema: Mapping[str, Any], root: Any, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0] if kind else "null"
    if kind == "object":
        return {name: instance_of(each, root, depth + 1) for name, each in dict(schema.get("properties", {})).items()}
    if kind == "array":
        return [instance_of(schema.get("items"), root, depth + 1) for _ in range(int(schema.get("minItems", 0)))]
    if kind in ("integer", "number"):
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        return int(least) + 1 if "exclusiveMinimum" in schema else least
    return {"boolean": True, "null": None}.get(kind, "word")


def _resolve(reference: str, root: Any) -> Any:
    place = root
    for key in reference.removeprefix("#").strip("/").split("/"):
        if key:
            place = place.get(key) if isinstance(place, Mapping) else None
    return place
