"""A pool: the meters that a model family shares, and the queue in front of them. Who goes when, and nothing else.

Pure: every verb takes the time, none reads a clock, locks, wakes or does I/O. The verbs change state and return whom to
wake.

Rules for whoever edits this file:

- All meters are charged at one common instant at which every one can pay. Charging each as soon as it can and waiting
  for the slower one is wrong: while one delays, the other refills past what the server's clipped bucket can.
- The queue is FIFO by sequence number, and its head reserves: nobody overtakes it, however small. So a large call is
  never starved.
- Where pools share a meter (an organization's beside several projects', a long-context one), a call leaves in it what
  the head of another pool has waited for longer, so that the rule above holds across pools.
- A ticket that comes back after a refusal keeps its number and so goes to the head.
- A ticket with an earliest time of its own is in nobody's way: it stands aside until then and takes its place by
  number.
- A refusal holds the whole pool back, not one call. Where nobody can tell for how long, one call goes as a probe and
  the others wait for its end.
- Tickets that were withdrawn stay in the queue and are skipped when they reach the head, so that withdrawing costs
  O(1).
"""

from __future__ import annotations

from bisect import bisect
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any, Final

from throttle.breaker import Breaker
from throttle.bucket import NEVER
from throttle.feedback.belief import BeliefSnapshot
from throttle.feedback.headers import Reading
from throttle.feedback.refusals import Refusal
from throttle.learning import readings_by_meter, refused_meter
from throttle.meter import Amount, InFlightMeter, Meter, MeterSnapshot

__all__ = ["Hold", "Pool", "PoolSnapshot", "Ticket", "Waits"]

NEW: Final = 0
WAITING: Final = 1
ADMITTED: Final = 2
ENDED: Final = 3
EXPIRED: Final = 4

RECENT_WAITS = 1024
"""How many admissions the quantiles of waiting are taken over."""

SWEEP_AT = 64
"""A queue is cleaned of withdrawn tickets when these outnumber both this and the living."""


class Ticket:
    """One call's place in a pool: what it costs, in the units of the meters that it is charged to, where it stands,
    and once it was admitted, the meters' marks. `row` is what meters learn its ratio by: the model, and how it is
    charged. While it waits, `owner` is the runtime in which somebody waits for it, and `handle` is what that runtime
    needs to wake them."""

    __slots__ = (
        "amounts",
        "asked_us",
        "deadline_us",
        "earliest_us",
        "handle",
        "marks",
        "meters",
        "model",
        "number",
        "owner",
        "pool",
        "row",
        "state",
        "waited_us",
    )

    def __init__(self, pool: Pool, model: str, amounts: tuple[Amount, ...]) -> None:
        self.pool = pool
        self.model = model
        self.row = model
        self.amounts = amounts
        self.state = NEW
        self.number = 0
        self.earliest_us = 0
        self.deadline_us = NEVER
        self.meters = pool.meters
        self.marks: tuple[Any, ...] = ()
        self.waited_us = 0
        self.asked_us = 0
        self.handle: Any = None
        self.owner: Any = None


@dataclass(frozen=True, slots=True)
class Hold:
    """What keeps a ticket waiting: the meter (None: only those in front), and when it would go; NEVER where nobody can
    tell.
    """

    meter: str | None
    ready_at_us: int


@dataclass(frozen=True, slots=True)
class Waits:
    """How long calls waited. Quantiles and mean are of the latest admissions, at most a thousand, those that went at
    once included.

    All in seconds.
    """

    p50_s: float
    p95_s: float
    mean_s: float
    longest_s: float


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """The state of one pool.

    Attributes:
        name: the pool's name, mostly its family's.
        meters: the state of each meter, by name.
        waiting: calls that wait now.
        admitted: calls let through so far.
        refused: calls that the server refused for their rate (429) so far.
        under_way: calls let through whose end is not known yet.
        waits: how long calls waited.
    """

    name: str
    meters: Mapping[str, MeterSnapshot | BeliefSnapshot]
    waiting: int
    admitted: int
    refused: int
    under_way: int
    waits: Waits


