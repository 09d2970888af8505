"""What stands in for a store that is away: the same transition in this process, on this process's share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from throttle.bucket import Bucket
from throttle.shared.pool import Out, SharedPool
from throttle.stores.memory import MemoryStore
from throttle.stores.protocol import DATED, MODULUS, Answer, Exchange, StoredLine
from throttle.stores.transition import PoolState

__all__ = ["StandIn"]


class StandIn:
    """Answers in place of a store. Every line has the part of its rate, capacity and level that is due to one of so
    many processes; with `open_to_all` nobody is held back.
    """

    def __init__(self, clock: Callable[[], int], *, open_to_all: bool) -> None:
        """Make a stand-in that goes by the store's clock, as far as it is known."""
        self.lost: dict[str, Out | None] = {}
        self._clock = clock
        self._store = MemoryStore(clock=clock)
        self._open = open_to_all
        self._processes: dict[str, int] = {}
        self._begun: dict[str, tuple[int, ...]] = {}

    def take_over(self, pool: SharedPool) -> None:
        """Stand in for a pool from now on."""
        if pool.key in self.lost:
            return
        self.lost[pool.key] = pool.give_up()
        self._processes[pool.key] = pool.processes
        answer = pool.answer
        if answer is None:
            return
        now_us = self._clock()
        lines = [self._share(line, pool.processes, now_us) for line in answer.lines]
        self._begun[pool.key] = tuple(line.spent for line in lines)
        # reservations that stand hold the clock, as they would have in the store
        clock_us = max([now_us, *(pool.clock.to_store(r.at_us) for r in pool.reservations)])
        self._store.pools[pool.key] = PoolState(*pool.definition_known, now_us, clock_us, lines)

    def exchange(self, wants: Iterable[tuple[str, Exchange]]) -> list[Answer]:
        """Answer as the store would. What is learned meanwhile stays with the process."""
        return self._store.exchange([(key, self._cut(key, brought)) for key, brought in wants])

    def _cut(self, key: str, brought: Exchange) -> Exchange:
        places = 0
        if brought.places and not self._open:
            places = max(1, brought.places // self._processes.get(key, 1))
        return replace(brought, lesson=None, places=places)

    def charged(self, key: str) -> tuple[int, ...]:
        """Tell what was charged on each line meanwhile."""
        state = self._store.pools.get(key)
        if state is None:
            return ()
        begun = self._begun.get(key, (0,) * len(state.lines))
        halves = [(line.spent - before) % MODULUS for line, before in zip(state.lines, begun, strict=True)]
        return tuple(value - MODULUS if value >= MODULUS // 2 else value for value in halves)

    def _share(self, line: StoredLine, processes: int, now_us: int) -> StoredLine:
        if self._open or not line.rate:
            return line._replace(rate=0)
        if line.rate == DATED:
            return line._replace(capacity=line.capacity // processes, level=line.level // processes)
        bucket = Bucket(line.rate, 1, at_us=line.at, capacity=line.capacity, level=line.level)
        tick = now_us // line.tick_us
        level = bucket.level_at(tick)
        return StoredLine(
            max(1, line.rate // processes),
            line.tick_us,
            line.capacity // processes,
            level // processes if level > 0 else level,
            max(tick, line.at),
            line.spent,
        )
