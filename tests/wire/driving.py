"""Write what a program does with a client once, for sync and async clients alike.

A call is an `async def` that awaits through these helpers. With a sync client nothing in it ever suspends, so it is
driven to its end without an event loop.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final, TypeVar

__all__ = ["RUNTIMES", "Suspended", "cancelled_at", "cancelled_when", "done", "each", "entered", "run"]

Result = TypeVar("Result")

RUNTIMES: Final = ("sync", "asyncio", "trio")


async def done(value: Any) -> Any:
    """Wait for what an async client gives; a sync one has given it already."""
    return await value if inspect.isawaitable(value) else value


async def each(items: Any) -> AsyncGenerator[Any, None]:
    """Go through an iterable of either kind."""
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


@asynccontextmanager
async def entered(manager: Any) -> AsyncIterator[Any]:
    """Enter a context manager of either kind."""
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


class Suspended(AssertionError):
    """Sync code has awaited something."""


def run(runtime: str, main: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run it to its end: without a loop, in a new asyncio loop, or in a new trio run."""
    if runtime == "asyncio":
        return asyncio.run(main())
    if runtime == "trio":
        import trio

        return trio.run(main)
    coroutine = main()
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    coroutine.close()
    raise Suspended("something was awaited in sync code")


class _Watched:
    """Awaits something and cancels it as it suspends for the nth time."""

    def __init__(self, inner: Awaitable[Any], nth: int, cancel: Callable[[], object]) -> None:
        self._inner = inner
        self._nth = nth
        self._cancel = cancel
        self.reached = False

    def __await__(self) -> Any:
        steps = self._inner.__await__()
        answer, error = None, None
        for number in count():
            try:
                what = steps.throw(error) if error is not None else steps.send(answer)
            except StopIteration as end:
                return end.value
            if number == self._nth:
                self.reached = True
                self._cancel()  # takes effect as this suspends
            answer, error = None, None
            try:
                answer = yield what
            except BaseException as thrown:
                error = thrown


async def cancelled_at(runtime: str, nth: int, inner: Awaitable[Any]) -> bool:
    """Await it, and cancel it where it suspends for the nth time; tells whether it came to that."""
    if runtime == "trio":
        import trio

        with trio.CancelScope() as scope:
            watched = _Watched(inner, nth, scope.cancel)
            await watched
        return watched.reached
    task = asyncio.current_task()
    assert task is not None
    watched = _Watched(inner, nth, task.cancel)
    try:
        await watched
    except asyncio.CancelledError:
        task.uncancel()
    return watched.reached


async def cancelled_when(due: Callable[[], bool], inner: Coroutine[Any, Any, Any]) -> str:
    """Run it beside this task, and cancel it as soon as something is so; tells how it ended."""
    if not _in_trio():
        task = asyncio.ensure_future(inner)
        while not due() and not task.done():
            await asyncio.sleep(0.001)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return "cancelled"
        return "done"
    import trio

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            finished = trio.Event()

            async def watched() -> None:
                await inner
                finished.set()

            nursery.start_soon(watched)
            while not due() and not finished.is_set():
                await trio.sleep(0.001)
            scope.cancel()
    return "cancelled" if scope.cancelled_caught else "done"


def _in_trio() -> bool:
    try:
        import trio
    except ImportError:
        return False
    return trio.lowlevel.in_trio_run()
