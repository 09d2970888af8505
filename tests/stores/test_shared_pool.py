"""One process's pool by itself: what it brings to the store, and when."""

from __future__ import annotations

import pytest

from tests.stores.support import KEY, LIMIT, Call, Process
from throttle.pool import ADMITTED, EXPIRED, WAITING
from throttle.stores.conformance import Clock
from throttle.stores.memory import MemoryStore


@pytest.fixture
def process() -> Process:
    """Its bucket is empty."""
    clock = Clock()
    process = Process("one", clock, MemoryStore(clock=clock))
    process.call(LIMIT)
    process.carry()
    return process


def test_what_a_store_did_not_answer_is_brought_again_though_nobody_waits(process: Process) -> None:
    process.call(10)
    process.carry(arrives=False)
    assert len(process.pool.fail(process.clock())) == 1
    process.run(1.5)
    assert process.pool._out is not None
    process.run(1)
    assert process.pool._out is None


def test_calls_that_go_at_once_or_not_at_all_are_each_marked(process: Process) -> None:
    calls = [Call(process.pool, "m", (1,)) for _ in range(2)]
    for call in calls:
        assert process.pool.ask_at_once(process.clock(), call)
    for call in calls:
        process.pool.enqueue(process.clock(), call)
    brought = process.pool.compose(process.clock())
    assert brought is not None
    assert [ask.within_us for ask in brought.asks] == [0, 0]


def test_a_call_whose_time_is_up_while_its_pool_pauses_gives_its_reservation_back(process: Process) -> None:
    call = process.call(100, within_us=1_100_000)
    process.carry()
    assert call.state == WAITING
    assert len(list(process.pool.reservations)) == 1
    process.pool.pause(process.clock() + 1_200_000, "a test")
    process.clock.now_us += 1_100_000
    process.pool.tick(process.clock())
    assert call.state == EXPIRED
    process.carry()
    assert process.store.pools[KEY].leases == {}


def who_holds_and_who_waits() -> tuple[Process, Call, Process]:
    """Make two processes that share one place: the first holds it with a call, the second has a bell."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    one, two = (Process(name, clock, store, places=1) for name in ("one", "two"))
    held = one.call(1)
    one.carry()
    two.pool.hear(clock(), "bell")
    return one, held, two


def test_who_is_called_before_it_knows_that_no_place_was_free_asks_again() -> None:
    one, held, two = who_holds_and_who_waits()
    clock, store = one.clock, one.store
    two.call(1)
    brought = two.pool.compose(clock())
    assert brought is not None
    (answer,) = store.exchange([(KEY, brought)])
    one.pool.release(clock(), held)
    one.carry()  # which calls it
    two.pool.come()
    two.pool.take_answer(clock(), answer, clock(), clock())
    assert two.pool.wants(clock())


def test_a_process_that_has_left_is_not_seen_again_unless_it_calls() -> None:
    clock = Clock()
    process = Process("one", clock, MemoryStore(clock=clock), places=2)
    process.call(1)
    process.carry()
    process.pool.leave()
    process.run(5)
    state = process.store.pools[KEY]
    assert (state.processes, state.holds, state.replies) == ({}, {}, {})
    process.pool.leave()
    assert not process.pool.wants(clock())
    late = process.call(1)
    process.carry()
    assert late.state == ADMITTED
    assert list(process.store.pools[KEY].processes) == ["one"]


def test_who_comes_after_a_call_that_found_no_place_and_gave_up_asks_at_once() -> None:
    one, held, two = who_holds_and_who_waits()
    clock, store = one.clock, one.store
    given_up = two.call(1)
    two.carry()
    two.pool.withdraw(clock(), given_up)
    two.carry()
    assert store.pools[KEY].line == {}
    one.pool.release(clock(), held)
    one.carry()
    late = two.call(1)
    two.carry()
    assert late.state == ADMITTED
