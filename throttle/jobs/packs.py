"""Many prompts in one request: how they go in, how they fit, how their answers come apart. Pure.

Two endpoints take lists: embeddings (`input`) and legacy completions (`prompt`). Their own bounds, as OpenAI gives
them: an embeddings request takes 2,048 inputs and 300,000 tokens in all; of completions each prompt has the model's
context for itself, so that only the pool's bucket bounds their sum.

Answers carry an index and may come in any order. Of completions with `n` choices it is `prompt * n + k`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, TypeVar, cast

from throttle.costs.call import CallCost
from throttle.costs.endpoints import COMPLETIONS, EMBEDDINGS

__all__ = [
    "MOST_ITEMS",
    "Bound",
    "Item",
    "bound_of",
    "choices_of",
    "deal",
    "in_order",
    "items_of",
    "joined",
    "rest_key",
    "shared_out",
    "weigh",
    "with_items",
]

FIELDS: Final = {EMBEDDINGS: "input", COMPLETIONS: "prompt"}
ANSWERS: Final = {EMBEDDINGS: "data", COMPLETIONS: "choices"}

MOST_ITEMS: Final = 2048
MOST_EMBEDDING_TOKENS: Final = 300_000

PART_OF_BUCKET: Final = 0.5
"""A pack takes no more of a bucket: one that takes all of it waits until it is brimful, and then it spills."""

Item = str | list[int]
"""A prompt or input: a text, or tokens."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Bound:
    """How much goes in one request."""

    items: int = MOST_ITEMS
    tokens: float = float("inf")


def bound_of(endpoint: str, bucket_tokens: float | None) -> Bound:
    """Bound a pack by what the endpoint takes and by the pool's bucket, if it has one."""
    tokens = MOST_EMBEDDING_TOKENS if endpoint == EMBEDDINGS else float("inf")
    if bucket_tokens is not None:
        tokens = min(tokens, bucket_tokens * PART_OF_BUCKET)
    return Bound(MOST_ITEMS, tokens)


def items_of(endpoint: str, body: Mapping[str, Any]) -> list[Item] | None:
    """Return the prompts or inputs of a body; None where it can't be packed with others."""
    field = FIELDS.get(endpoint)
    value = body.get(field) if field else None
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        return None
    if all(type(part) is int for part in value):
        return [value]
    if all(isinstance(part, str) for part in value) or all(_is_tokens(part) for part in value):
        return value
    return None


def rest_key(endpoint: str, body: Mapping[str, Any]) -> str | None:
    """Name what two bodies must have in common to go in one request; None for one that goes alone."""
    items = items_of(endpoint, body)
    if items is None:
        return None
    rest = {key: value for key, value in body.items() if key != FIELDS[endpoint]}
    kind = "texts" if isinstance(items[0], str) else "tokens"
    return blake2b(json.dumps([kind, rest], sort_keys=True).encode(), digest_size=8).hexdigest()


def with_items(endpoint: str, body: Mapping[str, Any], items: Sequence[Item]) -> dict[str, Any]:
    """Return a body with these prompts or inputs."""
    return {**body, FIELDS[endpoint]: list(items)}


def joined(endpoint: str, bodies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make one body of several that have all but their prompts in common."""
    items: list[Item] = []
    for body in bodies:
        items += items_of(endpoint, body) or []
    return with_items(endpoint, bodies[0], items)


def weigh(endpoint: str, body: Mapping[str, Any]) -> int:
    """Return the tokens of a body's prompts and of what they ask for."""
    return CallCost(body, endpoint).cost.tokens


def choices_of(endpoint: str, body: Mapping[str, Any]) -> int:
    """Return how many answers each prompt gets."""
    n = body.get("n") if endpoint == COMPLETIONS else 1
    return n if isinstance(n, int) and n > 0 else 1


def in_order(answers: Iterable[Answer], index_of: Callable[[Answer], object], total: int) -> list[Answer] | None:
    """Sort answers by their index; None where one of so many is missing, doubled or has no place."""
    places: list[Answer | None] = [None] * total
    count = 0
    for answer in answers:
        index = index_of(answer)
        if not isinstance(index, int) or not 0 <= index < total or places[index] is not None:
            return None
        places[index] = answer
        count += 1
    return cast(list[Answer], places) if count == total else None


def deal(answers: Iterable[Mapping[str, Any]], counts: Sequence[int], n: int) -> list[list[dict[str, Any]]] | None:
    """Sort answers and deal them to those whose prompts they are, `counts[i]` prompts each with `n` answers.

    Each hand is indexed from 0, as if its prompts had been asked alone. None where an answer is missing, doubled or
    has no place.
    """
    ordered = in_order(answers, lambda answer: answer.get("index"), sum(counts) * n)
    if ordered is None:
        return None
    hands, start = [], 0
    for count in counts:
        hands.append([{**ordered[start + k], "index": k} for k in range(count * n)])
        start += count * n
    return hands


def shared_out(total: int, weights: Sequence[float]) -> list[int]:
    """Share a whole number out by weight; the shares sum to it exactly."""
    whole = sum(weights)
    if not whole:
        weights, whole = [1.0] * len(weights), len(weights)
    shares = [int(total * weight / whole) for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: shares[i] - total * weights[i] / whole)
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares


def _is_tokens(part: object) -> bool:
    return isinstance(part, list) and bool(part) and all(type(token) is int for token in part)
