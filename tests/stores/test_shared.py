"""Limiters that share a store: what each promises the others."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
import time
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from openai import AsyncOpenAI, OpenAI

import throttle
from tests.stores.support import LIMITS, FlakyStore, eventually, gate_of, quiet
from throttle import Limiter, RequestTooLarge, StoreError, WaitTimeout
from throttle.pool import ADMITTED
from throttle.shared.clock import StoreClock
from throttle.shared.lines import COUNT, LINES
from throttle.simulator import in_thread
from throttle.stores.protocol import Answer


def pair(store: FlakyStore, **more: object) -> tuple[Limiter, Limiter]:
    return Limiter(LIMITS, store=store, **more), Limiter(LIMITS, store=store, **more)  # type: ignore[arg-type]


def spent(store: FlakyStore, meter: int) -> float:
    (state,) = store.inner.pools.values()
    line = state.lines[LINES * meter + COUNT]
    tokens = state.lines[LINES * meter].capacity / LIMITS[("rpm", "tpm")[meter]]
    return line.spent / tokens


def test_two_limiters_share_one_bucket() -> None:
    one, two = pair(FlakyStore())
    with one.acquire("m", tokens=4000):
        pass
    with two.acquire("m", tokens=2000):
        pass
    with pytest.raises(WaitTimeout) as caught:
        one.acquire("m", tokens=1000, max_wait=5).__enter__()
    assert caught.value.ready_in_s is None or 5 < caught.value.ready_in_s <= 10.5


def test_a_call_that_goes_at_once_takes_one_round_trip() -> None:
    store = FlakyStore()
    limiter = Limiter(LIMITS, store=store)
    limiter.acquire("m").__enter__().close()
    quiet(limiter)
    before = store.round_trips
    limiter.acquire("m").__enter__().close()
    quiet(limiter)
    assert store.round_trips == before + 1


def test_a_call_that_waits_asks_once_and_nobody_polls() -> None:
    store = FlakyStore()
    one, two = pair(store)
    one.acquire("m", tokens=6000).__enter__().close()
    with two.acquire("m", tokens=40) as permit:
        assert 0.3 < permit.waited_s < 2
    quiet(two)
    assert store.asked == 2


def test_a_thousand_tasks_go_in_order_and_share_round_trips() -> None:
    store = FlakyStore()
    limiter = Limiter({"rpm": 60_000, "tpm": 6_000_000}, store=store)
    order: list[int] = []

    async def main() -> None:
        async def one(number: int) -> None:
            async with limiter.acquire("m", tokens=10):
                order.append(number)

        with store.lock:  # a round trip is under way while they ask
            tasks = [asyncio.create_task(one(number)) for number in range(1000)]
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert order == list(range(1000))
    assert store.round_trips < 30


def test_a_task_whose_turn_came_while_it_asked_does_not_overtake_those_in_front() -> None:
    """The store answers all who ask at once, before the last of them gets to wait."""

    class Eager(FlakyStore):
        def exchange(self, wants: Any) -> list[Answer]:
            with self.lock:  # until the last one is about to wait
                pass
            return super().exchange(wants)

    store = Eager()
    limiter = Limiter({"rpm": 60_000}, store=store)
    order: list[int] = []
    queue = limiter._queue_in_loop

    def queue_last(permit: Any, loop: asyncio.AbstractEventLoop) -> Any:
        future = queue(permit, loop)
        if permit is last:
            store.lock.release()
            eventually(lambda: permit.state == ADMITTED)
        return future

    limiter._queue_in_loop = queue_last  # type: ignore[method-assign]
    permits = [limiter.acquire("m") for _ in range(10)]
    last = permits[-1]

    async def main() -> None:
        async def one(number: int) -> None:
            async with permits[number]:
                order.append(number)

        store.lock.acquire()
        await asyncio.gather(*(one(number) for number in range(10)))

    asyncio.run(main())
    assert order == list(range(10))


def test_trio_tasks_and_threads_are_served_as_well() -> None:
    limiter = Limiter(LIMITS, store=FlakyStore())

    async def main() -> None:
        async with limiter.acquire("m", tokens=1):
            pass

    trio.run(main)
    thread = threading.Thread(target=lambda: limiter.acquire("m").__enter__().close())
    thread.start()
    thread.join(10)
    assert limiter.snapshot().pools["default"].admitted == 2


def test_a_permit_that_is_cancelled_is_given_back() -> None:
    store = FlakyStore()
    limiter = Limiter(LIMITS, store=store)
    permit = limiter.acquire("m", tokens=3000).__enter__()
    assert spent(store, 1) == 3000
    permit.cancel()
    eventually(lambda: spent(store, 1) == 0)


def test_a_task_that_is_cancelled_while_it_waits_gives_its_reservation_back() -> None:
    store = FlakyStore()
    one, two = pair(store)
    one.acquire("m", tokens=6000).__enter__().close()

    async def main() -> None:
        async def wait() -> None:
            async with two.acquire("m", tokens=5000):
                raise AssertionError("it went")

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        while not gate_of(two).shared._reserved:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    eventually(lambda: spent(store, 1) == 6000)
    with one.acquire("m", tokens=10) as permit:
        assert permit.waited_s < 2  # the clock came back with the reservation


def test_settling_changes_what_others_find() -> None:
    store = FlakyStore()
    one, two = pair(store)
    permit = one.acquire("m", tokens=6000).__enter__()
    permit.settle(tokens=1000)
    permit.close()
    eventually(lambda: spent(store, 1) == 1000)
    with two.acquire("m", tokens=4900, max_wait=0.5):
        pass


def test_a_call_that_a_change_of_limits_overtakes_gives_nothing_back_in_other_units() -> None:
    limiter = Limiter(LIMITS, store=FlakyStore())
    with limiter.acquire("m", tokens=100) as permit:
        quiet(limiter)
        pool = gate_of(limiter).shared
        (tokens,) = (lines.meter for lines in pool._lines if lines.meter.unit == "tokens")
        with limiter._lock:
            tokens.adopt(limiter._clock(), 10 * LIMITS["tpm"], "user")
            pool.tick(limiter._clock())
            pool.settle(limiter._clock(), permit, "tokens", 100)
            assert pool._changes == []


def test_try_acquire_asks_the_store() -> None:
    one, two = pair(FlakyStore())
    assert one.try_acquire("m", tokens=6000) is not None
    assert two.try_acquire("m", tokens=3000) is None
    with pytest.raises(RequestTooLarge):
        two.try_acquire("m", tokens=6001)


def test_a_permit_that_was_had_at_once_and_is_dropped_ends() -> None:
    one, two = in_flight(FlakyStore(), 1)
    permit = one.try_acquire("m")
    assert permit is not None
    del permit
    gc.collect()
    assert two.acquire("m", max_wait=5).__enter__() is not None


def in_flight(store: FlakyStore, limit: int) -> tuple[Limiter, Limiter]:
    limits = {"rpm": 60_000, "max_in_flight": limit}
    return Limiter(limits, store=store), Limiter(limits, store=store)


def test_one_process_may_use_all_places_that_others_leave() -> None:
    one, two = in_flight(FlakyStore(), 3)
    two.acquire("m").__enter__().close()
    permits = [one.acquire("m").__enter__() for _ in range(3)]
    assert two.try_acquire("m") is None
    assert one.try_acquire("m") is None
    permits.pop().close()
    quiet(one)
    assert two.try_acquire("m") is not None


def test_a_call_waits_for_a_place_that_comes_free_in_another_process() -> None:
    one, two = in_flight(FlakyStore(), 1)
    held = one.acquire("m").__enter__()
    done = threading.Event()

    def call() -> None:
        with two.acquire("m"):
            done.set()

    thread = threading.Thread(target=call)
    thread.start()
    eventually(lambda: gate_of(two).shared._no_place_until_us > 0)
    assert not done.is_set()
    held.close()
    thread.join(10)
    assert done.is_set()


def test_a_process_that_always_has_use_for_its_places_leaves_others_theirs() -> None:
    one, two = in_flight(FlakyStore(), 2)
    stop = threading.Event()
    most: list[int] = []
    under_way: set[int] = set()

    def hog() -> None:
        while not stop.is_set():
            with one.acquire("m"):
                under_way.add(threading.get_ident())
                most.append(len(under_way))
                time.sleep(0.001)
                under_way.discard(threading.get_ident())

    threads = [threading.Thread(target=hog) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            with two.acquire("m", max_wait=30):
                pass
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert max(most) <= 2


def test_places_of_a_process_that_goes_past_the_store_are_its_share() -> None:
    store = FlakyStore()
    one, two = in_flight(store, 4)
    for limiter in (one, two):
        limiter.acquire("m").__enter__().close()
        quiet(limiter)
    one.acquire("m").__enter__().close()
    quiet(one)
    store.away = True
    held = [one.acquire("m").__enter__() for _ in range(2)]
    assert one.try_acquire("m") is None
    held[0].close()
    quiet(one)
    assert one.try_acquire("m") is not None


# who carries


class Watched(FlakyStore):
    """Notes in which threads it is used, and can interrupt whoever uses it."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[int] = []
        self.interrupts = False

    def exchange(self, wants: Any) -> list[Answer]:
        answers = super().exchange(wants)
        self.threads.append(threading.get_ident())
        if self.interrupts:
            self.interrupts = False
            raise KeyboardInterrupt
        return answers


