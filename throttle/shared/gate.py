"""The gate in front of a shared pool: as any gate, but that it hands the courier what the pool wants of its store."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from throttle.errors import StoreError
from throttle.gate import Gate
from throttle.pool import WAITING, Ticket
from throttle.shared.pool import SharedPool
from throttle.stores.protocol import Answer
from throttle.waiting import Gone, Runtime, Sleeper

if TYPE_CHECKING:
    from throttle.limiter import Limiter
    from throttle.shared.courier import Courier

__all__ = ["SharedGate"]


class SharedGate(Gate):
    """The gate of one shared pool."""

    is_shared = True

    __slots__ = ("__weakref__", "_lends_hand", "courier", "error", "shared")

    def __init__(self, pool: SharedPool, courier: Courier, *, restless: bool = False) -> None:
        """Make a gate whose pool's exchanges a courier carries."""
        super().__init__(pool, restless=restless)
        self.shared = pool
        self.courier = courier
        self.error: StoreError | None = None
        self._lends_hand = False

    def enqueue(self, now_us: int, ticket: Ticket, owner: Runtime, handle: Any) -> None:
        alone = not self.shared.waiting and isinstance(handle, Sleeper)
        self._lends_hand = alone and self._has_time(now_us, ticket)
        super().enqueue(now_us, ticket, owner, handle)
        self._lends_hand = False

    def takes_hand(self, now_us: int, ticket: Ticket) -> bool:
        return ticket.state == WAITING and self.shared.waiting == 1 and self._has_time(now_us, ticket)

    def lend_hand(self, limiter: Limiter) -> None:
        self.courier.lend_hand(limiter)

    def _has_time(self, now_us: int, ticket: Ticket) -> bool:
        return ticket.deadline_us - now_us > self.courier.patience_us

    def arm(self, now_us: int) -> None:
        super().arm(now_us)
        if self.shared.wants(now_us):
            self.courier.post(self, lends_hand=self._lends_hand)

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
