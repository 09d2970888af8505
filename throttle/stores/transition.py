"""The transition: one exchange of a process with the state of a pool. Pure; time is an argument.

This is the definition of what a store does. Stores that compute elsewhere (`exchange.lua`) are a second writing of this
file and are held to it, number by number, by `throttle.stores.conformance`.

The state's `clock_us` is the instant of the latest reservation and may lie in the future. A reservation never goes
before it: so calls go in the order in which they were reserved, whatever process they are of, and a large one isn't
starved by small ones.

A reservation whose instant lies ahead is a *lease*, until the process says that the call was sent. What a process that
died had leased comes back once it hasn't been seen for `LEASE_US`, but for what was due while nobody could have noticed
(`BEAT_US` after it was last seen): that may have been sent, so it stays charged. A lease that is the latest reservation
takes the clock back with it. A process that was only taken for dead says so when it comes back, and what it sends all
the same is charged again.

Places, of which so many calls may have one at a time, come free when a process says so or dies; nobody can tell when.
Who finds none stands in line until its next exchange asks for none. Each in line comes first once, for one call at
least, so that a process which frees places and always has use for them itself leaves the others theirs. Who has a bell
is called when its turn has come: the exchange that finds the place free answers whose bells are to be rung. Who has
none asks again by itself.

A dated line is the limit of a calendar day. When such a day ends is for the processes to know; each brings the number
of the day that it lives in, and with the first of a new day the line is full.

A process that ends and says so is forgotten at once, and what it holds is free.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass, field
from typing import Final

from throttle.bucket import Bucket
from throttle.stores.protocol import (
    DATED,
    MODULUS,
    OTHER,
    READY,
    WANTED,
    Answer,
    Definition,
    Exchange,
    Grant,
    Lesson,
    PoolReport,
    Presence,
    StoredLine,
)

__all__ = ["BEAT_US", "LEASE_US", "PLACE_US", "Lease", "PoolState", "exchange"]

LEASE_US: Final = 10_000_000
"""How long a process may be silent before it is taken for dead."""
BEAT_US: Final = 3_000_000
"""A process that holds a lease shows itself at least this often."""
PLACE_US: Final = 1_000_000
"""Who is in line for a place and doesn't ask for so long leaves the line; who has a bell, once it was rung."""
LINE_US: Final = 5_000_000
"""Who has a bell stays in line for so long without asking."""
FORGET_US: Final = 600_000_000
"""How long it is remembered what a silent process brought last: it may have been answered and not know it."""
DEAD_MOST: Final = 256
"""Of so many silent processes that is remembered, of those that were seen last."""
SWEEP_US: Final = 1_000_000
"""How often the dead are looked for."""
BACK_US: Final = 1_000_000
"""A clock that went back by less than this is waited for, one that went back further is followed."""


@dataclass(slots=True)
class Lease:
    """A reservation that isn't sent yet. `before_us` is where the clock stood before it."""

    process: str
    at_us: int
    before_us: int
    amounts: tuple[int, ...]


