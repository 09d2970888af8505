"""The scene is set once for each module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.wire.scene import Scene, playing, quick_retries


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """Give the scene, with nothing seen and nothing on record at the start of the module."""
    with playing() as set_up, quick_retries():
        set_up.begin()
        yield set_up
