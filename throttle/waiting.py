"""Where callers wait: threads, asyncio loops, trio runs. How each is woken, and how each keeps a pool's time.

A runtime does two things for a gate (`throttle.gate`): it wakes one of its own waiters, and it rings at an instant.
Both may be asked from any thread, always under the limiter's lock. Nobody polls, and no thread is started: an asyncio
loop rings by a timer of its own, a trio run by a system task that lives only while it is needed, threads by letting the
first of those that wait be the one that wakes up in time.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Protocol

from throttle.bucket import NEVER

if TYPE_CHECKING:
    import trio

__all__ = ["AsyncioRuntime", "Gone", "Runtime", "Sleeper", "ThreadRuntime", "TrioRuntime", "running_trio"]

Ring = Callable[["Runtime", Any], None]
"""What a runtime calls when it is time: `ring(runtime, gate)`."""

Clock = Callable[[], int]
"""A monotonic clock in microseconds."""


class Gone(Exception):
    """The runtime has ended: nobody waits there any more and nobody will."""


class Runtime(Protocol):
    """One place in which callers wait."""

    def wake(self, handle: Any) -> None:
        """Wake the waiter behind the handle. Raises Gone."""

    def ring_at(self, gate: Any, at_us: int) -> None:
        """Ring for the gate at an instant, in place of any earlier order for it. Raises Gone."""

    def has_ended(self) -> bool:
        """Tell whether it is known that nobody will ever run here again."""


class Sleeper:
    """A thread that waits. It sleeps on a lock that is taken already, until somebody releases it or its time is up."""

    __slots__ = ("_lock", "is_busy", "until_us")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self.is_busy = False  # does something else first; it keeps nobody's time meanwhile
        self.until_us = NEVER

    def sleep(self, timeout_s: float | None) -> None:
        # threading's own bound, some three centuries on most systems
        self._lock.acquire(timeout=-1 if timeout_s is None else min(timeout_s, threading.TIMEOUT_MAX))

    def wake(self) -> None:
        if self._lock.locked():
            self._lock.release()


class ThreadRuntime:
    """All threads that wait in sync code. The first of those waiting at a gate keeps its time, but for one that is
    busy.
    """

    def __init__(self) -> None:
        self._sleepers: dict[Hashable, dict[Sleeper, None]] = {}
        self._at_us: dict[Hashable, int] = {}

    def join(self, gate: Hashable, sleeper: Sleeper) -> None:
        self._sleepers.setdefault(gate, {})[sleeper] = None

    def leave(self, gate: Hashable, sleeper: Sleeper) -> None:
        """Let a sleeper go; if it kept the time, the next one in line takes over."""
        sleepers = self._sleepers.get(gate)
        if sleepers is None or sleeper not in sleepers:
            return
        led = self._leader(sleepers) is sleeper
        del sleepers[sleeper]
        if not sleepers:
            del self._sleepers[gate]
            self._at_us.pop(gate, None)
        elif led and gate in self._at_us and (leader := self._leader(sleepers)) is not None:
            leader.wake()

    def until_us(self, gate: Hashable, sleeper: Sleeper) -> int:
        """Tell how long this sleeper may sleep: to the ring if it keeps the time, else until it is woken."""
        sleepers = self._sleepers.get(gate)
        leads = sleepers is not None and self._leader(sleepers) is sleeper
        sleeper.until_us = self._at_us.get(gate, NEVER) if leads else NEVER
        return sleeper.until_us

    def has_ended(self) -> bool:
        return False

    def wake(self, handle: Sleeper) -> None:
        handle.wake()

    def ring_at(self, gate: Hashable, at_us: int) -> None:
        sleepers = self._sleepers.get(gate)
        if not sleepers:
            raise Gone
        self._at_us[gate] = at_us
        leader = self._leader(sleepers)
        if leader is not None and leader.until_us > at_us:  # one that wakes up too early finds out by itself
            leader.wake()

    @staticmethod
    def _leader(sleepers: dict[Sleeper, None]) -> Sleeper | None:
        return next((sleeper for sleeper in sleepers if not sleeper.is_busy), None)


class AsyncioRuntime:
    """One asyncio event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, ring: Ring) -> None:
        self._loop = weakref.ref(loop)
        self._clock = clock
        self._ring = ring
        self._timers: dict[Hashable, asyncio.TimerHandle] = {}
        self._left: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._woken = False

    def wake(self, handle: asyncio.Future[None]) -> None:
        self._run_there(_resolve, handle)

    def ring_at(self, gate: Hashable, at_us: int) -> None:
        self._run_there(self._set_timer, gate, at_us)

    def has_ended(self) -> bool:
        loop = self._loop()
        return loop is None or loop.is_closed()

    def _run_there(self, act: Callable[..., None], *args: Any) -> None:
        loop = self._loop()
        if loop is None or loop.is_closed():
            raise Gone
        if asyncio._get_running_loop() is loop:
            self._do_what_was_left()  # first, as of two orders of one gate the later holds
            act(*args)
            return
        self._left.append((act, args))
        if self._woken:  # waking a loop is a system call, so it is done once for all that is left to it meanwhile
            return
        self._woken = True  # first, as the loop may be done before this thread goes on
        try:
            loop.call_soon_threadsafe(self._do_what_was_left)
        except RuntimeError:  # closed since we looked
            raise Gone from None

    def _do_what_was_left(self) -> None:
        self._woken = False  # first, as what is left from now on has to wake the loop again
        while self._left:
            act, args = self._left.popleft()
            act(*args)

    def _set_timer(self, gate: Hashable, at_us: int) -> None:
        loop = self._loop()
        assert loop is not None
        if old := self._timers.get(gate):
            old.cancel()
        delay_s = max(0, at_us - self._clock()) / 1e6
        self._timers[gate] = loop.call_later(delay_s, self._on_timer, gate)

    def _on_timer(self, gate: Hashable) -> None:
        self._timers.pop(gate, None)
        self._ring(self, gate)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class TrioRuntime:
    """One trio run."""

    def __init__(self, token: trio.lowlevel.TrioToken, clock: Clock, ring: Ring) -> None:
        self._token = token
        self._clock = clock
        self._ring = ring
        self._orders: dict[Hashable, int] = {}
        self._scope: trio.CancelScope | None = None

    def wake(self, handle: trio.lowlevel.Task) -> None:
        self._run_there(self._reschedule, handle)

    def ring_at(self, gate: Hashable, at_us: int) -> None:
        self._run_there(self._order, gate, at_us)

    def has_ended(self) -> bool:
        import trio

        try:
            self._token.run_sync_soon(_nothing, idempotent=True)
        except trio.RunFinishedError:
            return True
        return False

    async def park(self, still_waiting: Callable[[], bool]) -> None:
        """Wait in a trio task until woken; a cancel ends the waiting at once."""
        import trio

        def abort(_: Any) -> trio.lowlevel.Abort:
            task.custom_sleep_data = None
            return trio.lowlevel.Abort.SUCCEEDED

        task = trio.lowlevel.current_task()
        if still_waiting():  # another thread may have been quicker
            task.custom_sleep_data = self
            await trio.lowlevel.wait_task_rescheduled(abort)
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    def _run_there(self, act: Callable[..., None], *args: Any) -> None:
        import trio

        if running_trio() is self._token:
            act(*args)
            return
        try:
            self._token.run_sync_soon(act, *args)
        except trio.RunFinishedError:
            raise Gone from None

    def _reschedule(self, task: trio.lowlevel.Task) -> None:
        import trio

        if task.custom_sleep_data is self:  # else it has been cancelled meanwhile, or hasn't begun to sleep
            task.custom_sleep_data = None
            trio.lowlevel.reschedule(task)

    def _order(self, gate: Hashable, at_us: int) -> None:
        import trio

        idle = not self._orders
        self._orders[gate] = at_us
        if self._scope is not None:
            self._scope.cancel()
        elif idle:
            trio.lowlevel.spawn_system_task(self._keep_time)

    async def _keep_time(self) -> None:
        import trio

        while self._orders:
            wait_s = max(0, min(self._orders.values()) - self._clock()) / 1e6
            with trio.CancelScope(deadline=trio.current_time() + wait_s) as self._scope:
                await trio.sleep_forever()
            self._scope = None
            now_us = self._clock()
            for gate in [gate for gate, at_us in self._orders.items() if at_us <= now_us]:
                del self._orders[gate]
                self._ring(self, gate)


def _nothing() -> None:
    pass


def running_trio() -> trio.lowlevel.TrioToken | None:
    """Tell the token of the trio run that this code is in, None outside of trio."""
    if "trio" not in sys.modules:
        return None
    import trio

    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        return None
