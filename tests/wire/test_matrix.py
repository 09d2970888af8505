"""A covering selection of the wire matrix; all of it: `python -m benchmarks wire`."""

from __future__ import annotations

import pytest

from tests.wire.cells import Cell, differences_of
from tests.wire.matrix import CELLS, covering
from tests.wire.scene import Scene


# a stream that is left early is the garbage collector's, with or without us
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@pytest.mark.parametrize("cell", covering(CELLS), ids=lambda cell: cell.name)
def test_a_wrapped_client_is_a_plain_one_on_the_wire_and_charged_once(cell: Cell, scene: Scene) -> None:
    assert differences_of(cell, scene) == []