def test_a_thread_that_waits_alone_carries_its_call_by_itself() -> None:
    store = Watched()
    limiter = Limiter(LIMITS, store=store)
    limiter.acquire("m").__enter__().close()
    quiet(limiter)
    store.threads.clear()
    for _ in range(20):
        limiter.acquire("m").__enter__().close()
    assert threading.get_ident() in store.threads  # the courier may have looked in between


def test_a_call_with_little_time_leaves_carrying_to_the_courier() -> None:
    store = Watched()
    limiter = Limiter(LIMITS, store=store)
    limiter.acquire("m").__enter__().close()
    quiet(limiter)
    store.threads.clear()
    limiter.acquire("m", max_wait=1).__enter__().close()
    assert threading.get_ident() not in store.threads


def test_while_a_thread_carries_to_a_slow_store_the_time_of_those_behind_it_is_kept() -> None:
    store = FlakyStore()
    limiter = Limiter(LIMITS, store=store)
    limiter.acquire("m").__enter__().close()
    quiet(limiter)

    def call_soon() -> None:
        with contextlib.suppress(WaitTimeout):
            limiter.acquire("m", max_wait=0.1).__enter__().close()

    first = threading.Thread(target=lambda: limiter.acquire("m").__enter__().close())
    second = threading.Thread(target=call_soon)
    round_trips = store.round_trips
    with store.lock:
        first.start()
        eventually(lambda: store.round_trips > round_trips)
        second.start()
        second.join(5)
        assert not second.is_alive()
    first.join(10)
    assert not first.is_alive()


