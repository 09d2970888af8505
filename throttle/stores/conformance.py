"""The suite that every store has to pass: random exchanges, answered as the pure transition answers them, exactly.

For a store of your own:

    from throttle.stores.conformance import check_store

    def test_my_store():
        check_store(lambda clock: MyStore(clock=clock), seeds=range(50))

`clock` returns whole microseconds and stands in for the store's own time.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace

from throttle.stores.memory import MemoryStore
from throttle.stores.protocol import (
    DATED,
    MODULUS,
    OTHER,
    READY,
    WANTED,
    Answer,
    Ask,
    Change,
    Definition,
    Exchange,
    Lesson,
    LessonLine,
    Line,
    Presence,
    Sent,
    Store,
)
from throttle.stores.transition import DEAD_MOST, LEASE_US

__all__ = ["Clock", "check_store", "script"]

START_US = 1_790_000_000_000_000
MINUTE_US, DAY_US = 60_000_000, 86_400_000_000


class Clock:
    """A clock that is set by hand, in whole microseconds."""

    def __init__(self, now_us: int = START_US) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us


def check_store(make: Callable[[Callable[[], int]], Store], *, seeds: Iterable[int], steps: int = 60) -> None:
    """Play random exchanges on a store and on the model side by side.

    Args:
        make: makes the store, given its clock. Each seed uses a key of its own, so it may be the same store again.
        seeds: which sequences to play.
        steps: how many exchanges each has.

    Raises:
        AssertionError: they differ; the text says in which exchange of which seed, and how.
    """
    clock = Clock()
    store, model = make(clock), MemoryStore(clock=clock)
    try:
        for seed in seeds:
            clock.now_us = START_US
            for step, (key, brought) in enumerate(script(seed, steps, clock, model)):
                (wanted,) = model.exchange([(key, brought)])
                (got,) = store.exchange([(key, brought)])
                _compare(seed, step, brought, wanted, got)
        clock.now_us = START_US
        for step, (key, brought) in enumerate(_crowd(clock)):
            (wanted,) = model.exchange([(key, brought)])
            (got,) = store.exchange([(key, brought)])
            _compare(-1, step, brought, wanted, got)
    finally:
        store.close()


def script(seed: int, steps: int, clock: Clock, model: MemoryStore) -> Iterable[tuple[str, Exchange]]:
    """Make one sequence of exchanges, advancing the clock between them; it looks at the model to hit what matters."""
    draw = random.Random(seed)
    key = f"conformance-{seed}-{draw.randrange(1 << 40):x}"
    definitions = [_definition(draw, name) for name in "abc"]
    known = definitions[0]
    places = draw.choice((0, 0, 1, 4, 8))
    numbers: dict[str, int] = {}
    for _ in range(steps):
        clock.now_us += draw.choice((0, 1, 7, 999, 40_000, 1_000_001, 3_000_000, 11_000_000, 601_000_000))
        if draw.random() < 0.04:
            clock.now_us -= draw.choice((1, 500_000, 1_000_000, 1_000_001, 60_000_000))
        state = model.pools.get(key)
        if state is None or draw.random() < 0.03:
            known = draw.choice(definitions)
        process = draw.choice(("p1", "p2", "p3"))
        repeats = draw.random() < 0.1
        numbers[process] = number = numbers.get(process, 0) + (0 if repeats else 1)
        width = len(known.lines)
        amount = _amounts(draw, known)
        leases = sorted(state.leases) if state is not None else []
        version = state.version if state is not None and draw.random() < 0.7 else 0
        brought = Exchange(
            process=process,
            number=max(1, number),
            digest=known.digest,
            version=version,
            asks=tuple(Ask(amount(), draw.choice((-1, -1, 0, 50_000))) for _ in range(draw.choice((0, 1, 1, 2, 5)))),
            changes=tuple(
                Change(
                    tuple(draw.choice((1, -1)) * value for value in amount()),
                    draw.choice([0, *leases, 999]),
                )
                for _ in range(draw.choice((0, 0, 0, 1, 3)))
            ),
            sent=tuple(Sent(lease, amount()) for lease in draw.sample([*leases, 998], draw.choice((0, 0, 0, 1)))),
            pause_until_us=draw.choice((0, 0, 0, 0, 0, 0, clock.now_us + draw.choice((0, 30_000, 2_000_000)))),
            presence=draw.choice((None, Presence("a host:1", 3, 2, 100, draw.choice((0, 1))))),
            ahead_us=draw.choice((0, 50_000)),
            places=places if draw.random() < 0.9 else 0,
            holds=draw.choice((0, 0, 1, 2, 5)),
            bell=draw.choice(("", f"here/{process}")),
            leaves=draw.random() < 0.05,
            resets=tuple(
                (clock.now_us + draw.choice((0, 0, 0, DAY_US))) // DAY_US * (DAY_US // MINUTE_US)
                for line in known.lines
                if line.rate == DATED
            ),
        )
        if state is not None and len(state.lines) == width and draw.random() < 0.3:
            brought = replace(brought, lesson=_lesson(draw, clock.now_us, known, [line.spent for line in state.lines]))
        if state is None or draw.random() < 0.05:
            brought = replace(brought, definition=known if draw.random() < 0.9 else None)
        if draw.random() < 0.5:  # what has been written must be found again however it came
            brought = replace(brought, presence=Presence("p:2"))
        yield key, brought


def _crowd(clock: Clock) -> Iterable[tuple[str, Exchange]]:
    """Make exchanges of many processes, each of which comes once and is heard of no more, but for some that come back
    and bring the same again.
    """
    draw = random.Random("crowd")
    key = f"conformance-crowd-{secrets.token_hex(5)}"
    known = Definition("crowd", "1", (Line(1, 1, 10**6, 10**6),))
    for number in range(DEAD_MOST + 64):
        brought = Exchange(
            f"p{number}", 1, "crowd", asks=(Ask((1,)),), presence=Presence("p"), definition=known, places=4, holds=1
        )
        yield key, brought
        clock.now_us += draw.choice((0, 0, 0, 1, 50_000, LEASE_US // 20, LEASE_US))
    for number in range(DEAD_MOST + 64):
        yield key, Exchange(f"p{number}", 1, "crowd", asks=(Ask((1,)),), presence=Presence("p"))


def _definition(draw: random.Random, name: str) -> Definition:
    lines: list[Line] = []
    meters = draw.choice((1, 2, 3))
    for _ in range(meters):
        tokens = draw.choice((1, 3, 500, 60_000, 2_000_000, 150_000_000))
        window_us = draw.choice((1_000_000, 60_000_000, DAY_US))
        tick_us = 1
        while tokens * (window_us // tick_us) >= 1 << 46:
            tick_us *= 10
        capacity = tokens * (window_us // tick_us)
        level = draw.choice((0, capacity, capacity // 3, -capacity // 7))
        lines.append(Line(tokens, tick_us, capacity, level))
        lines.append(Line(draw.choice((0, tokens)), tick_us, draw.choice((0, capacity // 120)), 0))
        if draw.random() < 0.3:
            lines.append(Line(DATED, MINUTE_US, 4 * capacity, draw.choice((0, 4 * capacity))))
    return Definition(f"digest-{name}", str(meters), tuple(lines))


def _amounts(draw: random.Random, known: Definition) -> Callable[[], tuple[int, ...]]:
    def one(line: Line) -> int:
        capacity = max(1, line.capacity)
        return draw.choice(
            (0, 1, max(0, line.rate), capacity, capacity + 1, capacity // 2, capacity // 97, 2 * capacity)
        )

    return lambda: tuple(one(line) for line in known.lines)


def _lesson(draw: random.Random, now_us: int, known: Definition, spent: list[int]) -> Lesson:
    lines = []
    for line in known.lines:
        rate = draw.choice((0, line.rate, line.rate, line.rate - line.rate // 2, line.rate + (line.rate > 0)))
        capacity = draw.choice((line.capacity, line.capacity * 9 // 10, 0))
        level = draw.choice((None, capacity, capacity // 2, -capacity // 3, line.capacity))
        lines.append(LessonLine(rate, capacity, level))
    # a publisher knows of less than what was spent since
    known_spent = tuple((value - draw.choice((0, 0, 1, 10**6, -(10**6)))) % MODULUS for value in spent)
    ago = draw.choice((-1000, 0, 5, 1_000_000))
    return Lesson(
        now_us - draw.choice((0, 10, 5_000_000)), now_us - ago, tuple(lines), known_spent, '{"any": "text é"}'
    )


def _compare(seed: int, step: int, brought: Exchange, wanted: Answer, got: Answer) -> None:
    if wanted.status != READY and got.status == wanted.status:
        assert wanted.status in (WANTED, OTHER)
    for name in Answer.__slots__:
        left, right = getattr(wanted, name), getattr(got, name)
        if left != right:
            raise AssertionError(f"seed {seed}, exchange {step}: {name} should be {left!r}, is {right!r}\n{brought}")
