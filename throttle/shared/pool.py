"""A pool whose levels live in a store: who is reserved there, and what to exchange with it next.

The queue is the same as in any pool, and so is everything that keeps its time; only whether a ticket may go is decided
elsewhere. Those in front are asked for in the store, which tells when each may go. Until the answer is there they have
no instant; then they have one, and the gate's timers do the rest.

Pure but for the numbers of its exchanges: `compose` says what to send, `take_answer` what came back. One exchange is
out at a time; one whose answer was lost is composed again with the same number, so that nothing is done twice.

Rules for whoever edits this file:

- Only what stands in front of the queue is reserved, and nothing behind a ticket that has to wait: so order between
  processes is by reservation, and what is learned meanwhile still holds for those behind.
- A charge that was reserved is either taken along by a call or given back, whatever becomes of its ticket.
- A ticket that could not go at its instant (its loop stood still, its pool paused) is reserved anew: the server's
  bucket went over its brim meanwhile, ours didn't.
"""

from __future__ import annotations

import hashlib
import json
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heappush
from typing import Any, Final

from throttle.bucket import NEVER
from throttle.feedback.belief import Belief
from throttle.feedback.headers import Reading
from throttle.feedback.refusals import Refusal
from throttle.meter import Amount, InFlightMeter, Meter, ResetMeter
from throttle.pool import ADMITTED, WAITING, Hold, Pool, Ticket
from throttle.shared.clock import StoreClock
from throttle.shared.lines import (
    COUNT,
    LARGEST,
    LINES,
    MAIN,
    DatedLines,
    MeterLines,
    Scale,
    Seen,
    lines_of,
    spent_between,
)
from throttle.stores.protocol import (
    MODULUS,
    OTHER,
    READY,
    WANTED,
    Answer,
    Ask,
    Change,
    Definition,
    Exchange,
    Grant,
    Lesson,
    LessonLine,
    Presence,
    Sent,
    StoredLine,
)

__all__ = ["Out", "SharedPool"]

MOST_FIGURES: Final = 2000
"""So many figures of changes, and of calls that go, are brought at once: Lua reads no more than 8,000 in all. What is
left goes with the next exchange.
"""

BATCH: Final = 64
"""How many calls are asked for at a time."""
AHEAD_US: Final = 20_000
"""How far ahead calls are reserved beyond the first that waits: two of the longest round trips within a rack."""
PLACE_EVERY_US: Final = 100_000
"""Who is in line for a place and can't be called asks again so often."""
DEAF_US: Final = 60_000_000
"""How long a process whose bell was not heard goes without one."""
STALE_US: Final = 500_000
"""A ticket that is so late for its instant is reserved anew."""
LESSON_EVERY_US: Final = 50_000
"""What was learned is told so often at most."""
PRESENCE_EVERY_US: Final = 1_000_000
"""A process that exchanges anything shows itself so often."""
BEAT_EVERY_US: Final = 2_000_000
"""A process that holds leases or has calls out shows itself so often; less than the transition's `BEAT_US`."""
KEEP_WINDOWS: Final = 2
KEEP_LEAST_US: Final = 600_000_000


@dataclass(slots=True)
class Reserved:
    """A reservation: when the ticket may go by our clock, its lease, and what it is charged."""

    at_us: int
    lease: int
    amounts: tuple[int, ...]


@dataclass(slots=True)
class Out:
    """What is out: the exchange, and the tickets that it asks for."""

    exchange: Exchange
    tickets: list[Ticket]