def test_a_task_is_carried_for_in_another_thread() -> None:
    store = Watched()
    limiter = Limiter(LIMITS, store=store)

    async def main() -> None:
        async with limiter.acquire("m"):
            pass

    asyncio.run(main())
    assert threading.get_ident() not in store.threads


def test_a_thread_that_is_interrupted_while_it_carries_loses_and_blocks_nothing() -> None:
    store = Watched()
    limiter = Limiter(LIMITS, store=store)
    limiter.acquire("m", tokens=100).__enter__().close()
    quiet(limiter)
    store.interrupts = True
    with pytest.raises(KeyboardInterrupt):
        limiter.acquire("m", tokens=200).__enter__()
    eventually(lambda: spent(store, 1) == 100)
    limiter.acquire("m", tokens=50).__enter__().close()
    eventually(lambda: spent(store, 1) == 150)


def test_a_thread_that_is_interrupted_when_it_has_carried_blocks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = Limiter(LIMITS, store=FlakyStore())
    with limiter.acquire("m", tokens=1):
        pass
    quiet(limiter)
    interrupted: list[None] = []

    def monotonic() -> float:
        if threading.current_thread() is threading.main_thread() and not interrupted:
            interrupted.append(None)
            raise KeyboardInterrupt
        return time.monotonic()

    clock = SimpleNamespace(monotonic=monotonic, time_ns=time.time_ns)
    monkeypatch.setattr("throttle.shared.courier.time", clock)
    with pytest.raises(KeyboardInterrupt):
        limiter.acquire("m", tokens=1).__enter__()
    with limiter.acquire("m", tokens=1, max_wait=5) as permit:
        assert permit.state == ADMITTED


