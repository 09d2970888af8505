"""Packing the lines of a job: several lines in one request, and each line's own answer out of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from throttle.costs.call import CallCost
from throttle.costs.endpoints import COMPLETIONS
from throttle.jobs import packs
from throttle.jobs.lanes import Lane, Load
from throttle.jobs.lines import Line
from throttle.jobs.packs import Bound

__all__ = ["Packer", "unpack"]


@dataclass(slots=True, eq=False)
class _Halved:
    """A pack that was refused: how large it was, how many of its halves have passed since."""

    size: int
    passed: int = 0


class Packer:
    """Fills loads up to a bound, halves those that were refused, and learns what size a server takes."""

    def __init__(self, bound: Callable[[str, str], Bound]) -> None:
        """Make a packer; `bound(endpoint, model)` tells how much goes in one request."""
        self._bound = bound
        self._most: dict[tuple[str, ...], int] = {}
        self._halves: dict[Load, _Halved] = {}

    def fill(self, load: Load, lane: Lane, now_s: float) -> Load:
        """Add lines of the lane to a load that wasn't sent yet, as many as go in one request."""
        line = load.lines[0]
        if load.attempts or load in self._halves or packs.rest_key(line.endpoint, line.body) is None:
            return load
        bound = self._bound(line.endpoint, lane.model)
        most = min(bound.items, self._most.get(lane.key, bound.items))
        lines, earlier = list(load.lines), list(load.earlier)
        items = sum(map(_count, lines))
        tokens = sum(packs.weigh(one.endpoint, one.body) for one in lines)
        while (following := lane.take(now_s)) is not None:
            one = following.lines[0]
            items += _count(one)
            tokens += packs.weigh(one.endpoint, one.body)
            if (
                len(following.lines) > 1
                or following.attempts
                or following in self._halves
                or items > most
                or tokens > bound.tokens
            ):
                lane.put_first(following)
                break
            lines.append(one)
            earlier += following.earlier
        return Load(tuple(lines), tuple(earlier))

    def split(self, load: Load) -> list[Load]:
        """Halve a load that was refused, to find the line at fault."""
        middle = len(load.lines) // 2
        halves = [
            Load(load.lines[:middle], load.earlier[:middle], load.attempts, load.tries),
            Load(load.lines[middle:], load.earlier[middle:], load.attempts, load.tries),
        ]
        self._halves.pop(load, None)
        halved = _Halved(len(load.lines))
        for half in halves:
            self._halves[half] = halved
        return halves

    def passed(self, lane: Lane, load: Load) -> None:
        """Learn that a load was answered. Where both halves of a refused one were, it was its size that was wrong."""
        halved = self._halves.pop(load, None)
        if halved is None:
            return
        halved.passed += 1
        if halved.passed == 2:
            self._most[lane.key] = min(self._most.get(lane.key, halved.size), max(1, halved.size // 2))

    def failed(self, load: Load) -> None:
        """Learn that a load has failed for good."""
        self._halves.pop(load, None)


def body_of(lines: Sequence[Line]) -> dict[str, Any]:
    """Make the body of a request that carries all these lines."""
    return lines[0].body if len(lines) == 1 else packs.joined(lines[0].endpoint, [line.body for line in lines])


def unpack(lines: Sequence[Line], value: dict[str, Any]) -> list[tuple[bytes, dict[str, Any]]] | None:
    """Take a packed answer apart: for each line the answer it would have had alone, its share of the usage included.

    Returns:
        Each line's answer, written and parsed; None where answers are missing.
    """
    endpoint = lines[0].endpoint
    field = packs.ANSWERS[endpoint]
    counts = [_count(line) for line in lines]
    hands = packs.deal(value.get(field) or (), counts, packs.choices_of(endpoint, lines[0].body))
    if hands is None:
        return None
    usages = _shares(lines, value.get("usage"), hands)
    parts = []
    for hand, usage in zip(hands, usages, strict=True):
        part = {**value, field: hand}
        if usage is not None:
            part["usage"] = usage
        parts.append((json.dumps(part, separators=(",", ":")).encode(), part))
    return parts


def _shares(lines: Sequence[Line], usage: Any, hands: list[list[dict[str, Any]]]) -> list[dict[str, int] | None]:
    """Share the reported usage out: what went in by tokens, what came out by the answers' lengths."""
    if not isinstance(usage, dict):
        return [None] * len(lines)
    weights = [float(CallCost(line.body, line.endpoint).input_tokens) for line in lines]
    went_in = packs.shared_out(int(usage.get("prompt_tokens") or 0), weights)
    if lines[0].endpoint != COMPLETIONS:
        return [{"prompt_tokens": tokens, "total_tokens": tokens} for tokens in went_in]
    lengths = [float(sum(len(str(choice.get("text", ""))) for choice in hand)) for hand in hands]
    came_out = packs.shared_out(int(usage.get("completion_tokens") or 0), lengths)
    return [
        {"prompt_tokens": a, "completion_tokens": b, "total_tokens": a + b}
        for a, b in zip(went_in, came_out, strict=True)
    ]


def _count(line: Line) -> int:
    return len(packs.items_of(line.endpoint, line.body) or ())
