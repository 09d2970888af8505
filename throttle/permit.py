"""A permit: the right to make one call, and, while it is waited for, its own place in the queue."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Generator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from throttle.feedback.refusals import Refusal
from throttle.meter import Amount
from throttle.pool import ADMITTED, EXPIRED, NEW, WAITING, Ticket
from throttle.retry import Retry
from throttle.routing import Route
from throttle.waiting import running_trio

if TYPE_CHECKING:
    from throttle.charging import Clue
    from throttle.limiter import Limiter

__all__ = ["Permit"]


class Permit(Ticket):
    """The right to make one call, once it has been waited for.

    Enter it (`with`, `async with`) or await it to wait. Leaving the block keeps the charge; `cancel` gives it back, for
    a call that was not sent after all.
    """

    __slots__ = ("__weakref__", "_clue", "_gate", "_max_wait_s", "_weight", "account", "charge", "limiter")

    def __init__(self, limiter: Limiter, account: str, route: Route, model: str, max_wait_s: float | None) -> None:
        # what only those who wait need is set when they begin to: most permits are had at once
        pool = route.gate.pool
        self.pool = pool
        self.model = self.row = model
        self.meters = pool.meters
        self.state = NEW
        self.number = self.earliest_us = self.waited_us = 0
        self.marks = ()
        self.limiter = limiter
        self.account = account
        self.charge = ""
        self._clue: Clue | None = None
        self._gate = route.gate
        self._weight = route.weight
        self._max_wait_s = max_wait_s

    # waiting

    def __enter__(self) -> Self:
        if not self.limiter._admit_now(self):
            self.limiter._wait_in_thread(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.state == ADMITTED:
            self.limiter._release(self)

    def __await__(self) -> Generator[Any, Any, Self]:
        limiter = self.limiter
        if limiter._admit_now(self):
            return self
        try:
            loop = asyncio._get_running_loop()
            if loop is not None:
                future = limiter._queue_in_loop(self, loop)
                yield from future  # even where it may go by now: those in front of it are woken first
            elif (token := running_trio()) is not None:
                runtime = limiter._queue_in_trio(self, token)
                while self.state == WAITING:
                    yield from runtime.park(self._is_waiting).__await__()
            else:
                raise RuntimeError("a permit can be awaited in asyncio or trio; in sync code use 'with'")
            limiter._check_admitted(self)
        except BaseException:
            limiter._withdraw(self)
            raise
        return self

    def __aenter__(self) -> Self:
        return self  # and is awaited: a coroutine around it would be one more frame for each that waits

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.state == ADMITTED:
            self.limiter._release(self)

    def _is_waiting(self) -> bool:
        return self.state == WAITING

    # afterwards

    @property
    def waited_s(self) -> float:
        """How long it was waited for, in seconds."""
        return self.waited_us / 1e6

    def observe(self, headers: Mapping[str, str], *, is_error: bool = False) -> None:
        """Learn from the headers of the answer to the call that was made with this permit; of an error without any
        rate-limit headers, only that it came.
        """
        self.limiter._observe(self, headers, is_error)

    def refused(self, refusal: Refusal, retry: Retry, attempts: int = 1) -> None:
        """Learn that the server refused the call, sent for so many times: its pool pauses as told or else by the
        policy, and the permit ends.
        """
        self.limiter._refused(self, refusal, retry, attempts)

    def settle(self, *, tokens: Amount) -> None:
        """Replace the tokens that were charged by what the call really cost; may be called once the answer is in."""
        self.limiter._settle(self, "tokens", tokens * self._weight)

    def cancel(self) -> None:
        """Give the charge back: the call was not sent. Does nothing once the permit has ended."""
        self.limiter._withdraw(self)

    def close(self) -> None:
        """End the permit; the charge stays. Happens by itself at the end of a block."""
        if self.state == ADMITTED:
            self.limiter._release(self)

    def __del__(self) -> None:
        if self.state == ADMITTED:
            self.limiter._note(self, "release")
        elif self.state == NEW:
            self.state = EXPIRED
            warnings.warn(
                f"a permit for {self.model!r} was never entered nor awaited", RuntimeWarning, stacklevel=2, source=self
            )

    def __repr__(self) -> str:
        state = ("new", "waiting", "admitted", "ended", "expired")[self.state]
        return f"<Permit for {self.model!r} in {self.pool.name!r}, {state}>"