def test_the_courier_ends_with_its_limiter() -> None:
    limiter = Limiter(LIMITS, store=FlakyStore())
    limiter.acquire("m").__enter__().close()
    thread = gate_of(limiter).courier._thread
    assert thread is not None
    assert thread.daemon
    gone = weakref.ref(limiter)
    del limiter
    eventually(lambda: gc.collect() >= 0 and gone() is None)
    thread.join(5)
    assert not thread.is_alive()


# when the store is away


def test_calls_go_on_with_a_share_while_the_store_is_away(caplog: pytest.LogCaptureFixture) -> None:
    store = FlakyStore()
    one, two = pair(store)
    one.acquire("m", tokens=0).__enter__().close()
    two.acquire("m", tokens=0).__enter__().close()
    store.away = True
    with caplog.at_level(logging.WARNING, "throttle"):
        two.acquire("m", tokens=2500).__enter__().close()
        with pytest.raises(WaitTimeout):
            two.acquire("m", tokens=2000, max_wait=0.2).__enter__()
    assert [record.message for record in caplog.records] == [
        "store flaky: it is away: wait; until it answers again, each process goes on with its share of the limits"
    ]


@pytest.mark.parametrize("policy", ["local", "open", "closed"])
def test_going_away_and_coming_back_are_events(caplog: pytest.LogCaptureFixture, policy: Any) -> None:
    store = FlakyStore()
    limiter = Limiter(LIMITS, store=store, on_store_error=policy)

    def call() -> None:
        with contextlib.suppress(StoreError):
            limiter.acquire("m").__enter__().close()

    def came_back() -> bool:
        call()
        return not limiter.snapshot().store_away

    with caplog.at_level(logging.WARNING, "throttle"):
        for _ in range(2):
            call()
            assert not limiter.snapshot().store_away
            store.away = True
            call()
            call()
            assert limiter.snapshot().store_away
            store.away = False
            eventually(came_back)
    events = [record.__dict__["event"] for record in caplog.records]
    assert events == ["store_away", "store_back"] * 2


@pytest.mark.parametrize("policy", ["local", "open", "closed"])
def test_a_store_that_is_back_is_found_though_nobody_calls(policy: Any) -> None:
    store = FlakyStore()
    limiter = Limiter(LIMITS, store=store, on_store_error=policy)
    limiter.acquire("m", tokens=100).__enter__().close()
    quiet(limiter)
    store.away = True
    with contextlib.suppress(StoreError):
        limiter.acquire("m", tokens=200).__enter__().close()
    assert limiter.snapshot().store_away
    time.sleep(0.6)  # it is tried once in vain
    store.away = False
    eventually(lambda: not limiter.snapshot().store_away)
    eventually(lambda: spent(store, 1) == (100 if policy == "closed" else 300))


