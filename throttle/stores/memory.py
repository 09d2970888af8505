"""Pools kept in this process: for tests, and as the model that other stores are held to."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from throttle.stores.protocol import Answer, Exchange, PoolReport
from throttle.stores.transition import PoolState, exchange

__all__ = ["MemoryStore"]


class MemoryStore:
    """The bare transition over a dict."""

    def __init__(self, *, clock: Callable[[], int] | None = None) -> None:
        """Make a store with a clock of its own, in whole microseconds."""
        self.pools: dict[str, PoolState] = {}
        self._clock = clock or _wall_us

    def exchange(self, wants: Sequence[tuple[str, Exchange]]) -> list[Answer]:
        answers = []
        for key, brought in wants:
            state, answer = exchange(self.pools.get(key), self._clock(), brought)
            if state is not None:
                self.pools[key] = state
            answers.append(answer)
        return answers

    def report(self, prefix: str) -> list[PoolReport]:
        now_us = self._clock()
        return [state.report(key, now_us) for key, state in sorted(self.pools.items()) if key.startswith(prefix)]

    def close(self) -> None:
        pass


def _wall_us() -> int:
    return time.time_ns() // 1000
