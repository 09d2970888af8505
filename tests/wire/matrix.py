"""The matrix: all cells, those that are holes and why, and a selection that covers what belongs together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Final

from tests.wire.calls import CALLS
from tests.wire.cells import Cell
from tests.wire.stacks import SETUPS, STACKS, why_not

__all__ = ["CELLS", "covering", "hole"]

CELLS: Final = tuple(Cell(stack, setup, call) for stack, setup, call in product(STACKS, SETUPS, CALLS))
"""Every cell, holes included."""


def hole(cell: Cell) -> str | None:
    """Tell why a cell can't be played; None where it can."""
    if cell.call.only_async and not cell.stack.is_async:
        return "sync code can't be cancelled"
    return why_not(cell.stack, cell.setup)


def covering(cells: Iterable[Cell]) -> list[Cell]:
    """Choose cells so that every setup meets every stack, and every call every runtime and every kind of
    library (httpx2 and legacy httpx are one)."""
    there = [(cell, set(_pairs(cell))) for cell in cells if hole(cell) is None]
    missing = set().union(*(pairs for _, pairs in there))
    chosen = []
    for least in range(3, 0, -1):
        for cell, pairs in there:
            if len(pairs & missing) >= least:
                missing -= pairs
                chosen.append(cell)
    return chosen


def _pairs(cell: Cell) -> Iterator[tuple[str, str]]:
    stack, setup, call = cell.stack, f"setup {cell.setup}", f"call {cell.call.name}"
    yield stack.name, setup
    yield f"runtime {stack.runtime}", call
    yield f"library {stack.library if stack.library == 'aiohttp' else 'httpx'}", call