def test_a_wrapped_client_says_what_becomes_of_its_calls_while_the_store_is_away() -> None:
    store = FlakyStore()
    store.away = True
    with OpenAI(base_url="http://127.0.0.1:1", api_key="none", max_retries=0) as plain:
        client = throttle.wrap(plain, limits=LIMITS, store=store, on_store_error="closed")
        with pytest.raises(StoreError, match="it is away"):
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        with pytest.raises(TypeError, match="either limiter="):
            throttle.wrap(plain, limiter=throttle.limiter_of(client), on_store_error="open")


def test_what_was_sent_past_the_store_is_charged_once_it_is_back() -> None:
    store = FlakyStore()
    limiter = Limiter(LIMITS, store=store)
    limiter.acquire("m", tokens=100).__enter__().close()
    store.away = True
    limiter.acquire("m", tokens=200).__enter__().close()
    store.away = False
    assert spent(store, 1) == 100

    def back() -> bool:
        limiter.acquire("m", tokens=1).__enter__().close()
        return gate_of(limiter).courier._away is None

    eventually(back)
    quiet(limiter)
    admitted = limiter.snapshot().pools["default"].admitted
    eventually(lambda: spent(store, 1) == 300 + admitted - 2)


def test_an_exchange_whose_answer_was_lost_is_charged_once() -> None:
    store = FlakyStore()
    limiter = Limiter(LIMITS, store=store)
    limiter.acquire("m", tokens=100).__enter__().close()
    quiet(limiter)
    store.loses_answers = True
    limiter.acquire("m", tokens=200).__enter__().close()
    store.loses_answers = False

    def back() -> bool:
        limiter.acquire("m", tokens=1).__enter__().close()
        return gate_of(limiter).courier._away is None

    eventually(back)
    quiet(limiter)
    admitted = limiter.snapshot().pools["default"].admitted
    eventually(lambda: spent(store, 1) == 300 + admitted - 2)


def test_closed_calls_fail_and_nothing_is_charged_twice() -> None:
    store = FlakyStore()
    limiter = Limiter(LIMITS, store=store, on_store_error="closed")
    limiter.acquire("m", tokens=100).__enter__().close()
    quiet(limiter)
    store.loses_answers = True
    with pytest.raises(StoreError, match="no answer within 1 s"):
        limiter.acquire("m", tokens=200).__enter__()
    store.loses_answers = False
    with limiter.acquire("m", tokens=50):
        pass
    eventually(lambda: spent(store, 1) == 150)


def test_open_lets_calls_through() -> None:
    store = FlakyStore()
    limiter = Limiter(LIMITS, store=store, on_store_error="open")
    limiter.acquire("m", tokens=6000).__enter__().close()
    store.away = True
    with limiter.acquire("m", tokens=6000) as permit:
        assert permit.waited_s < 2


def test_a_store_that_was_never_there_leaves_the_whole_limit() -> None:
    store = FlakyStore()
    store.away = True
    limiter = Limiter(LIMITS, store=store)
    with limiter.acquire("m", tokens=6000, max_wait=1):
        pass
    with pytest.raises(WaitTimeout):
        limiter.acquire("m", tokens=1000, max_wait=1).__enter__()


def test_a_limiter_started_later_with_other_limits_is_followed(caplog: pytest.LogCaptureFixture) -> None:
    store = FlakyStore()
    one = Limiter(LIMITS, store=store)
    one.acquire("m").__enter__().close()
    two = Limiter({"rpm": 600, "tpm": 12_000}, store=store)
    two.acquire("m").__enter__().close()
    with caplog.at_level(logging.WARNING, "throttle"):
        one.acquire("m").__enter__().close()
    assert "has a tpm of 12,000 where this one has 6,000; that one holds" in caplog.text
    with one.acquire("m", tokens=10_000, max_wait=5):
        pass


# the clock


def test_an_instant_of_the_store_is_never_turned_into_one_too_early() -> None:
    clock = StoreClock()
    lead = 1_000_000
    for sent, out, back in ((0, 50, 400), (1000, 300, 20), (2000, 10, 10), (3000, 900, 900)):
        clock.see(sent, sent + out + lead, sent + out + back)
        assert clock.to_local(lead + 5000) >= 5000
    assert clock.to_local(lead + 5000) <= 5010 + 1