class Pool:
    """One queue in front of the meters that a family's calls are charged to."""

    def __init__(self, name: str, meters: tuple[Meter, ...]) -> None:
        self.name = name
        self.meters = meters
        self.units = tuple(meter.unit for meter in meters)
        self.waiting = 0
        self.admitted = 0
        self.refused_calls = 0
        self._crowded = False
        self.under_way = 0
        self.paused_until_us = 0
        self.paused_for = ""
        self._breaker = Breaker()
        self.frees = _frees(meters)  # whether the end of a call gives something back
        self.beside: tuple[Pool, ...] = ()  # those that share a meter with this one
        self._queue: deque[Ticket] = deque()
        self._later: list[tuple[int, int, Ticket]] = []
        self._deadlines: list[tuple[int, int, Ticket]] = []
        self._aside: dict[object, list[Ticket]] = {}
        self._wanted: list[Amount] = [0] * len(meters)
        self._waits_us: deque[int] = deque(maxlen=RECENT_WAITS)
        self._longest_us = 0
        self._number = 0
        self._inherited = 0  # calls of this number and below are those of the process that this one was forked from

    # who may go

    def try_take(self, now_us: int, ticket: Ticket) -> bool:
        """Admit the ticket if nobody waits in front of it and every meter can pay now. It gets its number here."""
        if not ticket.number:
            self._number += 1
            ticket.number = self._number
        if self._queue or now_us < self.paused_until_us or now_us < ticket.earliest_us:
            return False
        if ticket.meters is not self.meters:
            self._fit(ticket)
        if self.beside:
            ticket.asked_us = now_us
            if self._hold(now_us, ticket).ready_at_us > now_us:
                return False
        alone = not self.under_way
        row = ticket.row
        amounts = ticket.amounts  # by place: a strict `zip` costs as much as asking a bucket
        for i, meter in enumerate(self.meters):
            if meter.ready_at(now_us, amounts[i], row, alone) > now_us:
                return False
        ticket.asked_us = now_us
        self._admit(now_us, ticket, 0)
        return True

    def enqueue(self, now_us: int, ticket: Ticket) -> None:
        """Let the ticket wait: at the end, or by its old number if it has one."""
        if not ticket.number:
            self._number += 1
            ticket.number = self._number
        if ticket.meters is not self.meters:
            self._fit(ticket)
        ticket.state = WAITING
        ticket.asked_us = now_us
        self.waiting += 1
        self._want(ticket, 1)
        if self.waiting == 2:
            self._set_crowded(True)
        if ticket.deadline_us < NEVER:
            heappush(self._deadlines, (ticket.deadline_us, ticket.number, ticket))
        if ticket.earliest_us > now_us:
            heappush(self._later, (ticket.earliest_us, ticket.number, ticket))
        else:
            self._line_up(ticket)

    def tick(self, now_us: int) -> list[Ticket]:
        """Admit every ticket whose turn has come and expire those past their deadline; returns them, in order, to be
        woken.
        """
        while self._later and self._later[0][0] <= now_us:
            ticket = heappop(self._later)[2]
            if ticket.state == WAITING:
                self._line_up(ticket)
        decided = self._admit_heads(now_us)
        if expired := self._expire(now_us):  # after those who made it: at the deadline itself a call may still go
            decided += expired
            decided += self._admit_heads(now_us)
        return decided

    def next_at(self, now_us: int) -> int:
        """Tell when `tick` has something to do next, as far as known; NEVER where only an event can bring it."""
        at_us = NEVER
        if (head := self._head()) is not None:
            at_us = self._hold(now_us, head).ready_at_us
        for heap in (self._later, self._deadlines):
            while heap and heap[0][2].state != WAITING:
                heappop(heap)
            if heap:
                at_us = min(at_us, heap[0][0])
        return at_us

    def foretell(self, now_us: int, model: str, amounts: tuple[Amount, ...]) -> Hold:
        """Tell when a call that asked now would go behind all who wait, and what holds it back; as far as known, no
        sooner.
        """
        worst = self._pause_hold(now_us)
        alone = not self.under_way
        for meter, amount, wanted in zip(self.meters, amounts, self._wanted, strict=True):
            at_us = meter.ready_at(now_us, amount, model, alone)
            if wanted:
                at_us = max(at_us, meter.foretell(now_us, wanted + amount, model))
            if at_us > worst.ready_at_us:
                worst = Hold(meter.name, at_us)
        return worst

    # coming back

    def withdraw(self, now_us: int, ticket: Ticket) -> bool:
        """Take the ticket out, whether it waits or was admitted and not sent; its charge is given back. False if it had
        ended.
        """
        if ticket.state == WAITING:
            self._leave(ticket)
            self._sweep()
        elif self._is_under_way(ticket):
            if ticket is self._breaker.probe:
                self._leave_probe_to_next(now_us)
            self.under_way -= 1
            self.admitted -= 1
            for meter, mark in zip(ticket.meters, ticket.marks, strict=True):
                meter.cancel(now_us, mark)
        else:
            return False
        ticket.state = ENDED
        return True

    def release(self, now_us: int, ticket: Ticket) -> bool:
        """Learn that the call has ended; the charge stays. False if it had ended before."""
        if not self._is_under_way(ticket):
            return False
        ticket.state = ENDED
        self.under_way -= 1
        if ticket is self._breaker.probe:
            self._end_probe(now_us, ticket)
        if self.frees:
            for meter, mark in zip(ticket.meters, ticket.marks, strict=True):
                meter.release(now_us, mark)
        return True

    def release_at_once(self, ticket: Ticket) -> bool:
        """End the call where its end concerns nobody: none waits, no meter gives a place back, it is no probe. False
        where it does; then nothing is done, and `release` is for it.
        """
        if self.waiting or self.frees or ticket.state != ADMITTED or ticket is self._breaker.probe:
            return False
        if ticket.number <= self._inherited:
            return False
        ticket.state = ENDED
        self.under_way -= 1
        return True

    def settle(self, now_us: int, ticket: Ticket, unit: str, amount: Amount) -> None:
        """Replace what was charged in `unit` by what the call really cost."""
        if not self.owns(ticket):
            return
        ticket.marks = tuple(
            meter.settle(now_us, mark, amount) if meter.unit == unit else mark
            for meter, mark in zip(ticket.meters, ticket.marks, strict=True)
        )

    # what the server says

    def answered(self, now_us: int, ticket: Ticket, readings: Sequence[Reading], *, is_error: bool = False) -> None:
        """Learn what the headers of a call's answer say of the meters. The call may still be under way. An error
        without such headers may come from something in front of the server, so it tells nothing of them.
        """
        if not self._is_under_way(ticket):
            return
        self._breaker.calm(ticket.asked_us + ticket.waited_us)
        self._end_probe(now_us, ticket)
        if readings or not is_error:
            found = readings_by_meter(ticket.meters, readings)
            for meter, mark, reading in zip(ticket.meters, ticket.marks, found, strict=True):
                meter.answered(now_us, mark, reading)

    def refused(self, now_us: int, ticket: Ticket, refusal: Refusal) -> None:
        """Learn that the server refused a call for its rate: it has ended and was not charged; after `hold_back`."""
        if not self._is_under_way(ticket):
            return
        self.refused_calls += 1
        self._end(ticket)
        culprit = refused_meter(ticket.meters, refusal)
        for meter, mark in zip(ticket.meters, ticket.marks, strict=True):
            meter.refused(now_us, mark, refusal, mine=None if culprit is None else meter is culprit)

    def cut_short(self, now_us: int, ticket: Ticket) -> None:
        """Learn that the server refused a call for its rate when a part of the answer had come: what came was worked
        for, so the charge stays; after `hold_back`.
        """
        if self.release(now_us, ticket):
            self.refused_calls += 1

    def too_large(self, now_us: int, ticket: Ticket, refusal: Refusal) -> None:
        """Learn the limit that a call exceeds all by itself, where the server's words are of a meter of this pool."""
        meter = refused_meter(ticket.meters, refusal)
        if refusal.kind != "too-large" or meter is None or not refusal.limit or refusal.limit == meter.limit:
            return
        if refusal.pool in (None, ticket.model, meter.pool):
            meter.adopt(now_us, refusal.limit, "server")

    def refusals_in_row(self, ticket: Ticket) -> int:
        """Count the refusals since a call was last answered, with that of this call."""
        return self._breaker.in_row_with(ticket.asked_us + ticket.waited_us)

    def hold_back(self, now_us: int, ticket: Ticket, pause_us: int, reason: str, *, told: bool) -> None:
        """Pause because a call was refused; to be called before its ticket ends. Where the server told for how long,
        all go on afterwards; else one goes first, and the others wait for its end.
        """
        if ticket is self._breaker.probe:  # nobody waits for its end any more
            self.paused_until_us = now_us
        self._breaker.trip(now_us, ticket.asked_us + ticket.waited_us, pause_us, told=told)
        self.pause(now_us + pause_us, reason)

    def pause(self, until_us: int, reason: str) -> None:
        """Let nobody go before an instant, for a reason that can be told."""
        if until_us > self.paused_until_us:
            self.paused_until_us, self.paused_for = until_us, reason

    def replace_meters(self, meters: tuple[Meter, ...]) -> None:
        """Go on with other meters. Calls under way stay with those that they were charged to."""
        self.meters = meters
        self.units = tuple(meter.unit for meter in meters)
        self.frees = self.frees or _frees(meters)
        self._wanted = [0] * len(meters)
        for ticket in self._everybody():
            self._fit(ticket)
            self._want(ticket, 1)
        self._set_crowded(self._crowded)

    # runtimes that stand still

    def set_aside(self, owner: object) -> None:
        """Pass over the tickets of an owner that doesn't run, until it is brought back."""
        mine = [ticket for ticket in self._queue if ticket.owner is owner]
        self._aside.setdefault(owner, []).extend(mine)
        self._queue = deque(ticket for ticket in self._queue if ticket.owner is not owner)

    def bring_back(self, owner: object) -> None:
        """Let an owner's tickets stand where they stood by their numbers."""
        for ticket in self._aside.pop(owner, ()):
            if ticket.state == WAITING:
                self._line_up(ticket)

    def drop(self, owner: object) -> list[Ticket]:
        """Return the tickets of an owner that has ended; they are to be withdrawn."""
        self.set_aside(owner)
        return self._aside.pop(owner)

    # after a fork

    def leave_to_parent(self, now_us: int) -> None:
        """Leave the calls that are under way to the process that this one was forked from: they hold no place here, and
        what becomes of them is not for this pool to know. Their charges stay.
        """
        self._inherited = self._number
        self.under_way = 0
        for meter in self.meters:
            if isinstance(meter, InFlightMeter):
                meter.taken = 0
        if self._breaker.probe is not None:
            self._leave_probe_to_next(now_us)

    def owns(self, ticket: Ticket) -> bool:
        """Tell whether a ticket is of this process, and not of the one that it was forked from."""
        return ticket.number > self._inherited or not ticket.number

    # what to tell

    def snapshot(self, now_us: int) -> PoolSnapshot:
        """Tell the state of the pool."""
        waits = sorted(self._waits_us)
        last = len(waits) - 1
        return PoolSnapshot(
            name=self.name,
            meters={meter.name: meter.snapshot(now_us) for meter in self.meters},
            waiting=self.waiting,
            admitted=self.admitted,
            refused=self.refused_calls,
            under_way=self.under_way,
            waits=Waits(
                p50_s=waits[last // 2] / 1e6 if waits else 0.0,
                p95_s=waits[int(last * 0.95)] / 1e6 if waits else 0.0,
                mean_s=sum(waits) / len(waits) / 1e6 if waits else 0.0,
                longest_s=self._longest_us / 1e6,
            ),
        )

    def __repr__(self) -> str:
        return f"<Pool {self.name}: {self.waiting} waiting, {self.under_way} under way, {self.admitted} admitted>"

    # inside

    def _admit_heads(self, now_us: int) -> list[Ticket]:
        admitted = []
        while (head := self._head()) is not None and self._hold(now_us, head).ready_at_us <= now_us:
            self._queue.popleft()
            self._leave(head)
            self._admit(now_us, head, now_us - head.asked_us)
            admitted.append(head)
        return admitted

    def _head(self) -> Ticket | None:
        queue = self._queue
        while queue:
            if queue[0].state == WAITING:
                return queue[0]
            queue.popleft()
        return None

    def _pause_hold(self, now_us: int) -> Hold:
        if self.paused_until_us > now_us:
            return Hold(self.paused_for, self.paused_until_us)
        return Hold(None, now_us)

    def _hold(self, now_us: int, ticket: Ticket) -> Hold:
        hold = self._pause_hold(now_us)
        alone = not self.under_way
        for meter, amount in zip(self.meters, ticket.amounts, strict=True):
            if self.beside and (claimed := self._claimed(now_us, meter, ticket)):
                amount = max(amount, min(amount + claimed, meter.largest))
            at_us = meter.ready_at(now_us, amount, ticket.row, alone)
            if at_us > hold.ready_at_us:
                hold = Hold(meter.name, at_us)
        return hold

    def _claimed(self, now_us: int, meter: Meter, ticket: Ticket) -> Amount:
        """Tell what calls of other pools that wait for this meter, and have waited for longer, have a claim to."""
        claimed: Amount = 0
        for pool in self.beside:
            head = pool._head()
            if head is None or head.asked_us >= ticket.asked_us or meter not in pool.meters:
                continue
            amount = head.amounts[pool.meters.index(meter)]
            if meter.ready_at(now_us, amount, head.row, not pool.under_way) > now_us:
                claimed += amount
        return claimed

    def _admit(self, now_us: int, ticket: Ticket, waited_us: int) -> None:
        row = ticket.row
        marks, amounts = [], ticket.amounts
        for i, meter in enumerate(self.meters):
            marks.append(meter.take(now_us, amounts[i], row))
        ticket.marks = tuple(marks)
        ticket.state = ADMITTED
        ticket.waited_us = waited_us
        if self._breaker.probing:
            self.pause(now_us + self._breaker.send(ticket), "a probe after a refusal")
        self.admitted += 1
        self.under_way += 1
        self._waits_us.append(waited_us)
        if waited_us > self._longest_us:
            self._longest_us = waited_us

    def _fit(self, ticket: Ticket) -> None:
        """The meters changed since the ticket was made. It keeps its amounts for those that count what the old ones
        did; of what others count, all that is known is that a request is one.
        """
        known = {meter.unit: amount for meter, amount in zip(ticket.meters, ticket.amounts, strict=True)}
        known.setdefault("requests", 1)
        known.setdefault("in_flight", 1)
        ticket.meters = self.meters
        ticket.amounts = tuple([known.get(unit, 0) for unit in self.units])

    def _is_under_way(self, ticket: Ticket) -> bool:
        if ticket.state != ADMITTED:
            return False
        if ticket.number <= self._inherited:
            ticket.state = ENDED
            return False
        return True

    def _leave_probe_to_next(self, now_us: int) -> None:
        """The probe was not sent, so the next call is one."""
        self._breaker.probe, self.paused_until_us = None, now_us

    def _end(self, ticket: Ticket) -> None:
        ticket.state = ENDED
        self.under_way -= 1

    def _end_probe(self, now_us: int, ticket: Ticket) -> None:
        """The call was not refused; if it was the probe, everybody may go again."""
        if ticket is self._breaker.probe:
            self._breaker.close()
            self.paused_until_us = now_us

    def _leave(self, ticket: Ticket) -> None:
        self.waiting -= 1
        if not self.waiting:  # who was let go isn't held here any longer
            self._later.clear()
            self._deadlines.clear()
        self._want(ticket, -1)
        if self._crowded and self.waiting <= 1:
            self._set_crowded(False)

    def _set_crowded(self, crowded: bool) -> None:
        self._crowded = crowded
        for meter in self.meters:
            meter.crowded = crowded

    def _everybody(self) -> Iterator[Ticket]:
        """All who wait, in no particular order."""
        places = [self._queue, *self._aside.values(), [ticket for _, _, ticket in self._later]]
        return (ticket for place in places for ticket in place if ticket.state == WAITING)

    def _want(self, ticket: Ticket, sign: int) -> None:
        for i, amount in enumerate(ticket.amounts):
            self._wanted[i] += sign * amount

    def _line_up(self, ticket: Ticket) -> None:
        queue = self._queue
        if not queue or queue[-1].number < ticket.number:
            queue.append(ticket)
        elif ticket.number < queue[0].number:
            queue.appendleft(ticket)
        else:
            numbers = [waiting.number for waiting in queue]
            queue.insert(bisect(numbers, ticket.number), ticket)

    def _expire(self, now_us: int) -> list[Ticket]:
        expired = []
        while self._deadlines and self._deadlines[0][0] <= now_us:
            ticket = heappop(self._deadlines)[2]
            if ticket.state == WAITING:
                self._leave(ticket)
                ticket.state = EXPIRED
                expired.append(ticket)
        return expired

    def _sweep(self) -> None:
        """Drop withdrawn tickets once they outnumber those that wait, so that neither memory nor a look grows with
        them.
        """
        for heap in (self._later, self._deadlines):
            if len(heap) > 2 * self.waiting + SWEEP_AT:
                heap[:] = [entry for entry in heap if entry[2].state == WAITING]
                heapify(heap)
        if len(self._queue) > 2 * self.waiting + SWEEP_AT:
            self._queue = deque(ticket for ticket in self._queue if ticket.state == WAITING)


def _frees(meters: Sequence[Meter]) -> bool:
    """Tell whether the end of a call gives something back: only places in flight do."""
    return any(meter.unit == "in_flight" for meter in meters)
