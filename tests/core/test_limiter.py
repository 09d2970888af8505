"""The limiter in virtual time: asyncio on a loop that jumps, trio on its mock clock; threads for real."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

import openai
import pytest
import trio
import trio.testing

import throttle
from tests.core.virtual import VirtualLoop, run_virtually
from throttle import Limiter, RequestTooLarge, Retry, WaitTimeout
from throttle.costs import CallCost
from throttle.feedback.belief import BeliefSnapshot
from throttle.feedback.refusals import Refusal
from throttle.pool import ADMITTED, ENDED

LIMITS = {"rpm": 60, "tpm": 6000}
EMBED = CallCost({"model": "m", "input": "x"}, "/embeddings")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_us = 0

    def __call__(self) -> int:
        return self.now_us


def level(limiter: Limiter, meter: str = "tpm") -> float:
    return limiter.snapshot().pools["default"].meters[meter].level


# what is asked, and what is told


def test_a_permit_is_had_at_once_while_there_is_room_and_leaving_the_block_keeps_the_charge() -> None:
    limiter = Limiter(LIMITS, clock=Clock())
    with limiter.acquire("any-model", tokens=900) as permit:
        assert permit.waited_s == 0
    assert level(limiter) == 5100
    assert level(limiter, "rpm") == 59


def test_cancelling_a_permit_gives_its_charge_back_once() -> None:
    limiter = Limiter(LIMITS, clock=Clock())
    with limiter.acquire("m", tokens=900) as permit:
        permit.cancel()
        permit.cancel()
    assert (level(limiter), level(limiter, "rpm")) == (6000, 60)


def test_settling_replaces_what_was_charged() -> None:
    limiter = Limiter(LIMITS, clock=Clock())
    with limiter.acquire("m", tokens=900) as permit:
        permit.settle(tokens=100)
        assert level(limiter) == 5900
        permit.settle(tokens=400)
    assert level(limiter) == 5600


def test_trying_gives_a_permit_or_none() -> None:
    limiter = Limiter(LIMITS, clock=Clock())
    permit = limiter.try_acquire("m", tokens=6000)
    assert permit is not None
    assert limiter.try_acquire("m", tokens=1) is None
    permit.cancel()
    assert limiter.try_acquire("m", tokens=1) is not None


def test_the_wait_is_told_beforehand_in_seconds() -> None:
    limiter = Limiter(LIMITS, clock=Clock())
    assert limiter.wait_time("m", tokens=6000) == 0
    limiter.try_acquire("m", tokens=6000)
    assert limiter.wait_time("m", tokens=900) == 9.0


def test_the_snapshot_tells_levels_limits_and_counts() -> None:
    clock = Clock()
    limiter = Limiter(LIMITS, clock=clock)
    with limiter.acquire("m", tokens=600):
        pool = limiter.snapshot().pools["default"]
        assert (pool.waiting, pool.admitted, pool.under_way, pool.refused) == (0, 1, 1, 0)
    clock.now_us = 3_000_000
    pool = limiter.snapshot().pools["default"]
    meter = pool.meters["tpm"]
    assert (meter.level, meter.limit, meter.window_s, meter.capacity, meter.origin) == (5700, 6000, 60, 6000, "user")
    assert pool.under_way == 0


def test_a_model_without_limits_is_let_through_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    table = {"version": 1, "families": {"known": {"models": ["known"]}}, "tiers": {"tier-1": {"known": {"rpm": 1}}}}
    limiter = Limiter(table, tier="tier-1", clock=Clock())
    for _ in range(3):
        with limiter.acquire("no-such-model", tokens=10**9):
            pass
    assert [record.getMessage() for record in caplog.records] == [
        "no limits are known for model 'no-such-model': its calls are let through and counted"
    ]
    assert limiter.snapshot().pools["no-such-model"].admitted == 3


# what can't go


def test_a_call_that_a_given_limit_can_never_hold_is_refused_at_once() -> None:
    limiter = Limiter(LIMITS, clock=Clock())
    with pytest.raises(RequestTooLarge, match=r"6,001 tokens .* 'default' holds 6,000 at most \(tpm, user\)") as caught:
        limiter.acquire("m", tokens=6001).__enter__()
    assert (caught.value.meter, caught.value.requested, caught.value.capacity) == ("tpm", 6001, 6000)
    with pytest.raises(RequestTooLarge):
        limiter.try_acquire("m", tokens=6001)
    with pytest.raises(RequestTooLarge):
        limiter.wait_time("m", tokens=6001)
    assert level(limiter) == 6000


def test_a_call_larger_than_a_bundled_limit_waits_for_a_full_bucket_and_goes_alone() -> None:
    clock = Clock()
    limiter = Limiter(throttle.load_limits(), tier="tier-1", clock=clock)
    with limiter.acquire("gpt-4o-mini", tokens=100):
        pass
    assert 0 < limiter.wait_time("gpt-4o-mini", tokens=10**8) < 1
    clock.now_us = 60_000_000
    permit = limiter.try_acquire("gpt-4o-mini", tokens=10**8)
    assert permit is not None
    assert limiter.wait_time("gpt-4o-mini", tokens=1) > 1000


@pytest.mark.parametrize("max_wait", [0, 8.9])
def test_a_wait_that_is_known_to_be_too_long_is_refused_at_once(max_wait: float) -> None:
    limiter = Limiter(LIMITS, clock=Clock())
    limiter.try_acquire("m", tokens=6000)
    with pytest.raises(WaitTimeout, match=r"pool 'default' lets it go in 9\.0 s \(held by tpm\)") as caught:
        limiter.acquire("m", tokens=900, max_wait=max_wait).__enter__()
    assert isinstance(caught.value, TimeoutError | openai.OpenAIError)
    assert (caught.value.meter, caught.value.ready_in_s, caught.value.max_wait_s) == ("tpm", 9.0, max_wait)
    assert limiter.snapshot().pools["default"].waiting == 0


def test_negative_costs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"can't cost less than nothing: tokens=-1"):
        Limiter(LIMITS).acquire("m", tokens=-1)


def test_a_permit_that_is_never_entered_warns_and_one_that_was_used_can_not_be_used_again() -> None:
    limiter = Limiter(LIMITS, clock=Clock())
    with pytest.warns(RuntimeWarning, match="a permit for 'm' was never entered nor awaited"):
        limiter.acquire("m", tokens=1)
    with limiter.acquire("m", tokens=1) as permit:
        pass
    with pytest.raises(throttle.ThrottleError, match="has been used"):
        permit.__enter__()


def test_awaiting_a_permit_outside_of_a_loop_says_what_to_do() -> None:
    limiter = Limiter(LIMITS, clock=Clock())
    limiter.try_acquire("m", tokens=6000)
    with pytest.raises(RuntimeError, match="in sync code use 'with'"):
        limiter.acquire("m", tokens=1).__await__().send(None)


# asyncio


def test_tasks_go_in_order_at_the_very_instant_at_which_there_is_room() -> None:
    async def main(loop: VirtualLoop) -> list[tuple[int, int]]:
        limiter = Limiter(LIMITS, clock=loop.now_us)
        went: list[tuple[int, int]] = []

        async def call(number: int) -> None:
            async with limiter.acquire("m", tokens=1000):
                went.append((number, loop.now_us()))

        await asyncio.gather(*map(call, range(9)))
        return went

    assert run_virtually(main) == [(i, max(0, i - 5) * 10_000_000) for i in range(9)]


def test_a_hundred_calls_in_a_plain_loop_at_twenty_a_minute_are_never_refused() -> None:
    async def main(loop: VirtualLoop) -> list[int]:
        limiter = Limiter({"rpm": 20}, clock=loop.now_us)
        instants = []
        for _ in range(100):
            await limiter.acquire("m")
            instants.append(loop.now_us())
        return instants

    instants = run_virtually(main)
    assert instants[19] == 0
    assert instants[-1] == 80 * 3_000_000
    server_level, at_us = 20 * 60_000_000, 0
    for now_us in instants:
        server_level = min(20 * 60_000_000, server_level + 20 * (now_us - at_us)) - 60_000_000
        at_us = now_us
        assert server_level >= 0


def test_a_cancelled_task_makes_room_for_the_next_at_once() -> None:
    async def main(loop: VirtualLoop) -> None:
        limiter = Limiter(LIMITS, clock=loop.now_us)
        await limiter.acquire("m", tokens=6000)
        large = asyncio.ensure_future(_await(limiter.acquire("m", tokens=6000)))
        small = asyncio.ensure_future(_await(limiter.acquire("m", tokens=100)))
        await asyncio.sleep(1)
        large.cancel()
        await small
        assert loop.now_us() == 1_000_000
        assert limiter.snapshot().pools["default"].waiting == 0
        with pytest.raises(asyncio.CancelledError):
            await large

    run_virtually(main)


def test_max_wait_ends_the_waiting_when_the_server_makes_it_longer_than_foretold() -> None:
    async def main(loop: VirtualLoop) -> None:
        limiter = Limiter(LIMITS, clock=loop.now_us)
        held = await limiter.acquire("m", tokens=6000)
        waiting = asyncio.ensure_future(_await(limiter.acquire("m", tokens=1000, max_wait=12.5)))
        await asyncio.sleep(1)
        held.settle(tokens=12_000)  # it cost more than was thought
        with pytest.raises(WaitTimeout, match=r"may wait 12\.5 s at most"):
            await waiting
        assert loop.now_us() == 12_500_000
        assert limiter.snapshot().pools["default"].waiting == 0

    run_virtually(main)


def test_a_closed_permit_is_what_ends_a_place_in_flight() -> None:
    async def main(loop: VirtualLoop) -> None:
        limiter = Limiter({"rpm": 6000, "max_in_flight": 2}, clock=loop.now_us)
        most = 0

        async def call() -> None:
            nonlocal most
            async with limiter.acquire("m"):
                most = max(most, limiter.snapshot().pools["default"].under_way)
                await asyncio.sleep(1)

        await asyncio.gather(*(call() for _ in range(6)))
        assert most == 2
        assert loop.now_us() == 3_000_000
        forgotten: Any = await limiter.acquire("m")
        del forgotten
        assert limiter.snapshot().pools["default"].under_way == 0

    run_virtually(main)


async def _await(permit: throttle.Permit) -> throttle.Permit:
    return await permit


# trio


def test_trio_tasks_wait_their_turn_and_cancelling_one_lets_the_next_go() -> None:
    went: list[tuple[str, int]] = []

    async def call(limiter: Limiter, name: str, tokens: int) -> None:
        async with limiter.acquire("m", tokens=tokens):
            went.append((name, _trio_us()))

    async def main() -> None:
        limiter = Limiter(LIMITS, clock=_trio_us)
        await limiter.acquire("m", tokens=6000)
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(2):
                nursery.start_soon(call, limiter, "first", 1000)
                await trio.testing.wait_all_tasks_blocked()
                await limiter.acquire("m", tokens=6000)
            assert _trio_us() == 2_000_000
            nursery.start_soon(call, limiter, "second", 500)
        assert limiter.snapshot().pools["default"].waiting == 0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert went == [("first", 10_000_000), ("second", 15_000_000)]


def _trio_us() -> int:
    return round(trio.current_time() * 1e6)


# nothing leaks


@pytest.mark.parametrize("step", range(14))
def test_cancelling_at_any_turn_of_the_loop_leaks_nothing(step: int) -> None:
    async def main(loop: VirtualLoop) -> None:
        limiter = Limiter(LIMITS, clock=loop.now_us)
        await limiter.acquire("m", tokens=6000)

        async def call() -> None:
            async with limiter.acquire("m", tokens=1000) as permit:
                permit.cancel()

        task = asyncio.ensure_future(call())
        other = asyncio.ensure_future(_await(limiter.acquire("m", tokens=500)))
        for turn in range(step):
            if turn == 4:
                await asyncio.sleep(9.999999)
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await other
        pool = limiter.snapshot().pools["default"]
        assert pool.waiting == 0
        assert pool.admitted == 2
        assert pool.meters["tpm"].level == pytest.approx(loop.now_us() / 1e4 - 500, abs=1e-9)

    run_virtually(main)


class _Interrupt(BaseException):
    pass


def test_an_error_at_any_step_of_the_waiting_leaks_nothing() -> None:
    async def main(loop: VirtualLoop) -> None:
        limiter = Limiter(LIMITS, clock=loop.now_us)
        await limiter.acquire("m", tokens=6000)
        waiting = limiter.acquire("m", tokens=1000).__await__()
        future = waiting.send(None)
        assert asyncio.isfuture(future)
        with pytest.raises(_Interrupt):
            waiting.throw(_Interrupt())
        assert limiter.snapshot().pools["default"].waiting == 0
        # admitted, and struck before it could go on
        permit = limiter.acquire("m", tokens=1000)
        waiting = permit.__await__()
        waiting.send(None)
        await asyncio.sleep(10)
        assert permit.state == ADMITTED
        with pytest.raises(_Interrupt):
            waiting.throw(_Interrupt())
        assert permit.state == ENDED
        assert level(limiter) == 1000
        # dropped by the garbage collector while it waits
        waiting = limiter.acquire("m", tokens=6000).__await__()
        waiting.send(None)
        del waiting
        gc.collect()
        assert limiter.snapshot().pools["default"].waiting == 0

    run_virtually(main)


def test_an_interrupted_thread_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from throttle.waiting import Sleeper

    limiter = Limiter(LIMITS, clock=Clock())
    limiter.try_acquire("m", tokens=6000)

    def interrupt(self: Sleeper, timeout_s: float | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Sleeper, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        limiter.acquire("m", tokens=100).__enter__()
    assert limiter.snapshot().pools["default"].waiting == 0
    assert not limiter._threads._sleepers


def test_a_permit_that_was_waited_for_within_a_bound_and_is_dropped_ends() -> None:
    limiter = Limiter({"rpm": 6000, "max_in_flight": 1})
    first = limiter.acquire("m").__enter__()
    timer = threading.Timer(0.05, first.close)
    timer.start()
    permit = limiter.acquire("m", max_wait=30).__enter__()
    timer.join()
    del permit
    gc.collect()
    assert limiter.try_acquire("m") is not None


def test_a_permit_ended_by_the_garbage_collector_while_the_lock_is_held_is_ended_afterwards() -> None:
    limiter = Limiter(LIMITS, clock=Clock())
    permit = limiter.try_acquire("m", tokens=600)
    with limiter._lock:
        del permit
        gc.collect()
    assert limiter.snapshot().pools["default"].under_way in (0, 1)
    assert limiter.snapshot().pools["default"].under_way == 0


# runtimes that stand still


def test_a_loop_that_stands_still_delays_others_by_little_and_takes_its_place_when_it_runs_again() -> None:
    limiter = Limiter({"rpm": 6000, "tpm": 60_000})
    limiter.try_acquire("m", tokens=60_000)
    queued, resume = threading.Event(), threading.Event()
    went: list[str] = []

    async def stands_still() -> None:
        task = asyncio.ensure_future(_await(limiter.acquire("m", tokens=20)))
        await asyncio.sleep(0)
        queued.set()
        await asyncio.sleep(0)
        resume.wait(10)
        await task
        went.append("still")

    thread = threading.Thread(target=lambda: asyncio.run(stands_still()))
    thread.start()
    queued.wait(10)
    with limiter.acquire("m", tokens=20):
        went.append("other")
    assert went == ["other"]
    resume.set()
    thread.join(10)
    assert went == ["other", "still"]


def test_the_waiters_of_a_closed_loop_are_taken_out() -> None:
    limiter = Limiter({"rpm": 6000, "tpm": 60_000})
    limiter.try_acquire("m", tokens=60_000)
    loop = asyncio.new_event_loop()

    async def begin() -> Any:
        waiting = limiter.acquire("m", tokens=20).__await__()
        waiting.send(None)
        return waiting

    waiting = loop.run_until_complete(begin())
    loop.close()
    with limiter.acquire("m", tokens=20):
        pass
    assert limiter.snapshot().pools["default"].waiting == 0
    waiting.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_process_keeps_the_level_and_none_of_the_waiters() -> None:
    limiter = Limiter({"rpm": 6000, "tpm": 60_000})
    limiter.try_acquire("m", tokens=60_000)
    inside, leave = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        with limiter.acquire("m", tokens=100):
            leave.wait(10)

    thread = threading.Thread(target=wait)
    thread.start()
    inside.wait(10)
    while not limiter.snapshot().pools["default"].waiting and not limiter.snapshot().pools["default"].under_way:
        pass
    limiter._lock.acquire()  # as if another thread held it at the moment of the fork
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads about is what this is for
        child = os.fork()
    if child == 0:
        pool = limiter.snapshot().pools["default"]
        with limiter.acquire("m", tokens=10):
            os._exit(0 if pool.waiting == 0 and pool.meters["tpm"].level < 59_000 else 1)
    limiter._lock.release()
    _, status = os.waitpid(child, 0)
    leave.set()
    thread.join(10)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_process_holds_no_place_of_its_parents_calls() -> None:
    limiter = Limiter({"rpm": 6000, "max_in_flight": 2})
    first, second = (limiter.acquire("m").__enter__() for _ in range(2))

    def acts() -> bool:
        own = [limiter.try_acquire("m") for _ in range(2)]
        first.close()  # as where the child runs out of the block in which it was forked
        second.cancel()
        first.observe({"x-ratelimit-limit-requests": "6000", "x-ratelimit-remaining-requests": "1"})
        first.settle(tokens=5)
        admitted = limiter.snapshot().pools["default"].admitted
        return None not in own and limiter.try_acquire("m") is None and admitted == 4

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os._exit(0 if acts() else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert limiter.try_acquire("m") is None
    first.close()
    assert limiter.try_acquire("m") is not None
    second.close()


# the contract


def test_the_face_has_the_signatures_of_the_contract() -> None:
    def names(function: Callable[..., Any]) -> list[str]:
        return list(inspect.signature(function).parameters)

    assert names(throttle.wrap)[:5] == ["client", "limits", "tier", "account", "limiter"]
    assert names(Limiter.acquire)[1:3] == ["model", "tokens"]
    assert issubclass(throttle.ThrottleError, openai.OpenAIError)
    assert issubclass(WaitTimeout, TimeoutError)
    assert {RequestTooLarge, throttle.LimitsError, throttle.StoreError} <= set(throttle.ThrottleError.__subclasses__())


@pytest.mark.parametrize("own", [1, 200])
def test_what_was_used_of_a_day_before_a_meter_learns_is_not_forgotten(own: int) -> None:
    """Explicit permits draw on an exact bucket until somebody shows an answer."""
    limiter = throttle.Limiter({"rpm": 600, "tpd": 10_000}, clock=lambda: 0)
    with limiter.acquire("m", tokens=6_000):
        pass
    with limiter.acquire("m", tokens=own) as permit:
        permit.observe({"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "599"})
    (pool,) = limiter.snapshot().pools.values()
    assert isinstance(pool.meters["tpd"], BeliefSnapshot)
    assert pool.meters["tpd"].level == 4_000 - own


def test_a_wait_that_nobody_can_foretell_is_not_told_in_seconds(caplog: pytest.LogCaptureFixture) -> None:
    limiter = Limiter({"rpm": 600, "max_in_flight": 1})
    with limiter.acquire("m"), pytest.raises(WaitTimeout), limiter.acquire("m", max_wait=0.01):
        pass
    assert not caplog.records


def test_calls_that_are_under_way_when_a_meter_begins_to_learn_are_charged_once() -> None:
    limiter = throttle.Limiter({"rpm": 600, "rpd": 1_000}, clock=lambda: 0)
    permits = [limiter.acquire("m").__enter__() for _ in range(10)]
    for permit in permits:
        permit.observe({"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "590"})
    (pool,) = limiter.snapshot().pools.values()
    assert pool.meters["rpd"].level == 990
    for permit in permits:
        permit.close()


@pytest.mark.parametrize(
    ("end", "left"),
    [
        (lambda permit: permit.cancel(), 9_900),
        (lambda permit: permit.refused(Refusal("rate", True), Retry()), 9_900),
        (lambda permit: permit.settle(tokens=1_000), 8_900),
        (lambda permit: permit.settle(tokens=7_000), 2_900),
        (lambda permit: permit.close(), 3_900),
    ],
    ids=["cancelled", "refused", "settled to less", "settled to more", "kept"],
)
def test_what_a_call_gives_back_reaches_the_meter_that_took_the_place_of_its_own(
    end: Callable[[throttle.Permit], None], left: float
) -> None:
    """A call that is under way when a client comes was charged to the bucket of before."""
    limiter = throttle.Limiter({"rpd": 1_000, "tpd": 10_000}, clock=lambda: 0)
    permit = limiter.acquire("m", tokens=6_000).__enter__()
    with limiter.permit_for("", "api.openai.com", EMBED, tokens=100):
        pass
    end(permit)
    (pool,) = limiter.snapshot().pools.values()
    assert isinstance(pool.meters["tpd"], BeliefSnapshot)
    assert pool.meters["tpd"].level == left
    permit.close()
