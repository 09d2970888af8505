"""Real threads, asyncio loops and trio runs on one limiter, in many short rounds: nobody hangs, nothing leaks."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from throttle import Limiter, WaitTimeout

ROUNDS = 25
ROUND_S = 20.0
"""A round takes a fraction of a second; one that takes this long hangs."""


def in_threads(limiter: Limiter, rng: random.Random) -> None:
    def work(seed: int) -> None:
        own = random.Random(seed)
        for _ in range(8):
            try:
                with limiter.acquire("m", tokens=own.choice([0, 1, 5, 40]), max_wait=own.choice([None, None, 0.003])):
                    pass
            except WaitTimeout:
                pass

    threads = [threading.Thread(target=work, args=(rng.random(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_asyncio(limiter: Limiter, rng: random.Random) -> None:
    async def work() -> None:
        for _ in range(6):
            async with limiter.acquire("m", tokens=rng.choice([0, 1, 5, 40])) as permit:
                if rng.random() < 0.2:
                    permit.cancel()

    async def main() -> None:
        tasks = [asyncio.ensure_future(work()) for _ in range(12)]
        await asyncio.sleep(rng.random() * 0.02)
        for task in tasks[::3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())


def in_trio(limiter: Limiter, rng: random.Random) -> None:
    async def work() -> None:
        with trio.move_on_after(rng.choice([0.001, 5, 5, 5])):
            for _ in range(6):
                async with limiter.acquire("m", tokens=rng.choice([0, 1, 5, 40])):
                    pass

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(work)

    trio.run(main)


def in_a_loop_that_ends_in_the_middle(limiter: Limiter, rng: random.Random) -> None:
    """Tasks are left waiting in a loop that is stopped, and closed a little later."""
    loop = asyncio.new_event_loop()
    waiting: list[Any] = []

    async def begin() -> None:
        for _ in range(5):
            permit = limiter.acquire("m", tokens=rng.choice([1, 40])).__await__()
            try:
                permit.send(None)
                waiting.append(permit)
            except StopIteration:
                pass

    loop.run_until_complete(begin())
    if rng.random() < 0.5:
        threading.Event().wait(0.01)
    loop.close()
    for permit in waiting[::2]:
        permit.close()
    waiting.clear()


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_every_runtime_gets_through_and_nothing_is_left(seed: int) -> None:
    rng = random.Random(seed)
    limiter = Limiter({"rpm": 60_000, "tpm": 300_000, "window": 0.01})
    kinds: list[Callable[[Limiter, random.Random], None]] = [
        in_threads,
        in_asyncio,
        in_trio,
        in_a_loop_that_ends_in_the_middle,
    ]
    rng.shuffle(kinds)
    failures: list[BaseException] = []

    def run(kind: Callable[[Limiter, random.Random], None], own: random.Random) -> None:
        try:
            kind(limiter, own)
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=run, args=(kind, random.Random(f"{seed}/{i}")), daemon=True)
        for i, kind in enumerate(kinds)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(ROUND_S)
    assert not any(thread.is_alive() for thread in threads), f"somebody hangs: {limiter.snapshot()}"
    assert not failures
    limiter.acquire("m").__enter__().close()  # whoever comes last finds out about loops that ended
    pool = limiter.snapshot().pools["default"]
    assert (pool.waiting, pool.under_way) == (0, 0)
    (gate,) = limiter._routing.gates
    assert not gate._waiters
    assert not limiter._threads._sleepers
