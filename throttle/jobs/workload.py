"""What the lines of a job cost, in columns: counted once, then played against any limits."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from throttle.costs.call import CallCost
from throttle.costs.charges import default_charge
from throttle.jobs import packs
from throttle.jobs.lines import Line

__all__ = ["Call", "Kind", "Workload"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What lines have in common that draw on the same limits."""

    endpoint: str
    model: str
    service_tier: str


@dataclass(slots=True)
class Call:
    """One request as limits see it: a line, or several packed together.

    Attributes:
        kind: endpoint, model and service tier.
        lines: how many lines are in it; `first` is the number of the first.
        input_tokens, output_tokens, images: what it costs.
        characters: what a server books that counts bytes.
    """

    kind: Kind
    first: int
    lines: int
    input_tokens: int
    output_tokens: int
    images: int
    characters: int

    def booked(self, charge: str, host: str) -> int:
        """Return the tokens that a server books of it."""
        if charge == "auto":
            charge = default_charge(host, self.kind.endpoint, self.kind.model)
        if charge == "characters":
            return self.characters
        return self.input_tokens if charge == "input" else self.input_tokens + self.output_tokens


class Workload:
    """The lines of a job, in their order, by what they cost: 44 bytes a line."""

    def __init__(self, *, pack: bool = False) -> None:
        """Make an empty one; with `pack`, note which lines could go in one request."""
        self.kinds: list[Kind] = []
        self._pack = pack
        self._by_kind: dict[Kind, int] = {}
        self._groups: dict[str, int] = {}
        self._number = array("q")
        self._kind = array("i")
        self._group = array("i")
        self._items = array("i")
        self._input = array("q")
        self._output = array("q")
        self._characters = array("q")
        self._images: dict[int, int] = {}

    def add(self, line: Line) -> None:
        """Count a line."""
        call = CallCost(line.body, line.endpoint)
        cost = call.cost
        if cost.images:
            self._images[len(self._number)] = cost.images
        self._number.append(line.number)
        self._kind.append(self._kind_of(line))
        self._group.append(self._group_of(line))
        self._items.append(len(packs.items_of(line.endpoint, line.body) or ()))
        self._input.append(cost.input_tokens)
        self._output.append(cost.output_tokens)
        self._characters.append(call.booked("characters"))

    def __len__(self) -> int:
        return len(self._number)

    def calls(self, bound: Callable[[Kind], packs.Bound]) -> Iterable[Call]:
        """Yield the requests in the order of their first lines; those that can be packed, packed up to their bound."""
        open_packs: dict[int, tuple[Call, int]] = {}
        for i in range(len(self._number)):
            call = self._call(i)
            group = self._group[i]
            if group < 0:
                yield call
                continue
            limit = bound(call.kind)
            pack, items = open_packs.pop(group, (None, 0))
            if pack is not None and _fits(pack, call, items + self._items[i], limit):
                _join(pack, call)
                open_packs[group] = (pack, items + self._items[i])
                continue
            if pack is not None:
                yield pack
            open_packs[group] = (call, self._items[i])
        yield from (pack for pack, _ in open_packs.values())

    def _call(self, i: int) -> Call:
        return Call(
            self.kinds[self._kind[i]],
            self._number[i],
            1,
            self._input[i],
            self._output[i],
            self._images.get(i, 0),
            self._characters[i],
        )

    def _kind_of(self, line: Line) -> int:
        tier: Any = line.body.get("service_tier")
        kind = Kind(line.endpoint, line.model, tier if isinstance(tier, str) else "")
        number = self._by_kind.get(kind)
        if number is None:
            number = self._by_kind[kind] = len(self.kinds)
            self.kinds.append(kind)
        return number

    def _group_of(self, line: Line) -> int:
        key = packs.rest_key(line.endpoint, line.body) if self._pack else None
        return -1 if key is None else self._groups.setdefault(key, len(self._groups))


def _fits(pack: Call, call: Call, items: int, bound: packs.Bound) -> bool:
    tokens = pack.input_tokens + pack.output_tokens + call.input_tokens + call.output_tokens
    return items <= bound.items and tokens <= bound.tokens


def _join(pack: Call, call: Call) -> None:
    pack.lines += call.lines
    pack.input_tokens += call.input_tokens
    pack.output_tokens += call.output_tokens
    pack.characters += call.characters
