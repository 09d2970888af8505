"""A pytest plugin: the fixtures `openai_simulator` and `openai_simulators`.

It is registered with pytest when the package is installed, and imports nothing more until a fixture is used.

    def test_my_program_waits_its_turn(openai_simulator):
        openai_simulator.control(limits={"rpm": 60, "tpm": 10_000})
        my_program(base_url=openai_simulator.base_url)
        assert openai_simulator.summary().refused == 0
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from throttle.simulator import Simulator

__all__ = ["openai_simulator", "openai_simulators"]


@pytest.fixture
def openai_simulators() -> Iterator[Callable[..., Simulator]]:
    """Start simulated servers: call it with settings, as often as needed; all are stopped after the test.

    `own_process=True` runs one in a process of its own, so that it takes no time from the program under test.
    """
    from throttle.simulator import in_thread, running

    with ExitStack() as started:

        def start(*, own_process: bool = False, **settings: Any) -> Simulator:
            return started.enter_context((running if own_process else in_thread)(**settings))

        yield start


@pytest.fixture
def openai_simulator(request: pytest.FixtureRequest, openai_simulators: Callable[..., Simulator]) -> Simulator:
    """A simulated server for one test, with the settings of the marker `openai_simulator(**settings)` if it has one."""
    marker = request.node.get_closest_marker("openai_simulator")
    return openai_simulators(**(marker.kwargs if marker else {}))


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "openai_simulator(**settings): settings of the fixture openai_simulator")
