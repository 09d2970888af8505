"""Virtual processes: limiters that share one store, each with a courier that is carried by hand, in virtual time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from throttle import Limiter
from throttle.errors import StoreError
from throttle.shared.gate import SharedGate
from throttle.stores.memory import MemoryStore
from throttle.stores.protocol import Answer, Exchange, PoolReport

LIMITS = {"rpm": 600, "tpm": 6000}


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
