"""Virtual time for the limiter: an asyncio loop whose clock jumps to the next timer when nothing else is to be done."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

THREAD_S = 10.0


class _JumpingSelector(selectors.SelectSelector):
    """Never sleeps: what the loop would have slept is added to its clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_us = 0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                ready = super().select(THREAD_S)  # a thread may be at work, which no timer tells of
                if not ready:
                    raise RuntimeError("everybody sleeps and nothing will ever wake them")
                return ready
            self.now_us += max(0, -int(-timeout * 1e6 // 1))
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, counted in whole microseconds."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_us / 1e6

    def now_us(self) -> int:
        return self._jumping.now_us


def run_virtually(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function, given its loop, in virtual time."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
