"""What a process holds when the store goes away, and what becomes of it: nothing is lost and nothing doubled."""

from __future__ import annotations

import pytest

from tests.stores.support import KEY, LIMIT, SECOND_US, Process
from throttle.pool import ADMITTED
from throttle.shared.lines import COUNT
from throttle.stores.conformance import Clock
from throttle.stores.memory import MemoryStore


class World:
    """Two processes on one store."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore(clock=self.clock)
        self.one = Process("one", self.clock, self.store)
        self.two = Process("two", self.clock, self.store)

    def run(self, seconds: float) -> None:
        for _ in range(round(10 * seconds)):
            self.clock.now_us += SECOND_US // 10
            self.one.look()
            self.two.look()

    def spent(self) -> float:
        line = self.store.pools[KEY].lines[COUNT]
        return line.spent * LIMIT / self.store.pools[KEY].lines[0].capacity


@pytest.fixture
def world() -> World:
    """The bucket is empty: one call of each process took half of it."""
    world = World()
    calls = [process.call(LIMIT // 2) for process in (world.one, world.two)]
    for process in (world.one, world.two):
        process.carry()
    assert [call.state for call in calls] == [ADMITTED, ADMITTED]
    assert world.spent() == LIMIT
    return world


OUTAGES_S = [2, 9, 12, 40]


@pytest.mark.parametrize("tokens", [200, 3000])  # in 2 s, which may be sent before anybody notices, and in 30 s
@pytest.mark.parametrize("outage_s", OUTAGES_S)
def test_a_call_reserved_before_an_outage_is_charged_once(world: World, outage_s: int, tokens: int) -> None:
    call = world.one.call(tokens)
    world.one.carry()
    world.one.lose_store()
    world.two.call(0)
    world.run(outage_s)
    world.one.find_store()
    world.run(60)
    assert call.state == ADMITTED
    assert world.spent() == LIMIT + tokens


@pytest.mark.parametrize("outage_s", OUTAGES_S)
def test_a_call_given_up_during_an_outage_costs_nothing(world: World, outage_s: int) -> None:
    call = world.one.call(3000)
    world.one.carry()
    world.one.lose_store()
    world.run(outage_s / 2)
    world.one.pool.withdraw(world.clock(), call)
    world.two.call(0)
    world.run(outage_s / 2)
    world.one.find_store()
    world.run(60)
    assert world.spent() == LIMIT


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("outage_s", OUTAGES_S)
def test_what_was_on_its_way_when_the_store_went_is_done_once(world: World, outage_s: int, arrives: bool) -> None:
    waits = world.one.call(300)
    world.one.carry()
    world.run(4)
    assert waits.state == ADMITTED
    world.one.pool.settle(world.clock(), waits, "tokens", 100)
    late = world.one.call(60)
    world.one.carry(arrives=arrives, answered=False)
    world.one.lose_store()
    world.two.call(0)
    world.run(outage_s)
    world.one.find_store()
    world.run(60)
    assert late.state == ADMITTED
    assert world.spent() == LIMIT + 100 + 60


@pytest.mark.parametrize("outage_s", OUTAGES_S)
def test_what_changes_just_before_and_after_an_outage_is_told(world: World, outage_s: int) -> None:
    first, second, given_up = (world.one.call(tokens) for tokens in (300, 400, 3000))
    world.run(5)
    assert first.state == ADMITTED
    world.one.pool.settle(world.clock(), first, "tokens", 200)
    world.run(4)
    assert second.state == ADMITTED
    world.one.carry()
    world.one.pool.withdraw(world.clock(), given_up)
    world.one.lose_store()
    world.two.call(0)
    world.run(outage_s)
    world.one.pool.settle(world.clock(), second, "tokens", 100)
    world.one.find_store()
    world.run(60)
    assert world.spent() == LIMIT + 200 + 100


@pytest.mark.parametrize("outage_s", OUTAGES_S)
def test_an_outage_takes_nothing_from_what_other_processes_reserved(world: World, outage_s: int) -> None:
    theirs = world.two.call(5000)  # in 50 s, under the store's first lease
    world.two.carry()
    world.one.lose_store()
    mine = world.one.call(3000)  # under the stand-in's first one
    world.one.carry()
    world.run(outage_s)
    world.one.find_store()
    world.run(1)
    world.two.pool.withdraw(world.clock(), theirs)
    world.run(90)
    assert mine.state == ADMITTED
    assert world.spent() == LIMIT + 3000


def test_a_process_that_stood_still_pays_for_what_it_then_sends(world: World) -> None:
    call = world.one.call(3000)
    world.one.carry()
    world.two.call(0)
    world.two.run(15)
    assert world.spent() == LIMIT  # taken back from a process that seemed dead
    world.run(30)
    assert call.state == ADMITTED
    assert world.spent() == LIMIT + 3000
