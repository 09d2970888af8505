"""Virtual processes: limiters that share one store in memory, and pools whose exchanges are carried by hand, in virtual
time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from throttle import Limiter
from throttle.bucket import NEVER
from throttle.errors import StoreError
from throttle.meter import BucketMeter, InFlightMeter, Meter, ResetMeter
from throttle.pool import Ticket
from throttle.shared.gate import SharedGate
from throttle.shared.pool import SharedPool
from throttle.shared.standin import StandIn
from throttle.stores import open_store
from throttle.stores.conformance import Clock
from throttle.stores.memory import MemoryStore
from throttle.stores.protocol import Answer, Exchange, PoolReport

LIMITS = {"rpm": 600, "tpm": 6000}
SECOND_US = 1_000_000
LIMIT = 6000
KEY = "k"
DAY_US = 86_400_000_000


class FlakyStore:
    """A store in memory that can be away, lose answers or be slow. It counts its round trips."""

    def __init__(self, clock: Callable[[], int] | None = None) -> None:
        self.inner = MemoryStore(clock=clock)
        self.away = False
        self.loses_answers = False
        self.round_trips = 0
        self.asked = 0
        self.lock = threading.Lock()

    def exchange(self, wants: Any) -> list[Answer]:
        self.round_trips += 1
        with self.lock:
            if self.away:
                raise StoreError("store flaky: it is away: wait")
            seen: list[tuple[str, Exchange]] = list(wants)
            self.asked += sum(len(brought.asks) for _, brought in seen)
            answers = self.inner.exchange(seen)
            if self.loses_answers:
                raise StoreError("store flaky: no answer within 1 s")
            return answers

    def report(self, prefix: str) -> list[PoolReport]:
        return self.inner.report(prefix)

    def close(self) -> None:
        pass


def eventually(holds: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """Wait in real time until something holds."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.002)


def report(url: str) -> PoolReport:
    """Tell the state of the one pool of a store's namespace."""
    store = open_store(url.partition("?")[0])
    (found,) = store.report(f"{url.partition('namespace=')[2] or 'throttle'}:")
    store.close()
    return found


def gate_of(limiter: Limiter) -> SharedGate:
    (gate,) = limiter._routing.gates
    assert isinstance(gate, SharedGate)
    return gate


def quiet(limiter: Limiter) -> None:
    """Wait until nothing is left to exchange."""

    def holds() -> bool:
        with limiter._lock:
            pool = gate_of(limiter).shared
            return pool._out is None and not pool.wants(limiter._clock())

    eventually(holds)


def next_day(now_us: int) -> int:
    return (now_us // DAY_US + 1) * DAY_US


class Call(Ticket):
    """A ticket that can be remembered, as permits are."""


class Process:
    """One process's pool, whose exchanges are carried by hand."""

    def __init__(
        self, name: str, clock: Clock, store: MemoryStore, *, tpm: int = LIMIT, places: int = 0, rpd: int = 0
    ) -> None:
        self.clock = clock
        self.store = store
        meter = BucketMeter(
            "tpm", "tokens", tpm, 60 * SECOND_US, now_us=clock(), burst_us=60 * SECOND_US, headroom=0.0, origin="user"
        )
        meters: list[Meter] = [meter]
        if places:
            meters.append(InFlightMeter("max_in_flight", places, origin="user"))
        if rpd:
            meters.append(ResetMeter("rpd", "requests", rpd, next_day, window_s=DAY_US / 1e6, origin="user"))
        self.pool = SharedPool("p", tuple(meters), key=KEY, process=name, label=name)
        self.away: StandIn | None = None

    def call(self, tokens: int, *, within_us: int = NEVER) -> Call:
        known = {"tokens": tokens, "requests": 1, "in_flight": 1}
        ticket = Call(self.pool, "m", tuple(known[meter.unit] for meter in self.pool.meters))
        ticket.deadline_us = min(NEVER, self.clock() + within_us)
        self.pool.enqueue(self.clock(), ticket)
        return ticket

    def carry(self, *, arrives: bool = True, answered: bool = True) -> None:
        """Exchange what there is; it may not arrive, and if it does the answer may be lost."""
        now_us = self.clock()
        brought = self.pool.compose(now_us)
        if brought is None:
            return
        store = self.away or self.store
        answer: Answer | None = None
        if arrives:
            (answer,) = store.exchange([(KEY, brought)])
        if answer is not None and answered:
            self.pool.take_answer(now_us, answer, now_us, now_us)
            self.pool.tick(now_us)

    def lose_store(self) -> None:
        self.away = StandIn(self.clock, open_to_all=False)
        self.away.take_over(self.pool)

    def find_store(self) -> None:
        assert self.away is not None
        lost = self.away.lost[KEY]
        answer = None
        if lost is not None:
            (answer,) = self.store.exchange([(KEY, self.pool.repeated(lost))])
        self.pool.come_back(lost, answer, self.away.charged(KEY))
        self.away = None

    def run(self, seconds: float) -> None:
        """Let time pass for this process alone, at ten looks a second."""
        for _ in range(round(10 * seconds)):
            self.clock.now_us += SECOND_US // 10
            self.look()

    def look(self) -> None:
        self.pool.tick(self.clock())
        if self.pool.wants(self.clock()) or self.pool.beat_due(self.clock()):
            self.carry()
