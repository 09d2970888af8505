"""How those who wait are woken."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

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