def test_a_store_whose_clock_was_set_back_is_followed() -> None:
    clock = StoreClock()
    clock.see(0, 1_000_010, 20)
    clock.see(100, 110, 120)
    assert clock.to_local(200) == 210


def test_unknown_urls_are_told_in_one_line(tmp_path: Path) -> None:
    for url in (
        "postgres://x",
        "sqlite://x.db",
        "redis+sentinel://host",
        "redis://h/0?timeout=no",
        "sqlite:///a?namespace={",
    ):
        with pytest.raises(StoreError) as caught:
            Limiter(LIMITS, store=url)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redsi://me:hidden@host:1/0", "'redsi://host:1/0'"),
        ("sqlite://me:hidden@/a.db?timeout=2", "'sqlite:///a.db'"),
        ("nothing://host/a?ssl_password=hidden&b=c", "'nothing://host/a?b=c'"),
    ],
)
def test_a_password_is_in_no_error(url: str, shown: str) -> None:
    with pytest.raises(StoreError) as caught:
        Limiter(LIMITS, store=url)
    assert shown in str(caught.value)
    assert "hidden" not in str(caught.value)


# limits that change, clocks that differ, servers


def test_a_limit_that_changes_in_its_file_reaches_the_store(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    text = "version: 1\nfamilies: {f: {models: [m]}}\ntiers: {tier-1: {f: {tpm: 6000}}}\n"
    path.write_text(text)
    store = FlakyStore()
    limiter = Limiter(str(path), tier="tier-1", store=store)
    limiter.acquire("m", tokens=6000).__enter__().close()
    path.write_text(text.replace("6000", "12000000"))

    def followed() -> bool:
        limiter.try_acquire("m", tokens=0)
        (state,) = store.inner.pools.values()
        return state.lines[0].rate >= 12_000_000

    eventually(followed)
    with limiter.acquire("m", tokens=10_000, max_wait=5):
        pass


def test_hosts_whose_clocks_differ_share_exactly() -> None:
    def skewed() -> int:
        return time.monotonic_ns() // 1000 + 3_600_000_000

    store = FlakyStore()
    one, two = Limiter(LIMITS, store=store), Limiter(LIMITS, store=store, clock=skewed)
    one.acquire("m", tokens=6000).__enter__().close()
    with two.acquire("m", tokens=40) as permit:
        assert 0.3 < permit.waited_s < 2


def test_a_store_that_breaks_in_an_unforeseen_way_hangs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FlakyStore):
        def exchange(self, wants: object) -> list[Answer]:
            raise ZeroDivisionError("a bug")

    limiter = Limiter(LIMITS, store=Broken())
    with caplog.at_level(logging.WARNING, "throttle"):
        limiter.acquire("m", max_wait=5).__enter__().close()
    assert "ZeroDivisionError: a bug" in caplog.text


@pytest.mark.parametrize("start", ["full", "empty"])
def test_eight_limiters_that_start_together_meet_no_refusal(start: str) -> None:
    store = FlakyStore()
    limits = {"rpm": 6000, "tpm": 600_000, "charge": "characters"}

    async def one(limiter: Limiter, url: str) -> None:
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as plain:
            client = throttle.wrap(plain, limiter=limiter)
            messages: Any = [{"role": "user", "content": "word " * 200}]

            async def call() -> None:
                await client.chat.completions.create(model="m", messages=messages, max_tokens=5)

            await asyncio.gather(*(call() for _ in range(4)))

    async def main(url: str) -> None:
        limiters = [Limiter(limits, store=store, pacing="burst") for _ in range(8)]
        await asyncio.gather(*(one(limiter, url) for limiter in limiters))

    with in_thread(limits={"rpm": 6000, "tpm": 600_000}, start=start, charge="characters") as server:
        asyncio.run(main(server.base_url))
        summary = server.summary()
    assert (summary.admitted, summary.refused) == (32, 0)
