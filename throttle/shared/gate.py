"""The gate in front of a shared pool: as any gate, but that it hands the courier what the pool wants of its store."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from throttle.errors import StoreError
from throttle.gate import Gate
from throttle.shared.pool import SharedPool
from throttle.stores.protocol import Answer
from throttle.waiting import Gone

if TYPE_CHECKING:
    from throttle.shared.courier import Courier

__all__ = ["SharedGate"]


class SharedGate(Gate):
    """The gate of one shared pool. `error` is why its store failed those who waited last."""

    __slots__ = ("__weakref__", "courier", "error", "shared")

    def __init__(self, pool: SharedPool, courier: Courier, *, restless: bool = False) -> None:
        """Make a gate whose pool's exchanges a courier carries."""
        super().__init__(pool, restless=restless)
        self.shared = pool
        self.courier = courier
        self.error: StoreError | None = None

    def arm(self, now_us: int) -> None:
        super().arm(now_us)
        if self.shared.wants(now_us):
            self.courier.post(self)

    def deliver(self, now_us: int, answer: Answer, sent_us: int, received_us: int) -> None:
        """Take the answer to the pool's exchange, and let everybody go who may."""
        self.error = None
        self.shared.take_answer(now_us, answer, sent_us, received_us)
        self.tick(now_us)

    def fail(self, now_us: int, error: StoreError) -> None:
        """Let everybody who waits go with an error."""
        self.error = error
        for ticket in self.shared.fail(now_us):
            self._forget(ticket)
            with contextlib.suppress(Gone):
                ticket.owner.wake(ticket.handle)
        self.arm(now_us)

    def abandon(self, now_us: int) -> None:
        self.shared.start_anew(*self.courier.start_anew())
        super().abandon(now_us)