@dataclass(slots=True)
class PoolState:
    """All that processes share of one pool."""

    digest: str
    text: str
    now_us: int
    clock_us: int
    lines: list[StoredLine]
    version: int = 0
    anchor_us: int = 0
    lesson: str = ""
    pause_until_us: int = 0
    leases_made: int = 0
    sweep_at_us: int = 0
    processes: dict[str, tuple[int, Presence]] = field(default_factory=dict)
    leases: dict[int, Lease] = field(default_factory=dict)
    replies: dict[str, tuple[int, tuple[Grant, ...]]] = field(default_factory=dict)
    alive: int = 0
    holds: dict[str, int] = field(default_factory=dict)
    line: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Who is in line for a place, in order: until when, and its bell, "" where it has none or was called."""

    def to_json(self) -> str:
        """Write the state as text."""
        return json.dumps(
            [
                self.digest,
                self.text,
                self.now_us,
                self.clock_us,
                self.lines,
                self.version,
                self.anchor_us,
                self.lesson,
                self.pause_until_us,
                self.leases_made,
                self.sweep_at_us,
                {name: [seen_us, *astuple(presence)] for name, (seen_us, presence) in self.processes.items()},
                {
                    number: (lease.process, lease.at_us, lease.before_us, lease.amounts)
                    for number, lease in self.leases.items()
                },
                {name: [number, *grants] for name, (number, grants) in self.replies.items()},
                self.alive,
                self.holds,
                self.line,
            ],
            ensure_ascii=False,
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> PoolState:
        """Read what `to_json` wrote. Raises ValueError, TypeError or IndexError where it is something else."""
        parts = json.loads(text)
        parts[4] = [StoredLine(*line) for line in parts[4]]
        parts[11] = {name: (entry[0], Presence(*entry[1:])) for name, entry in parts[11].items()}
        parts[12] = {
            int(number): Lease(lease[0], lease[1], lease[2], tuple(lease[3])) for number, lease in parts[12].items()
        }
        parts[13] = {name: (entry[0], tuple(Grant(*g) for g in entry[1:])) for name, entry in parts[13].items()}
        parts[16] = {name: (until_us, bell) for name, (until_us, bell) in parts[16].items()}
        return cls(*parts)

    def report(self, key: str, now_us: int) -> PoolReport:
        """Tell the state to people."""
        return PoolReport(
            key=key,
            text=self.text,
            lesson=self.lesson,
            now_us=max(now_us, self.now_us),
            clock_us=self.clock_us,
            pause_until_us=self.pause_until_us,
            lines=tuple(self.lines),
            processes={name: there for name, there in self.processes.items() if there[0] > now_us - LEASE_US},
            leases=len(self.leases),
        )


def exchange(state: PoolState | None, now_us: int, brought: Exchange) -> tuple[PoolState | None, Answer]:
    """Carry out one exchange; returns the state as it is afterwards, which may be the one passed in, changed."""
    if state is None:
        if brought.definition is None:
            return None, Answer(WANTED, now_us)
        state = _new_state(brought.definition, now_us)
    now_us = _follow_clock(state, now_us)
    if state.digest != brought.digest:
        if brought.definition is None or brought.definition.digest != brought.digest:
            return state, Answer(OTHER, now_us, definition=(state.digest, state.text))
        _redefine(state, brought.definition)
    if brought.presence is not None:
        seen_us, _ = state.processes.get(brought.process, (0, None))
        if seen_us <= state.sweep_at_us - SWEEP_US - LEASE_US:  # not counted when they last were
            state.alive += 1
        state.processes[brought.process] = (now_us, brought.presence)
    if now_us >= state.sweep_at_us:
        _sweep(state, now_us)
    number, grants = state.replies.get(brought.process, (0, ()))
    full = False
    called: tuple[str, ...] = ()
    if number != brought.number:
        _change(state, now_us, brought)
        grants, full = _reserve(state, now_us, brought)
        state.replies[brought.process] = (brought.number, grants)
        if brought.leaves:
            _leave(state, brought.process)
        if brought.places:
            called = _call(state, now_us, brought.places)
    return state, _answer(state, now_us, brought.version, grants, full=full, called=called)


def _new_state(definition: Definition, now_us: int) -> PoolState:
    lines = [
        StoredLine(line.rate, line.tick_us, line.capacity, line.level, now_us // line.tick_us, 0)
        for line in definition.lines
    ]
    return PoolState(definition.digest, definition.text, now_us, now_us, lines)


def _follow_clock(state: PoolState, now_us: int) -> int:
    """Tell what time it is, to this state: never earlier than it was, unless the clock was set back."""
    back_us = state.now_us - now_us
    if 0 < back_us <= BACK_US:
        return state.now_us
    if back_us > BACK_US:  # levels stay as they are, nothing was earned
        state.clock_us -= back_us
        state.pause_until_us = max(0, state.pause_until_us - back_us)
        state.anchor_us = min(state.anchor_us, now_us)
        state.sweep_at_us = now_us
        state.lines = [line if line.rate == DATED else line._replace(at=now_us // line.tick_us) for line in state.lines]
        state.leases.clear()
        state.processes.clear()
        state.line.clear()
        state.alive = 0
    state.now_us = now_us
    return now_us


def _redefine(state: PoolState, definition: Definition) -> None:
    """Take another definition over. Lines keep how full they are, in thousandths; what was learned is forgotten."""
    lines = []
    for i, line in enumerate(definition.lines):
        at, level = state.now_us // line.tick_us, line.level
        if i < len(state.lines):
            old = state.lines[i]
            now_level = _bucket(old).level_at(state.now_us // old.tick_us) if old.rate > 0 else old.level
            part = min(1000, max(-1000, now_level // max(1, old.capacity // 1000)))
            level = min(line.capacity, part * (line.capacity // 1000))
        lines.append(StoredLine(line.rate, line.tick_us, line.capacity, level, at, 0))
    state.lines = lines
    state.digest, state.text, state.lesson = definition.digest, definition.text, ""
    state.version += 1
    state.anchor_us = 0
    state.clock_us = state.now_us
    state.leases.clear()


def _sweep(state: PoolState, now_us: int) -> None:
    """Look for processes that died, and take their leases back."""
    dead = {name: seen_us for name, (seen_us, _) in state.processes.items() if seen_us <= now_us - LEASE_US}
    state.alive = len(state.processes) - len(dead)
    latest = sorted(dead, key=lambda name: (-dead[name], name))
    for i, name in enumerate(latest):
        if i >= DEAD_MOST or dead[name] <= now_us - FORGET_US:
            del state.processes[name]
            state.replies.pop(name, None)
    state.holds = {name: held for name, held in state.holds.items() if name in state.processes and name not in dead}
    for number, lease in sorted(state.leases.items(), reverse=True):
        known = lease.process in state.processes
        if known and lease.process not in dead:
            continue
        lapses = lease.at_us > dead.get(lease.process, now_us) + BEAT_US
        if lapses or not known:  # one that stays charged is kept as long as its process may come back and tell of it
            del state.leases[number]
        if lapses:
            _give_back(state, now_us, lease)
    state.sweep_at_us = now_us + SWEEP_US


def _change(state: PoolState, now_us: int, brought: Exchange) -> None:
    """Take note of what was sent, of a new day, of changed charges, of a pause and of what was learned."""
    for number, amounts in brought.sent:
        if state.leases.pop(number, None) is None:
            _give(state, tuple([-amount for amount in amounts]))
    if brought.resets:
        _reset(state, brought.resets)
    for change in brought.changes:
        if not change.lease:
            _give(state, change.amounts)
        elif (lease := state.leases.pop(change.lease, None)) is not None:
            _give_back(state, now_us, lease)
    state.pause_until_us = max(state.pause_until_us, brought.pause_until_us)
    lesson = brought.lesson
    if lesson is not None and lesson.anchor_us > state.anchor_us and len(lesson.lines) == len(state.lines):
        _learn(state, now_us, lesson)


def _reset(state: PoolState, resets: tuple[int, ...]) -> None:
    dated = [i for i, line in enumerate(state.lines) if line.rate == DATED]
    for i, number in zip(dated, resets, strict=False):
        line = state.lines[i]
        if number > line.at:
            reserved = sum([lease.amounts[i] for lease in state.leases.values()])
            state.lines[i] = line._replace(level=line.capacity - reserved, at=number)


def _give_back(state: PoolState, now_us: int, lease: Lease) -> None:
    if lease.at_us == state.clock_us:
        state.clock_us = max(now_us, lease.before_us)
        for i, line in enumerate(state.lines):
            at = state.clock_us // line.tick_us
            if line.rate > 0 and line.at > at:  # what flowed in since is taken back; too much where it was clipped
                level = line.level - min((line.at - at) * line.rate, 2 * line.capacity)
                state.lines[i] = StoredLine(line.rate, line.tick_us, line.capacity, level, at, line.spent)
    _give(state, lease.amounts)


def _give(state: PoolState, amounts: tuple[int, ...]) -> None:
    for i, line in enumerate(state.lines):
        level = min(line.capacity, line.level + amounts[i]) if line.rate else line.level
        spent = (line.spent - amounts[i]) % MODULUS
        state.lines[i] = StoredLine(line.rate, line.tick_us, line.capacity, level, line.at, spent)


def _learn(state: PoolState, now_us: int, lesson: Lesson) -> None:
    """Adopt a lesson: rates and capacities, and levels less what was spent since and more what flowed in."""
    at_us = min(lesson.at_us, max(now_us, state.clock_us))
    for i, (line, told) in enumerate(zip(state.lines, lesson.lines, strict=True)):
        if line.rate == DATED:
            continue
        at, level = line.at, line.level
        if told.level is not None:
            then = at_us // line.tick_us
            level = min(told.level, told.capacity)
            if at > then:
                level = min(told.capacity, level + (at - then) * told.rate)
            else:
                at = then
            since = (line.spent - lesson.spent[i]) % MODULUS
            # it may be less than nothing, where charges were given back
            level -= since if since < MODULUS // 2 else since - MODULUS
        elif told.rate and line.rate:
            # the time so far flowed in at the old rate
            before = _bucket(line)
            before.advance(now_us // line.tick_us)
            at, level = before.at_us, before.level
        elif told.rate:
            at = now_us // line.tick_us
        level = min(level, told.capacity)
        state.lines[i] = StoredLine(told.rate, line.tick_us, told.capacity, level, at, line.spent)
    state.anchor_us = lesson.anchor_us
    state.lesson = lesson.text
    state.version += 1


def _reserve(state: PoolState, now_us: int, brought: Exchange) -> tuple[tuple[Grant, ...], bool]:
    """Reserve calls in order, each at the first instant, not before the latest one, at which every line can pay; and
    tell whether places ran out.
    """
    grants: list[Grant] = []
    buckets = [_bucket(line) if line.rate > 0 else None for line in state.lines]
    free = _free_places(state, now_us, brought) if brought.places else len(brought.asks)
    taken = 0
    full = waits_for_place = False
    for n, ask in enumerate(brought.asks):
        if taken >= free:
            full, waits_for_place = True, any(behind.within_us != 0 for behind in brought.asks[n:])
            break
        if any(
            line.rate == DATED and min(amount, line.capacity) > line.level
            for line, amount in zip(state.lines, ask.amounts, strict=True)
        ):
            break
        at_us = max(now_us, state.clock_us, state.pause_until_us)
        for line, bucket, amount in zip(state.lines, buckets, ask.amounts, strict=True):
            if bucket is not None:
                tick = bucket.ready_at(at_us // line.tick_us, min(amount, bucket.capacity))
                at_us = max(at_us, tick * line.tick_us)
        if 0 <= ask.within_us < at_us - now_us:
            grants.append(Grant(-1, at_us - now_us, 0))
            continue
        for i, (line, bucket, amount) in enumerate(zip(state.lines, buckets, ask.amounts, strict=True)):
            spent = (line.spent + amount) % MODULUS
            level, at = line.level, line.at
            if bucket is not None:
                bucket.take(at_us // line.tick_us, amount)
                level, at = bucket.level, bucket.at_us
            elif line.rate == DATED:
                level -= amount
            state.lines[i] = StoredLine(line.rate, line.tick_us, line.capacity, level, at, spent)
        waits = at_us - now_us > brought.ahead_us
        number = 0
        if waits:
            number = state.leases_made = state.leases_made + 1
            state.leases[number] = Lease(brought.process, at_us, state.clock_us, ask.amounts)
        state.clock_us = at_us
        grants.append(Grant(at_us, at_us - now_us, number))
        taken += 1
        if waits:
            break
    if brought.places:
        state.holds[brought.process] = brought.holds + taken
        if taken or not waits_for_place:
            state.line.pop(brought.process, None)
        if waits_for_place:
            state.line[brought.process] = (now_us + (LINE_US if brought.bell else PLACE_US), brought.bell)
    return tuple(grants), full


def _free_places(state: PoolState, now_us: int, brought: Exchange) -> int:
    """Tell how many places are free for a process: but one for each that is in line before it."""
    state.holds[brought.process] = brought.holds
    state.line = {name: entry for name, entry in state.line.items() if entry[0] > now_us}
    before = list(state.line)
    if brought.process in before:
        before = before[: before.index(brought.process)]
    return brought.places - sum(state.holds.values()) - len(before)


def _leave(state: PoolState, process: str) -> None:
    """Forget a process that ends."""
    there = state.processes.pop(process, None)
    if there is not None and there[0] > state.sweep_at_us - SWEEP_US - LEASE_US:
        state.alive -= 1
    state.replies.pop(process, None)
    state.holds.pop(process, None)
    state.line.pop(process, None)


def _call(state: PoolState, now_us: int, places: int) -> tuple[str, ...]:
    """Call those in line for whom a place is free; returns their bells, each of which is to be rung once."""
    free = places - sum(state.holds.values())
    called = []
    for name in list(state.line)[: max(0, free)]:
        _, bell = state.line[name]
        if bell:
            called.append(bell)
            state.line[name] = (now_us + PLACE_US, "")
    return tuple(called)


def _bucket(line: StoredLine) -> Bucket:
    """Make the bucket of a line: its ticks are the bucket's microseconds, its grains the bucket's."""
    return Bucket(line.rate, 1, at_us=line.at, capacity=line.capacity, level=line.level)


def _answer(
    state: PoolState, now_us: int, version: int, grants: tuple[Grant, ...], *, full: bool, called: tuple[str, ...]
) -> Answer:
    return Answer(
        READY,
        now_us,
        state.clock_us,
        state.version,
        state.pause_until_us,
        state.alive,
        grants,
        tuple(state.lines),
        state.lesson if version != state.version and state.lesson else None,
        full=full,
        called=called,
    )