class SharedPool(Pool):
    """One queue of this process in front of lines that other processes share."""

    def __init__(self, name: str, meters: tuple[Meter, ...], *, key: str, process: str, label: str) -> None:
        """Make the pool.

        Args:
            name: as for any pool.
            meters: which tell what to charge, and learn; whether a call may go is not asked of those that have lines.
            key: where the pool is kept.
            process: this process, among those that share it.
            label: what people may call it by.
        """
        super().__init__(name, meters)
        self.key = key
        self.process = process
        self.label = label
        self.clock = StoreClock()
        self.processes = 1
        self.answer: Answer | None = None
        self.bell = ""
        self.news: list[str] = []
        self._out: Out | None = None
        self._unanswered = False
        self._again_at_us = 0
        self._at_once: weakref.WeakSet[Any] = weakref.WeakSet()  # those that go at once or not at all
        self.exchanges = 0
        self._reserved: dict[Ticket, Reserved] = {}
        self._charged: weakref.WeakKeyDictionary[Any, tuple[int, ...]] = weakref.WeakKeyDictionary()
        self._changes: list[Change] = []
        self._sent: list[Sent] = []
        self._held: tuple[list[Change], list[Sent], Sequence[StoredLine]] = ([], [], ())  # until the store is back
        self._pause_until_us = 0
        self._shown_at_us = -NEVER
        self._told_anchor_us = -NEVER
        self._told_at_us = -NEVER
        self._told_holds = 0
        self._no_place_until_us = 0
        self._in_line = False  # for a place
        self._was_called = False  # since the last exchange was composed
        self._comes_uncalled = False
        self._hears_at_us = 0
        self._leaves = self._has_left = False
        self._joined = False
        self._digest = ""
        self._spent: Sequence[StoredLine] = ()
        self._define()

    # what is decided elsewhere

    def try_take(self, now_us: int, ticket: Ticket) -> bool:
        """Never at once: whether a call may go is known after a round trip."""
        if not ticket.number:
            self._number += 1
            ticket.number = self._number
        return False

    def ask_at_once(self, now_us: int, ticket: Ticket) -> bool:
        """Have a ticket that is enqueued next go at once or not at all; False if it can't without asking."""
        if self.waiting or now_us < self.paused_until_us or self._full(now_us, ticket, []) is not None:
            return False
        self._no_place_until_us = 0  # what was found then may not be so any more
        self._at_once.add(ticket)
        return True

    def tick(self, now_us: int) -> list[Ticket]:
        if self._is_outdated():
            for ticket in list(self._reserved):
                self._unreserve(ticket)
            self._define()
            self._joined = False
        if self._reserved:
            self._let_go_of_late(now_us)
        return super().tick(now_us)

    def withdraw(self, now_us: int, ticket: Ticket) -> bool:
        was = ticket.state
        if not super().withdraw(now_us, ticket):
            return False
        self._unreserve(ticket)
        if was == ADMITTED:
            self._no_place_until_us = 0
            self._refund(now_us, ticket)
        return True

    def release(self, now_us: int, ticket: Ticket) -> bool:
        self._no_place_until_us = 0
        return super().release(now_us, ticket)

    def refused(self, now_us: int, ticket: Ticket, refusal: Refusal) -> None:
        was = ticket.state
        self._no_place_until_us = 0
        self._pass_time(now_us)
        super().refused(now_us, ticket, refusal)
        if was == ADMITTED:
            given = self._refund(now_us, ticket)
            self._take_rest_of_day(given)

    def answered(self, now_us: int, ticket: Ticket, readings: Sequence[Reading], *, is_error: bool = False) -> None:
        self._pass_time(now_us)
        super().answered(now_us, ticket, readings, is_error=is_error)

    def settle(self, now_us: int, ticket: Ticket, unit: str, amount: Amount) -> None:
        super().settle(now_us, ticket, unit, amount)
        charged = self._charged.get(ticket)
        if charged is None or len(charged) != len(self._lines) * LINES:
            return
        wanted = list(charged)
        for i, lines in enumerate(self._lines):
            if lines.meter.unit == unit and self._is_charged(now_us, ticket, lines):
                wanted[LINES * i : LINES * (i + 1)] = lines.amounts(amount, ticket.row)
        self._change(Change(tuple(was - now for was, now in zip(charged, wanted, strict=True))))
        self._charged[ticket] = tuple(wanted)

    def hold_back(self, now_us: int, ticket: Ticket, pause_us: int, reason: str, *, told: bool) -> None:
        super().hold_back(now_us, ticket, pause_us, reason, told=told)
        self._pause_until_us = max(self._pause_until_us, now_us + pause_us)

    def replace_meters(self, meters: tuple[Meter, ...]) -> None:
        for ticket in list(self._reserved):
            self._unreserve(ticket)
        super().replace_meters(meters)
        self._define()
        self._joined = False

    def foretell(self, now_us: int, model: str, amounts: tuple[Amount, ...]) -> Hold:
        hold = super().foretell(now_us, model, amounts)
        if self.answer is not None and (at_us := self.clock.to_local(self.answer.clock_us)) > hold.ready_at_us:
            return Hold(hold.meter, at_us)
        return hold

    def _hold(self, now_us: int, ticket: Ticket) -> Hold:
        hold = self._pause_hold(now_us)
        reserved = self._reserved.get(ticket)
        if reserved is not None:
            return hold if hold.ready_at_us >= reserved.at_us else Hold(None, reserved.at_us)
        if hold.ready_at_us > now_us:
            return hold
        if self._dated and (full := self._full(now_us, ticket, [])) is not None:
            return Hold(full.name, full.full_at(now_us))
        if now_us < self._no_place_until_us:
            return Hold(self._places.name if self._places is not None else None, self._no_place_until_us)
        return Hold(None, NEVER)

    def _admit(self, now_us: int, ticket: Ticket, waited_us: int) -> None:
        self._pass_time(now_us)
        reserved = self._reserved.pop(ticket)
        super()._admit(now_us, ticket, waited_us)
        if reserved.lease:
            self._sent.append(Sent(reserved.lease, reserved.amounts))
        try:
            self._charged[ticket] = reserved.amounts
        except TypeError:  # a bare ticket can't be remembered; its charge stays
            pass

    @property
    def reservations(self) -> Iterable[Reserved]:
        """The reservations that stand."""
        return self._reserved.values()

    @property
    def definition_known(self) -> tuple[str, str]:
        """Digest and text of the definition that it goes by."""
        return self._digest, self._text

    # what to exchange

    def wants(self, now_us: int) -> bool:
        """Tell whether there is anything to exchange now."""
        if self._out is not None:
            return self._unanswered and self.waiting > 0
        if self._changes or self._sent or self._pause_until_us or self._leaves:
            return True
        if self._has_left and not self.waiting:  # the process ends, and is not to be seen again
            return False
        if self._in_line and not self.waiting:
            return True
        if self._places is not None and self._holds() != self._told_holds:
            return True
        if self._queue and next(self._to_ask(now_us), None) is not None:
            return True
        return self._has_lesson(now_us)

    def needs_beat(self) -> bool:
        """Tell whether others must see now and then that this process lives."""
        if self._has_left and not self.waiting:
            return False
        return bool(self._reserved) or self.under_way > 0 or self.waiting > 0

    def beat_due(self, now_us: int) -> bool:
        """Tell whether it is time to be seen, or to bring again what the store did not answer."""
        if self._out is not None:
            return self._unanswered and now_us >= self._again_at_us
        return self.needs_beat() and now_us >= self._shown_at_us + BEAT_EVERY_US

    def compose(self, now_us: int) -> Exchange | None:
        """Say what to send. Until its answer was taken, the same is said again."""
        if self._out is not None:
            return self._out.exchange
        if not self.wants(now_us) and not self.beat_due(now_us):
            return None
        tickets = list(self._to_ask(now_us, anyway=True)) if not self._leaves else []
        most = MOST_FIGURES // (1 + LINES * len(self._lines))
        changes, left = self._changes[:most], self._changes[most:]
        # a lesson reckons with all changes
        lesson = self._lesson(now_us) if not left and self._has_lesson(now_us) else None
        shows = now_us >= self._shown_at_us + PRESENCE_EVERY_US
        if shows:
            self._shown_at_us = now_us
        self.exchanges += 1
        exchange = Exchange(
            process=self.process,
            number=self.exchanges,
            digest=self._digest,
            version=self.answer.version if self.answer is not None else 0,
            asks=tuple(self._ask(now_us, ticket) for ticket in tickets),
            changes=tuple(changes),
            sent=tuple(self._sent[:most]),
            lesson=lesson,
            pause_until_us=self.clock.to_store(self._pause_until_us) if self._pause_until_us else 0,
            presence=self._presence() if shows else None,
            definition=None if self._joined else self._definition(now_us, tickets),
            ahead_us=AHEAD_US,
            keep_us=self._keep_us,
            places=self._most(),
            holds=self._holds(),
            bell=self.bell,
            leaves=self._leaves and not changes and not self._sent,  # by itself, as it may be carried out twice
            resets=tuple([meter.day_at(now_us) for meter in self._dated]) if self._dated else (),
        )
        self._has_left = exchange.leaves or (self._has_left and not tickets)
        if self._has_left and not exchange.leaves:
            self._leaves = True  # once more, as it has shown itself
        if exchange.leaves:
            self._leaves, self._shown_at_us = False, -NEVER  # who comes back after all shows itself again
        self._comes_uncalled = self._in_line and 0 < self._no_place_until_us <= now_us
        self._in_line = self._was_called = False  # but for what the answer says, and who calls meanwhile
        self._told_holds = exchange.holds
        self._changes, self._sent, self._pause_until_us = left, self._sent[most:], 0
        self._out = Out(exchange, tickets)
        return exchange

    def take_answer(self, now_us: int, answer: Answer, sent_us: int, received_us: int) -> None:
        """Take what came back. The gate is to be ticked afterwards."""
        out, self._out, self._unanswered = self._out, None, False
        if out is None:
            return
        self.clock.see(sent_us, answer.now_us, received_us)
        if answer.status != READY:
            self._put_back(out)
            self._not_ready(now_us, answer)
            return
        self._joined = True
        self.processes = max(1, answer.processes)
        self._take_lines(now_us, out.exchange, answer)
        if answer.pause_until_us > answer.now_us:
            self.pause(self.clock.to_local(answer.pause_until_us), "a pause that another process was told to make")
        self.answer = answer
        for ticket, ask, grant in zip(out.tickets, out.exchange.asks, answer.grants, strict=False):
            self._take_grant(now_us, ticket, ask, grant)
        self._told_holds += sum([grant.at_us >= 0 for grant in answer.grants])
        if self.bell and self._comes_uncalled and self._told_holds > out.exchange.holds:
            self.hear(now_us, "")  # a place was free, and nobody rang
        untried = out.tickets[len(answer.grants) :]
        if untried and not any(grant.lease for grant in answer.grants):  # no place was free, or no more is left today
            for ticket in [ticket for ticket in untried if ticket.state == WAITING]:
                if ticket in self._at_once:
                    self._turn_away(now_us, ticket)
                elif answer.full:
                    self._in_line = True
            self._no_place_until_us = now_us + (BEAT_EVERY_US if self.bell and self._in_line else PLACE_EVERY_US)
        if self._was_called or self.bell in answer.called:
            self._no_place_until_us = 0

    def wants_bell(self, now_us: int) -> bool:
        """Tell whether it would be of use if others could call this process."""
        return self._in_line and not self.bell and now_us >= self._hears_at_us

    def hear(self, now_us: int, bell: str) -> None:
        """From now on others call by this bell; "": nobody does, for a while."""
        self.bell = bell
        if bell:
            self.come()
        else:
            self._hears_at_us = now_us + DEAF_US
            self._no_place_until_us = min(self._no_place_until_us, now_us + PLACE_EVERY_US)

    def come(self) -> None:
        """Another process calls: a place may be free, though the answer that is under way will say that none was."""
        self._no_place_until_us = 0
        self._was_called = True

    @property
    def leaves(self) -> bool:
        """Whether this process ends, and the store doesn't know yet."""
        return self._leaves or (self._out is not None and self._out.exchange.leaves)

    def leave(self) -> None:
        """This process ends: reservations are given back, and the store forgets it with the next exchange."""
        if self.exchanges and not self._has_left:
            for ticket in list(self._reserved):
                self._unreserve(ticket)
            self._leaves = True

    def give_up(self) -> Out | None:
        """Another store answers from now on: what is out is asked anew there, and reservations that stand are charges
        without a lease. Returns what was out, to find out later what became of it.
        """
        out, self._out, self._unanswered = self._out, None, False
        held = [change for change in self._changes if change.lease]
        self._changes = [change for change in self._changes if not change.lease]
        sent = self._sent + self._end_leases()
        self._held, self._sent = (held, sent, self._spent), []
        return out

    def come_back(self, lost: Out | None, answer: Answer | None, charged: tuple[int, ...]) -> None:
        """The store answers again: tell it what was held, give back what it granted too late, and charge what was sent
        past it.

        Args:
            lost: what was out when it went away.
            answer: what the store says about that now.
            charged: what was charged elsewhere meanwhile, for each line.
        """
        if self._out is not None:
            self._put_back(self._out)
            self._out = None
        self._end_leases()  # the other store's, as are those of the changes; they are charged here like all the rest
        changes = [Change(change.amounts) for change in self._changes]
        held, self._sent, spent = self._held
        self._held = ([], [], ())
        self._changes = held + changes
        if lost is not None and answer is not None and answer.status == READY:
            given = [0] * len(spent)
            for ask, grant in zip(lost.exchange.asks, answer.grants, strict=False):
                if grant.at_us >= 0:
                    self._change(Change(ask.amounts, grant.lease))
                    given = [total - amount for total, amount in zip(given, ask.amounts, strict=False)]
            for change in lost.exchange.changes:
                given = [total + amount for total, amount in zip(given, change.amounts, strict=False)]
            spent = [
                line._replace(spent=(line.spent - amount) % MODULUS) for line, amount in zip(spent, given, strict=False)
            ]
        self._spent = spent
        self._change(Change(tuple(-amount for amount in charged)))

    def _end_leases(self) -> list[Sent]:
        """Make reservations that stand charges without a lease; returns what they were."""
        self._told_anchor_us = self._shown_at_us = -NEVER
        self._told_holds = -1
        ended = []
        for reserved in self._reserved.values():
            if reserved.lease:
                ended.append(Sent(reserved.lease, reserved.amounts))
                reserved.lease = 0
        return ended

    def repeated(self, lost: Out | None) -> Exchange:
        """Make the exchange that finds out whether the store is back, and what became of one whose answer never came:
        the same, but that it asks for nothing if it is the first to arrive.
        """
        if lost is None:
            brought = Exchange(
                self.process,
                self.exchanges,
                self._digest,
                keep_us=self._keep_us,
                places=self._most(),
                holds=self._holds(),
            )
        else:
            brought = replace(lost.exchange, asks=(), lesson=None, definition=None)
        return replace(brought, presence=self._presence())

    def fail(self, now_us: int) -> list[Ticket]:
        """Let everybody who waits go empty-handed; returns them, to be woken."""
        self._unanswered = self._out is not None
        self._again_at_us = now_us + BEAT_EVERY_US
        failed = list(self._everybody())
        for ticket in failed:
            super().withdraw(now_us, ticket)
            self._unreserve(ticket)
        return failed

    def start_anew(self, process: str, label: str) -> None:
        """After a fork this is another process: what was reserved is the parent's."""
        self.process, self.label = process, label
        self._out, self.exchanges = None, 0
        self._reserved.clear()
        self._charged.clear()
        self._changes, self._sent, self._held, self._pause_until_us = [], [], ([], [], ()), 0
        self._shown_at_us, self._unanswered, self._no_place_until_us = -NEVER, False, 0
        self.bell, self._in_line, self._hears_at_us, self._leaves, self._has_left = "", False, 0, False, False

    # inside

    def _leave(self, ticket: Ticket) -> None:
        super()._leave(ticket)
        if not self.waiting:  # whoever comes next finds out anew
            self._no_place_until_us = 0

    def _expire(self, now_us: int) -> list[Ticket]:
        expired = super()._expire(now_us)
        for ticket in expired:
            self._unreserve(ticket)
        return expired

    def _let_go_of_late(self, now_us: int) -> None:
        for ticket, reserved in list(self._reserved.items()):
            if now_us > max(reserved.at_us, self.paused_until_us) + STALE_US or (
                self.paused_until_us > now_us and self.paused_until_us > reserved.at_us + STALE_US
            ):
                self._unreserve(ticket)

    def _define(self) -> None:
        found = [lines for meter in self.meters if (lines := lines_of(meter)) is not None]
        self._lines: list[MeterLines] = found
        self._locals = tuple(meter for meter in self.meters if lines_of(meter) is None)
        self._dated = tuple(lines.meter for lines in found if isinstance(lines, DatedLines))
        self._places = next((meter for meter in self._locals if isinstance(meter, InFlightMeter)), None)
        self._spent = ()
        self._limits = [lines.meter.limit for lines in found]
        windows = [lines.meter.window_s for lines in found]
        self._keep_us = max(KEEP_LEAST_US, *(round(KEEP_WINDOWS * window_s * 1e6) for window_s in windows), 0)
        self._text = json.dumps([self.name.partition("@")[0], *(_told(lines) for lines in found)])
        digest = hashlib.sha256(self._text.encode()).hexdigest()[:16]
        if digest != self._digest:  # what these speak of is gone, or has another scale
            self._changes, self._sent, self._held = [], [], ([], [], ())
            self._charged.clear()
        self._digest = digest

    def _is_outdated(self) -> bool:
        """Tell whether a limit was changed here: by its file, or by the server to more than its lines can hold."""
        for i, lines in enumerate(self._lines):
            limit, known = lines.meter.limit, self._limits[i]
            if limit != known and (
                lines.meter.origin != "server" or (limit > known and limit * lines.scale.grains >= LARGEST)
            ):
                return True
        return False

    def _definition(self, now_us: int, tickets: list[Ticket]) -> Definition:
        """Define the pool. Who asks first may go first, where nobody queues behind."""
        lines = []
        for meter_lines in self._lines:
            first = self._amount(tickets[0], meter_lines) if tickets else 0
            lines += meter_lines.define(now_us, first, self.waiting > 1)
        return Definition(self._digest, self._text, tuple(lines))

    def _presence(self) -> Presence:
        return Presence(self.label, self.waiting, self.under_way, self.admitted, self.refused_calls)

    def _to_ask(self, now_us: int, *, anyway: bool = False) -> Iterator[Ticket]:
        """Find those in front that are to be reserved now. Where there is an exchange `anyway`, the first in line asks
        though there seems to be no place for it, nor any more today: so it stays in line, and learns what others gave
        back.
        """
        is_called = now_us >= self._no_place_until_us
        if now_us < self.paused_until_us or not (is_called or anyway):
            return
        if self._reserved:
            passed_over = {ticket for tickets in self._aside.values() for ticket in tickets}
            for ticket, reserved in self._reserved.items():
                if reserved.at_us > now_us + AHEAD_US and ticket not in passed_over:
                    return
        asked: list[Ticket] = []
        most = BATCH if is_called and not self._breaker.probing else 1
        for ticket in self._queue:
            if ticket.state != WAITING or ticket in self._reserved:
                continue
            if len(asked) >= most:
                return
            if self._dated and not (anyway and not asked) and self._full(now_us, ticket, asked) is not None:
                return
            asked.append(ticket)
            yield ticket

    def _amount(self, ticket: Ticket, lines: MeterLines) -> Amount:
        for meter, amount in zip(self.meters, ticket.amounts, strict=True):
            if meter is lines.meter:
                return amount
        return 0

    def _ask(self, now_us: int, ticket: Ticket) -> Ask:
        amounts: list[int] = []
        for lines in self._lines:
            amounts += lines.amounts(self._amount(ticket, lines), ticket.row)
        if self._at_once and ticket in self._at_once:
            return Ask(tuple(amounts), 0)
        return Ask(tuple(amounts), max(0, ticket.deadline_us - now_us) if ticket.deadline_us < NEVER else -1)

    def _full(self, now_us: int, ticket: Ticket, asked: list[Ticket]) -> ResetMeter | None:
        """Find the meter of the calendar that is known to have no room for a ticket."""
        for meter in self._dated:
            place = self.meters.index(meter)
            meter.day_at(now_us)  # there may be a new one
            taken = meter.taken + sum(
                other.amounts[place] for other in (*self._reserved, *asked) if other is not ticket
            )
            if min(ticket.amounts[place], meter.limit) > meter.limit - taken:
                return meter
        return None

    def _most(self) -> int:
        """Tell how many calls of all processes may have a place; 0 where there are no places."""
        return max(1, int(self._places.limit)) if self._places is not None else 0

    def _holds(self) -> int:
        """Count the calls of this process that have a place."""
        return int(self._places.taken) + len(self._reserved) if self._places is not None else 0

    def _pass_time(self, now_us: int) -> None:
        for lines in self._lines:
            lines.pass_time(now_us)

    def _take_lines(self, now_us: int, exchange: Exchange, answer: Answer) -> None:
        """See what others charged."""
        before, self._spent = self._spent, answer.lines
        granted = [ask for ask, grant in zip(exchange.asks, answer.grants, strict=False) if grant.at_us >= 0]
        first_us = next((grant.at_us for grant in answer.grants if grant.at_us >= 0), answer.clock_us)
        to_us = self.clock.to_local(first_us)
        from_us = self.clock.to_local(self.answer.clock_us) if self.answer is not None else to_us
        comparable = len(before) == len(answer.lines)
        for i, lines in enumerate(self._lines):
            place = LINES * i + MAIN
            main = answer.lines[place]
            foreign = charged = 0
            if lines.follows_others and comparable:
                charged = self._foreign(before, answer, exchange, granted, place)
                foreign = self._foreign(before, answer, exchange, granted, LINES * i + COUNT)
            ahead = sum([ask.amounts[place] for ask in granted])
            if self._reserved:
                ahead += sum([reserved.amounts[place] for reserved in self._reserved.values()])
            at_us = self.clock.to_local(main.at * main.tick_us)
            lines.sync(now_us, Seen(main.level + ahead, at_us, foreign, charged, from_us, to_us, main.at))

    def _foreign(
        self, before: Sequence[StoredLine], answer: Answer, exchange: Exchange, granted: list[Ask], line: int
    ) -> int:
        """Tell what others charged on a line between two answers."""
        total = spent_between(before[line].spent, answer.lines[line].spent)
        mine = sum([ask.amounts[line] for ask in granted])
        return total - mine + sum([change.amounts[line] for change in exchange.changes])

    def _take_grant(self, now_us: int, ticket: Ticket, ask: Ask, grant: Grant) -> None:
        if grant.at_us < 0:
            if ticket.state == WAITING:  # it would go too late; its deadline is now
                self._turn_away(now_us, ticket)
            return
        reserved = Reserved(self.clock.to_local(grant.at_us), grant.lease, ask.amounts)
        self._reserved[ticket] = reserved
        if ticket.state != WAITING:
            self._unreserve(ticket)

    def _turn_away(self, now_us: int, ticket: Ticket) -> None:
        ticket.deadline_us = now_us
        heappush(self._deadlines, (now_us, ticket.number, ticket))

    def _not_ready(self, now_us: int, answer: Answer) -> None:
        if answer.status == WANTED:  # forgotten, because nobody came for long
            self.answer, self._spent, self._joined = None, (), False
        elif answer.status == OTHER and answer.definition is not None:
            self._adopt(now_us, *answer.definition)

    def _adopt(self, now_us: int, digest: str, text: str) -> None:
        """Another process, which came later, defines the pool otherwise: go by what it says."""
        told = {entry["name"]: entry for entry in json.loads(text)[1:]}
        known = {meter.name: meter for meter in self.meters}
        meters: list[Meter] = []
        for name, entry in told.items():
            meter = known.get(name)
            if meter is None:
                meter = _meter_told(now_us, name, entry)
            elif meter.limit != entry["limit"] and meter.origin != "server":
                self.news.append(
                    f"another process, started later, has a {name} of {entry['limit']:,g} where this one has "
                    f"{meter.limit:,g}; that one holds"
                )
                meter.adopt(now_us, entry["limit"], "user")
            meters.append(meter)
        self.replace_meters((*meters, *self._locals))
        for lines in self._lines:
            entry = told[lines.meter.name]
            lines.scale = Scale(entry["grains"], entry["tick_us"])
        self._digest, self._text, self._joined = digest, text, True

    def _put_back(self, out: Out) -> None:
        """What an exchange brought besides calls is brought again with the next one."""
        self._changes = [*out.exchange.changes, *self._changes]
        self._sent = [*out.exchange.sent, *self._sent]
        if out.exchange.pause_until_us:
            self._pause_until_us = max(self._pause_until_us, self.clock.to_local(out.exchange.pause_until_us))
        self._shown_at_us = -NEVER

    def _unreserve(self, ticket: Ticket) -> None:
        reserved = self._reserved.pop(ticket, None)
        if reserved is not None:
            self._change(Change(reserved.amounts, reserved.lease))

    def _refund(self, now_us: int, ticket: Ticket) -> list[int]:
        """Give back what a call was charged; returns that, for each line."""
        given = [0] * LINES * len(self._lines)
        charged = self._charged.pop(ticket, None)
        if charged is not None:
            for i, lines in enumerate(self._lines):
                if self._is_charged(now_us, ticket, lines):
                    given[LINES * i : LINES * (i + 1)] = charged[LINES * i : LINES * (i + 1)]
            self._change(Change(tuple(given)))
        return given

    def _is_charged(self, now_us: int, ticket: Ticket, lines: MeterLines) -> bool:
        """Tell whether a call that went is still charged to a meter: not where that was filled again meanwhile."""
        if not isinstance(lines, DatedLines):
            return True
        marks = [mark for meter, mark in zip(ticket.meters, ticket.marks, strict=True) if meter is lines.meter]
        return bool(marks) and lines.meter.took_today(now_us, marks[0])

    def _take_rest_of_day(self, given: list[int]) -> None:
        """Where a server has refused a call for the day's limit, let no other process find that out by itself."""
        for i, lines in enumerate(self._lines):
            if isinstance(lines, DatedLines) and lines.meter.taken >= lines.meter.limit and self._spent:
                rest = [0] * LINES * len(self._lines)
                rest[LINES * i + MAIN] = -max(0, self._spent[LINES * i + MAIN].level + given[LINES * i + MAIN])
                self._change(Change(tuple(rest)))

    def _change(self, change: Change) -> None:
        if any(change.amounts) and len(change.amounts) == LINES * len(self._lines):
            self._changes.append(change)

    # what was learned

    def _anchor_us(self) -> int:
        return max((lines.anchor_us() for lines in self._lines), default=-NEVER)

    def _has_lesson(self, now_us: int) -> bool:
        due = now_us >= self._told_at_us + LESSON_EVERY_US and self.answer is not None
        return due and self._anchor_us() > self._told_anchor_us

    def _lesson(self, now_us: int) -> Lesson | None:
        anchor_us = self._anchor_us()
        if self.answer is None or anchor_us == -NEVER or len(self._spent) != LINES * len(self._lines):
            return None
        self._told_anchor_us, self._told_at_us = anchor_us, now_us
        self._pass_time(now_us)
        told: list[LessonLine] = []
        spent: list[int] = []
        for i, lines in enumerate(self._lines):
            stored = self._spent[LINES * i : LINES * (i + 1)]
            mine = lines.lesson(now_us, stored[MAIN])
            told += mine or [LessonLine(line.rate, line.capacity) for line in stored]
            for j, line in enumerate(stored):
                pending = sum(reserved.amounts[LINES * i + j] for reserved in self._reserved.values())
                pending += lines.coming() if j == MAIN else 0
                given = sum(change.amounts[LINES * i + j] for change in self._changes)
                spent.append((line.spent - pending - given) % MODULUS)
        return Lesson(
            self.clock.to_store(anchor_us), self.clock.to_store(now_us), tuple(told), tuple(spent), self._taught(now_us)
        )

    def _taught(self, now_us: int) -> str:
        """Write what people want to know of what was learned."""
        told = {}
        for lines in self._lines:
            known = lines.meter.snapshot(now_us)
            told[known.name] = {
                "limit": known.limit,
                "mode": getattr(known, "mode", "exact"),
                "others_per_s": round(getattr(known, "others_per_s", 0.0), 6),
                "cushion": round(getattr(known, "cushion", 0.0), 3),
            }
        return json.dumps(told)


def _meter_told(now_us: int, name: str, entry: dict[str, Any]) -> Meter:
    """Make a meter that only another process knows. When its day ends, where it has one, that process has to tell."""
    unit, limit, window_us = entry["unit"], entry["limit"], entry["window_us"]
    if entry["dated"]:
        return ResetMeter(
            name, unit, limit, lambda _: NEVER, window_s=window_us / 1e6, origin="server", wall_us=lambda _: 0
        )
    return Belief(name, unit, limit, window_us, now_us=now_us, origin="server")


def _told(lines: MeterLines) -> dict[str, Any]:
    meter = lines.meter
    return {
        "dated": isinstance(lines, DatedLines),
        "name": meter.name,
        "unit": meter.unit,
        "limit": meter.limit,
        "window_us": round(meter.window_s * 1e6),
        "grains": lines.scale.grains,
        "tick_us": lines.scale.tick_us,
    }
