"""Limits of the calendar day that processes share: one count for all, full again once a day."""

from __future__ import annotations

import pytest

from tests.stores.support import DAY_US, KEY, SECOND_US, Call, Process
from throttle import Limiter
from throttle.feedback.refusals import Refusal
from throttle.pool import ADMITTED, EXPIRED, WAITING
from throttle.stores.conformance import Clock
from throttle.stores.memory import MemoryStore

RPD = 10


class World:
    """Processes that share a limit of ten requests a day, and of more tokens than they use."""

    def __init__(self, *names: str, tpm: int = 60_000) -> None:
        self.clock = Clock()
        self.store = MemoryStore(clock=self.clock)
        self.processes = [Process(name, self.clock, self.store, tpm=tpm, rpd=RPD) for name in names]

    def call(self, place: int, count: int = 1, *, tokens: int = 1) -> list[Call]:
        calls = [self.processes[place].call(tokens) for _ in range(count)]
        for _ in range(3):
            self.look()
        return calls

    def look(self) -> None:
        for process in self.processes:
            process.look()

    def pass_days(self, days: float) -> None:
        self.clock.now_us += round(days * DAY_US)
        for _ in range(3):
            self.look()


def went(calls: list[Call]) -> int:
    return sum(call.state == ADMITTED for call in calls)


def test_one_process_may_use_all_that_others_leave_of_a_day() -> None:
    world = World("one", "two")
    assert went(world.call(1)) == 1
    assert went(world.call(0, 12)) == RPD - 1
    assert went(world.call(1)) == 0


def test_those_behind_go_when_the_day_is_over_and_all_together_no_more_than_that_day_holds() -> None:
    world = World("one", "two")
    calls = world.call(0, 8) + world.call(1, 8)
    assert went(calls) == RPD
    world.pass_days(0.2)
    assert went(calls) == RPD
    world.pass_days(1)
    assert went(calls) == 16
    assert went(world.call(0, 10)) == 4


def test_nobody_asks_again_while_a_day_holds_no_more() -> None:
    world = World("one", "two")
    world.call(0, RPD)
    world.call(1)
    exchanges = world.processes[1].pool.exchanges
    world.processes[1].run(1.5)
    assert world.processes[1].pool.exchanges <= exchanges + 1  # to be seen


def test_what_is_given_back_may_be_used_the_same_day_and_not_the_next() -> None:
    world = World("one", "two")
    first, *others = world.call(0, RPD)
    world.processes[0].pool.withdraw(world.clock(), first)
    world.look()
    assert went(world.call(1, 3)) == 1
    world.pass_days(1)
    for call in others:
        world.processes[0].pool.withdraw(world.clock(), call)
    world.look()
    assert went(world.call(1, 12)) == RPD - 2  # two of those waited for the new day


def test_a_call_that_is_reserved_when_the_day_ends_is_charged_to_the_next() -> None:
    world = World("one", "two", tpm=60)
    world.clock.now_us = (world.clock() // DAY_US + 1) * DAY_US - 5 * SECOND_US
    world.call(0, tokens=60)
    (late,) = world.call(0, tokens=10)
    assert late.state == WAITING
    world.clock.now_us += 20 * SECOND_US
    world.look()
    assert late.state == ADMITTED
    assert went(world.call(1, 12, tokens=0)) == RPD - 1


def test_a_refusal_for_the_day_is_known_to_all() -> None:
    world = World("one", "two")
    (call,) = world.call(0)
    refusal = Refusal("rate", retry=True, unit="requests", window_s=DAY_US / 1e6)
    pool = world.processes[0].pool
    pool.hold_back(world.clock(), call, 1, "a test", told=True)
    pool.refused(world.clock(), call, refusal)
    for _ in range(3):
        world.clock.now_us += 100_000
        world.look()
    assert went(world.call(1)) == 0
    world.pass_days(1)
    assert went(world.call(0, 5)) == 5


def test_a_call_that_goes_at_once_or_not_at_all_does_not_wait_for_the_next_day() -> None:
    world = World("one", "two")
    world.call(0, RPD)
    process = world.processes[1]
    call = Call(process.pool, "m", (1, 1))
    assert process.pool.ask_at_once(world.clock(), call)
    process.pool.enqueue(world.clock(), call)
    world.look()
    world.look()
    assert call.state == EXPIRED


@pytest.mark.parametrize("ahead_us", [DAY_US // 1000, DAY_US // 2])
def test_a_process_whose_clock_is_behind_does_not_bring_the_old_day_back(ahead_us: int) -> None:
    world = World("one", "two")
    behind = Clock((world.clock() // DAY_US) * DAY_US - 1)
    world.clock.now_us = behind() + ahead_us
    world.processes[0].clock = behind
    assert went(world.call(1, 6)) == 6
    late = world.processes[0]
    calls = [late.call(1) for _ in range(6)]
    late.look()
    late.look()
    assert went(calls) == RPD - 6
    behind.now_us += ahead_us
    late.look()
    assert went(calls) == RPD - 6
    assert world.store.pools[KEY].lines[4].level == 0


def test_while_the_store_is_away_each_has_its_share_of_what_is_left() -> None:
    world = World("one", "two")
    world.call(0, 4)
    world.call(1)
    for process in world.processes:
        process.run(3)
    for process in world.processes:
        process.lose_store()
    assert [went(world.call(place, 5)) for place in (0, 1)] == [2, 2]
    for process in world.processes:
        process.find_store()
    world.look()
    assert went(world.call(1, 5)) == 0  # ten of the day are used: what waits comes first
    assert world.store.pools[KEY].lines[4].level <= 0


def test_a_limiter_with_such_a_limit_shares_it() -> None:
    limits = {"rpm": 60_000, "rpd": {"limit": 3, "resets": "00:00 UTC"}}
    store = MemoryStore()
    one, two = Limiter(limits, store=store), Limiter(limits, store=store)
    permits = [limiter.acquire("m", max_wait=10).__enter__() for limiter in (one, two, two)]
    assert one.try_acquire("m") is None
    assert one.snapshot().pools["default"].meters["rpd"].level == 0
    permits[0].cancel()
    assert two.acquire("m", max_wait=10).__enter__() is not None
