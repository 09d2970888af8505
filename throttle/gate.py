"""A gate: one pool, those who wait in front of it in whatever runtime, and the one who keeps its time.

Every verb here but `lend_hand` is called under the limiter's lock. The pool decides who goes; the gate wakes them and
sees to it that somebody rings when the next one's turn comes:

- One of the runtimes in which somebody waits is the *keeper*: it alone rings at the pool's next instant.
- Every other one rings `GRACE_US` later. Where it finds the instant passed and nothing done, the keeper stands still (a
  loop that is blocked or stopped): its waiters are passed over until it shows life, and another one keeps the time. So
  a runtime that stands still delays the others by a tenth of a second at most.
- A runtime that has ended (a closed loop) is found out as soon as it is to be woken or to ring; its waiters are taken
  out.

`arm` is the one function that hands the time on. Every verb that changes who waits, or what there is, ends in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Final

from throttle.bucket import NEVER
from throttle.pool import WAITING, Pool, Ticket
from throttle.waiting import Gone, Runtime

if TYPE_CHECKING:
    from throttle.errors import StoreError
    from throttle.limiter import Limiter

__all__ = ["GRACE_US", "Gate"]

GRACE_US: Final = 100_000
"""How long after the keeper the others ring: the bound that the design sets on what a runtime that stands still costs
the others.
"""


RESTLESS_US: Final = 500_000
"""How often a restless gate looks again: twice within the second in which a changed file is to be noticed."""


class Gate:
    """The gate of one pool. `is_shared`: its levels live in a store, which alone knows them; `error` is why that
    failed those who waited last.
    """

    is_shared: ClassVar[bool] = False
    error: StoreError | None = None

    __slots__ = ("_keeper", "_orders", "_restless", "_ring_at_us", "_still", "_waiters", "beside", "pool", "warned_us")

    def __init__(self, pool: Pool, *, restless: bool = False) -> None:
        """Make a gate; a `restless` one rings at least every `RESTLESS_US` while anybody waits, as limits that live
        in a file may change meanwhile.
        """
        self.pool = pool
        self.beside: tuple[Gate, ...] = ()
        self._restless = restless
        self.warned_us = -NEVER
        self._waiters: dict[Runtime, int] = {}  # how many wait in each
        self._orders: dict[Runtime, int] = {}  # who rings for us, and when
        self._still: set[Runtime] = set()
        self._keeper: Runtime | None = None
        self._ring_at_us = NEVER

    def stand_beside(self, gates: Iterable[Gate]) -> None:
        """Find the gates that share a meter with this one: what happens at one of them concerns the others."""
        mine = set(self.pool.meters)
        for gate in gates:
            if gate is not self and not mine.isdisjoint(gate.pool.meters):
                self.beside += (gate,)
                gate.beside += (self,)
                gate.pool.beside = tuple(other.pool for other in gate.beside)
        self.pool.beside = tuple(other.pool for other in self.beside)

    def tick_all(self, now_us: int) -> None:
        """Tick this gate, and those that share a meter with it."""
        self.tick(now_us)
        for gate in self.beside:
            gate.tick(now_us)

    def enqueue(self, now_us: int, ticket: Ticket, owner: Runtime, handle: Any) -> None:
        """Let a ticket wait in a runtime. It may be admitted before this returns."""
        ticket.owner = owner
        ticket.handle = handle
        self._waiters[owner] = self._waiters.get(owner, 0) + 1
        self.pool.enqueue(now_us, ticket)
        self._see(owner)
        self.tick(now_us)

    def takes_hand(self, now_us: int, ticket: Ticket) -> bool:
        """Tell whether the thread that waits for a ticket may do by itself what another one would have to do for it."""
        return False

    def lend_hand(self, limiter: Limiter) -> None:
        """Do that, without the lock."""

    def withdraw(self, now_us: int, ticket: Ticket) -> None:
        """Take a ticket out, waiting or admitted, and let the next ones go."""
        if ticket.state == WAITING:
            self._forget(ticket)
        if self.pool.withdraw(now_us, ticket):
            self.tick_all(now_us)

    def tick(self, now_us: int) -> None:
        """Let everybody go whose turn has come, and see to the next ring."""
        while decided := self.pool.tick(now_us):
            for ticket in decided:
                self._forget(ticket)
                try:
                    ticket.owner.wake(ticket.handle)
                except Gone:
                    self.pool.withdraw(now_us, ticket)
                    self._bury(now_us, ticket.owner)
        self.arm(now_us)

    def ring(self, now_us: int, owner: Runtime) -> None:
        """Learn from a runtime that its time has come."""
        self._orders.pop(owner, None)
        self._see(owner)
        keeper = self._keeper
        if keeper is not None and keeper is not owner and now_us >= self._ring_at_us + GRACE_US // 2:
            self._keeper = None
            if keeper.has_ended():
                self._bury(now_us, keeper)
            else:
                self._still.add(keeper)
                self.pool.set_aside(keeper)
        self.tick(now_us)

    def arm(self, now_us: int) -> None:
        """See to it that somebody rings at the pool's next instant, and somebody else a little later."""
        while self._waiters:
            at_us = self.pool.next_at(now_us)
            if self._restless:
                at_us = min(at_us, now_us + RESTLESS_US)
            self._ring_at_us = at_us
            if at_us >= NEVER:
                return
            keeper = self._keeper
            if keeper not in self._waiters or keeper in self._still:
                keeper = self._keeper = next((owner for owner in self._waiters if owner not in self._still), None)
                if keeper is None:
                    return
            gone = self._order(keeper, at_us)
            if gone is None and len(self._waiters) > 1:
                gone = self._order_guards(keeper, at_us + GRACE_US)
            if gone is None:
                return
            self._bury(now_us, gone)
        self._keeper = None
        self._ring_at_us = NEVER

    def abandon(self, now_us: int) -> None:
        """Forget everybody who waits or has a call under way, and whoever keeps the time: after a fork they are the
        parent's.
        """
        for owner in list(self._waiters):
            self._bury(now_us, owner)
        self._orders.clear()
        self.pool.leave_to_parent(now_us)

    def _order_guards(self, keeper: Runtime, at_us: int) -> Runtime | None:
        for owner in self._waiters:
            # one that rings earlier finds nothing to do and is given a later instant then
            if owner is not keeper and owner not in self._still and owner not in self._orders:
                gone = self._order(owner, at_us)
                if gone is not None:
                    return gone
        return None

    def _order(self, owner: Runtime, at_us: int) -> Runtime | None:
        """Have a runtime ring; returns it if it has ended."""
        if self._orders.get(owner) == at_us:
            return None
        try:
            owner.ring_at(self, at_us)
        except Gone:
            return owner
        self._orders[owner] = at_us
        return None

    def _see(self, owner: Runtime) -> None:
        """A runtime shows life: if it was thought to stand still, its waiters stand in line again."""
        if owner in self._still:
            self._still.discard(owner)
            self.pool.bring_back(owner)

    def _forget(self, ticket: Ticket) -> None:
        count = self._waiters.get(ticket.owner)
        if count is not None and count > 1:
            self._waiters[ticket.owner] = count - 1
        elif count is not None:
            del self._waiters[ticket.owner]
            self._still.discard(ticket.owner)

    def _bury(self, now_us: int, owner: Runtime) -> None:
        """A runtime has ended: nobody there waits any more."""
        self._waiters.pop(owner, None)
        for ticket in self.pool.drop(owner):
            self.pool.withdraw(now_us, ticket)
        self._orders.pop(owner, None)
        self._still.discard(owner)
        if self._keeper is owner:
            self._keeper = None

    def __repr__(self) -> str:
        return f"<Gate of {self.pool!r}, waiting in {len(self._waiters)} runtimes>"
