"""What a process holds when the store goes away, and what becomes of it: nothing is lost and nothing doubled."""

from __future__ import annotations

import pytest

from throttle.meter import BucketMeter
from throttle.pool import ADMITTED, Ticket
from throttle.shared.lines import COUNT
from throttle.shared.pool import SharedPool
from throttle.shared.standin import StandIn
from throttle.stores.conformance import Clock
from throttle.stores.memory import MemoryStore
from throttle.stores.protocol import Answer

SECOND_US = 1_000_000
LIMIT = 6000
KEY = "k"


class Call(Ticket):
    """A ticket that can be remembered, as permits are."""


class Process:
    """One process's pool, whose exchanges are carried by hand."""

    def __init__(self, name: str, clock: Clock, store: MemoryStore) -> None:
        self.clock = clock
        self.store = store
        meter = BucketMeter(
            "tpm", "tokens", LIMIT, 60 * SECOND_US, now_us=clock(), burst_us=60 * SECOND_US, headroom=0.0, origin="user"
        )
        self.pool = SharedPool("p", (meter,), key=KEY, process=name, label=name)
        self.away: StandIn | None = None

    def call(self, tokens: int) -> Call:
        ticket = Call(self.pool, "m", (tokens,))
        self.pool.enqueue(self.clock(), ticket)
        return ticket

    def carry(self, *, arrives: bool = True, answered: bool = True) -> None:
        """Exchange what there is; it may not arrive, and if it does the answer may be lost."""
        now_us = self.clock()
        brought = self.pool.compose(now_us)
        if brought is None:
            return
        store = self.away or self.store
        answer: Answer | None = None
        if arrives:
            (answer,) = store.exchange([(KEY, brought)])
        if answer is not None and answered:
            self.pool.take_answer(now_us, answer, now_us, now_us)
            self.pool.tick(now_us)

    def lose_store(self) -> None:
        self.away = StandIn(self.clock, open_to_all=False)
        self.away.take_over(self.pool)

    def find_store(self) -> None:
        assert self.away is not None
        lost = self.away.lost[KEY]
        answer = None
        if lost is not None:
            (answer,) = self.store.exchange([(KEY, self.pool.repeated(lost))])
        self.pool.come_back(lost, answer, self.away.charged(KEY))
        self.away = None

    def run(self, seconds: float) -> None:
        """Let time pass for this process alone, at ten looks a second."""
        for _ in range(round(10 * seconds)):
            self.clock.now_us += SECOND_US // 10
            self.look()

    def look(self) -> None:
        self.pool.tick(self.clock())
        if self.pool.wants(self.clock()) or self.pool.beat_due(self.clock()):
            self.carry()


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
