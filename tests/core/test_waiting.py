"""How those who wait are woken."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from tests.core.virtual import VirtualLoop, run_virtually
from throttle.waiting import AsyncioRuntime


class Counting(asyncio.SelectorEventLoop):
    """A loop that counts how often another thread woke it."""

    woken = 0

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object, context: object = None) -> object:  # type: ignore[override]
        self.woken += 1
        return super().call_soon_threadsafe(callback, *args)


def wake(runtime: AsyncioRuntime, futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        runtime.wake(future)


def test_a_loop_is_woken_once_for_all_whose_turn_has_come() -> None:
    loop = Counting()

    async def main() -> None:
        runtime = AsyncioRuntime(loop, lambda: 0, lambda runtime, gate: None)
        for rounds in (1, 2):
            futures = [loop.create_future() for _ in range(10)]
            thread = threading.Thread(target=wake, args=(runtime, futures))
            thread.start()
            thread.join()
            await asyncio.wait_for(asyncio.gather(*futures), 10)
            assert loop.woken == rounds

    loop.run_until_complete(main())
    loop.close()


def test_of_two_orders_of_one_gate_the_later_holds_whoever_gave_the_first() -> None:
    async def main(loop: VirtualLoop) -> list[float]:
        rung: list[float] = []
        runtime = AsyncioRuntime(loop, loop.now_us, lambda runtime, gate: rung.append(loop.time()))
        thread = threading.Thread(target=runtime.ring_at, args=("gate", 2_000_000))
        thread.start()
        thread.join()
        runtime.ring_at("gate", 100_000)
        await asyncio.sleep(3)
        return rung

    assert run_virtually(main) == [0.1]
