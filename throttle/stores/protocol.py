"""What a store is: a place where one exchange with the state of a pool happens atomically.

All that processes share of a pool is its *state*, and the one thing that is ever done with it is an *exchange*: a
process brings what it wants (calls to reserve, charges to change, what it learned) and takes away what it needs to know
(when its calls may go, what everybody charged). Each exchange is one pure transition, `throttle.stores.transition`,
which a store carries out atomically, at its own time.

Everything is a whole number, so that a store may compute in Python, in Lua or in SQL and come to the same answer:
instants are microseconds of the store's clock, amounts are *grains*. How many grains a token has and how many
microseconds a tick has is up to each line; see `Line`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

__all__ = [
    "DATED",
    "MODULUS",
    "OTHER",
    "READY",
    "WANTED",
    "Answer",
    "Ask",
    "BellStore",
    "Change",
    "Definition",
    "Exchange",
    "Grant",
    "Lesson",
    "LessonLine",
    "Line",
    "PoolReport",
    "Presence",
    "Sent",
    "Store",
    "StoredLine",
]

MODULUS = 1 << 50
"""Sums that only grow count modulo this; differences of two of them are exact."""

DATED = -1
"""The rate of a line that no time fills."""

READY, WANTED, OTHER = 0, 1, 2
"""What became of an exchange: done; the state is missing and its definition wanted; another definition holds."""


@dataclass(frozen=True, slots=True)
class Line:
    """One bucket of a pool, as it is when the pool is new. Every call is charged on all lines at one instant.

    A call may go once its amount is there, or the line is full where it asks for more than that. A line of no capacity
    so spreads calls evenly: each may go as soon as the debt of the one before is paid.

    Attributes:
        rate: grains that flow in each tick; 0 for a line that doesn't count; `DATED` for one that no time fills, but
            a reset does (`Exchange.resets`).
        tick_us: how long a tick is: 1 µs wherever the figures then stay below 2**46.
        capacity: grains that it holds.
        level: grains that are in it.
    """

    rate: int
    tick_us: int
    capacity: int
    level: int


class StoredLine(NamedTuple):
    """A line as it stands: `level` grains at the tick `at`; `spent` counts its charges modulo `MODULUS`. Of a dated
    line, `at` is the number of its latest reset.
    """

    rate: int
    tick_us: int
    capacity: int
    level: int
    at: int
    spent: int


@dataclass(frozen=True, slots=True)
class Definition:
    """What a pool is made of: its lines, and for the processes a text of theirs. Two are the same if their digests
    are."""

    digest: str
    text: str
    lines: tuple[Line, ...]


class Ask(NamedTuple):
    """A call that is to be reserved.

    Attributes:
        amounts: what it is charged, for each line.
        within_us: how many microseconds it may wait at most; below zero for as long as it takes.
    """

    amounts: tuple[int, ...]
    within_us: int = -1


class Change(NamedTuple):
    """A charge that is given back (positive amounts) or added.

    With `lease` set, the reservation of that number is given back, if it still stands.
    """

    amounts: tuple[int, ...]
    lease: int = 0


class Sent(NamedTuple):
    """A lease whose call was sent, or will be whatever becomes of the process: it ends, and stays charged. Where it was
    taken back already, from a process that was taken for dead, the amounts are charged again.
    """

    lease: int
    amounts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LessonLine:
    """What one line is from now on. `level` is None where nothing was learned of it."""

    rate: int
    capacity: int
    level: int | None = None


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a process learned from answers. The one with the newest anchor holds.

    It tells levels outright, at an instant and after everything that `spent` counts, never a difference: however many
    processes see the same drift, it is corrected once.

    Attributes:
        anchor_us: when the newest call left of which the answer is known.
        at_us: the instant of the levels.
        lines: for each line.
        spent: what each line's `spent` was, of which the levels know.
        text: what other processes need, to go on learning from there; stores don't look into it.
    """

    anchor_us: int
    at_us: int
    lines: tuple[LessonLine, ...]
    spent: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Presence:
    """A process shows that it lives. The figures are for people.

    Attributes:
        label: what people may call it by: host and process number.
        waiting: its calls that wait.
        under_way: its calls that are out.
        admitted: calls let through since it started.
        refused: calls that the server refused for their rate.
    """

    label: str
    waiting: int = 0
    under_way: int = 0
    admitted: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a process brings.

    Attributes:
        process: who it is; a fresh random text for each process.
        number: counts its exchanges with this pool. A number that was answered already is answered again and nothing
            is done, so that an exchange whose answer was lost can be repeated.
        digest: the definition it knows.
        version: the lesson it knows.
        asks: calls to reserve, in order. Those after the first that has to wait longer than `ahead_us` aren't tried.
        changes: charges to change.
        sent: leases of calls that go.
        lesson: what it learned.
        pause_until_us: nobody may go before.
        presence: given about once a second.
        definition: given when the last answer was `WANTED`, or to replace the one that holds.
        ahead_us: how far ahead calls are reserved without a lease.
        keep_us: how long the state is kept when nobody comes.
        places: how many calls of all processes may be under way at once; 0 for any number.
        holds: how many of them are this process's, those that are reserved counted in. It is told outright at each
            exchange, so that nothing is to be made good when a process dies or an answer is lost.
        bell: a word by which this process is called when a place comes free for it; "" where it asks again by itself.
        leaves: it ends, and is to be forgotten.
        resets: for each dated line, in order, a number that grows with each of its resets. The first that brings a new
            one finds the line full again, but for what is reserved and not sent yet.
    """

    process: str
    number: int
    digest: str
    version: int = 0
    asks: tuple[Ask, ...] = ()
    changes: tuple[Change, ...] = ()
    sent: tuple[Sent, ...] = ()
    lesson: Lesson | None = None
    pause_until_us: int = 0
    presence: Presence | None = None
    definition: Definition | None = None
    ahead_us: int = 0
    keep_us: int = 3_600_000_000
    places: int = 0
    holds: int = 0
    bell: str = ""
    leaves: bool = False
    resets: tuple[int, ...] = ()


class Grant(NamedTuple):
    """What became of a call that was asked for.

    Attributes:
        at_us: when it may go; -1 where that is too late for it and nothing was charged.
        wait_us: how long that is from the store's now.
        lease: the number of its lease, 0 where it has none because it goes at once.
    """

    at_us: int
    wait_us: int
    lease: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a process takes away.

    Attributes:
        status: `READY`, `WANTED` or `OTHER`; only in the first case was anything done.
        now_us: the store's time.
        clock_us: the instant of the latest reservation of all.
        version: of the lesson that holds.
        pause_until_us: nobody goes before.
        processes: how many live.
        grants: for each call that was tried, in order. Behind one for which a dated line hasn't enough, none is.
        lines: the lines as they stand after the exchange.
        lesson: its text, where it is newer than the one the process knows.
        definition: digest and text of the one that holds, where it is another.
        full: whether a call wasn't tried because no place was free for it. If it may wait, the process is in line for
            one then, until its next exchange asks for nothing.
        called: the bells of those for whom a place came free; whoever gets this answer rings them.
    """

    status: int
    now_us: int = 0
    clock_us: int = 0
    version: int = 0
    pause_until_us: int = 0
    processes: int = 0
    grants: tuple[Grant, ...] = ()
    lines: tuple[StoredLine, ...] = ()
    lesson: str | None = None
    definition: tuple[str, str] | None = None
    full: bool = False
    called: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolReport:
    """The state of one pool, for people.

    Attributes:
        key: where it is kept.
        text: its definition's.
        lesson: its lesson's, "" while there is none.
        now_us: the store's time.
        clock_us: the instant of the latest reservation.
        pause_until_us: nobody goes before.
        lines: as they stand.
        processes: who lives, and when each was last seen.
        leases: how many reservations wait for their instant.
    """

    key: str
    text: str
    lesson: str
    now_us: int
    clock_us: int
    pause_until_us: int
    lines: tuple[StoredLine, ...]
    processes: Mapping[str, tuple[int, Presence]]
    leases: int


class Store(Protocol):
    """A place where pools live. Used by one thread at a time."""

    def exchange(self, wants: Sequence[tuple[str, Exchange]]) -> list[Answer]:
        """Carry out exchanges, each with the pool of a key and each atomically; returns the answers in order.

        Raises StoreError, in one line, when the store can't be used. Some of the exchanges may have happened then.
        """

    def report(self, prefix: str) -> list[PoolReport]:
        """Tell the state of all pools whose key begins so. Raises StoreError."""

    def close(self) -> None:
        """Let go of connections. The store can be used again afterwards."""


@runtime_checkable
class BellStore(Store, Protocol):
    """A store through which processes can call one another, so that nobody has to ask whether a place came free."""

    def hear(self, called: Callable[[str], None]) -> str:
        """Begin to hear, until `close`; returns by what address, a word, or "" where that can't be done.

        `called` is called in a thread of the store's own with what comes after the address's last slash, and with ""
        when it may have missed something.
        """

    def ring(self, bells: Sequence[str]) -> None:
        """Ring bells: addresses, each with a slash and a word after it. Best effort: one that isn't heard costs its
        process a moment, and nothing is raised.
        """
