"""One call's flow: what is done between the hooks of the SDK, once for sync and async.

A call of the SDK is one or more attempts. Each attempt is: estimate, reserve, wait, send, and then one of

- answered: the headers are looked at, the charge stays;
- failed before it was handed to the HTTP client, or without ever reaching the server: the charge is given back;
- anything else: nobody knows what the server booked, so the charge stays.

The one step that takes time is waiting for a permit. `Call.attempt` yields the permit and goes on once it has been
waited for; `drive` does that waiting in sync code, `adrive` in async code. Everything else is plain code that both
share.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from throttle.costs import CallCost
from throttle.costs.endpoints import ENDPOINTS, deployment_of, normalise
from throttle.feedback.refusals import Refusal, read_refusal
from throttle.limiter import Limiter, Permit
from throttle.retry import Retry

__all__ = ["CURRENT", "Binding", "Call", "CallOptions", "adrive", "current_options", "drive", "options"]

FREE: Final = frozenset(
    {
        "assistants",
        "batches",
        "containers",
        "conversations",
        "evals",
        "files",
        "fine_tuning",
        "models",
        "organization",
        "realtime",
        "threads",
        "uploads",
        "vector_stores",
        "videos",
    }
)
"""The first part of the paths whose calls draw on no model's limits, though some of their bodies name a model."""

UNSENT_ERRORS: Final = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"})
"""The errors of httpx, httpx2 and their transports that tell that the server saw nothing of the request."""


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What holds for the calls made in a context.

    Attributes:
        max_wait: seconds that a call may wait in sum, over all of its attempts; None: as long as it takes.
        tokens: what a call is charged, in place of the estimate; None: the estimate.
        retry: when a refused call is sent again, as for `wrap`; without it, what the client was wrapped with holds.
    """

    max_wait: float | None = None
    tokens: int | None = None
    retry: Retry | Literal["client's"] | None = "client's"

    def retry_of(self, wrapped_with: Retry | None) -> Retry | None:
        """Choose between a client's policy and that of this context."""
        return wrapped_with if isinstance(self.retry, str) else self.retry


_OPTIONS: ContextVar[CallOptions] = ContextVar("throttle_options", default=CallOptions())  # noqa: B039 - it is frozen

CURRENT: ContextVar[Call | None] = ContextVar("throttle_call", default=None)
"""The call that is being made in this context: how one hook finds what another one began."""


def current_options() -> CallOptions:
    """Tell the options that hold here."""
    return _OPTIONS.get()


@contextmanager
def options(**changes: Any) -> Iterator[None]:
    """Set options for the calls made inside the block, in this thread or task; what isn't named stays as it is outside.

    Args:
        max_wait: seconds that a call may wait in sum, over all of its attempts; None: as long as it takes.
        tokens: what a call is charged, in place of the estimate; None: the estimate.
        retry: a `Retry`, a list of delays in seconds, or None, for the calls made inside.

    Raises:
        TypeError: an option that does not exist.
        ValueError: a value that makes no sense.
    """
    for name in changes:
        if name not in CallOptions.__slots__:
            raise TypeError(f"throttle.options has no {name!r}; there are: {', '.join(CallOptions.__slots__)}")
    if "retry" in changes:
        changes["retry"] = Retry.of(changes["retry"])
    for name in ("max_wait", "tokens"):
        value = changes.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0):
            raise ValueError(f"throttle.options({name}={value!r}): a number of 0 or more, or None, is wanted")
    token = _OPTIONS.set(replace(_OPTIONS.get(), **changes))
    try:
        yield
    finally:
        _OPTIONS.reset(token)


@dataclass(frozen=True, slots=True)
class Binding:
    """What ties a client to its limiter.

    Attributes:
        limiter: the limiter.
        home: the hash of the account that the client was wrapped with; its calls draw on the limiter's own pools.
        account: the hash of the client's account now; another one than `home` has pools of its own.
        host: the server's name, by which its habits are known.
        retry: when a refused call is sent again; None: never, by us.
    """

    limiter: Limiter
    home: str
    account: str
    host: str
    retry: Retry | None

    @property
    def pools_of(self) -> str:
        """Whose pools the calls draw on: "" for the limiter's own."""
        return "" if self.account == self.home else self.account


class Call:
    """One call of the SDK, over all of its attempts."""

    __slots__ = (
        "again",
        "binding",
        "client",
        "cost",
        "permit",
        "refusal",
        "response",
        "retry",
        "sent",
        "sent_times",
        "waited_s",
    )

    def __init__(self, client: object, binding: Binding) -> None:
        self.client = client
        self.binding = binding
        self.cost: CallCost | None = None
        self.permit: Permit | None = None
        self.response: Any = None
        self.retry = current_options().retry_of(binding.retry)
        self.again: Permit | None = None
        self.refusal: Refusal | None = None
        self.sent = False
        self.sent_times = 0
        self.waited_s = 0.0

    # the flow of one attempt, up to sending

    def attempt(self, url: str, method: str, body: object) -> Generator[Permit, None, None]:
        """Reserve for the next attempt; yields the permit, to be waited for."""
        self.end_attempt()
        permit = self._ask(url, method, body)
        if permit is None:
            return
        yield permit
        self.permit = permit
        self.waited_s += permit.waited_s

    def _ask(self, url: str, method: str, body: object) -> Permit | None:
        if method.lower() != "post":
            return None
        if self.cost is None:
            self.cost = cost_of(url, body)
        cost = self.cost
        if cost is None or cost.model is None:
            return None
        binding, given = self.binding, _OPTIONS.get()
        max_wait_s = None if given.max_wait is None else max(0.0, given.max_wait - self.waited_s)
        return binding.limiter.permit_for(
            binding.pools_of,
            binding.host,
            cost,
            tokens=given.tokens,
            max_wait_s=max_wait_s,
            again=self.again,
        )

    # what becomes of it

    def sending(self) -> None:
        """The attempt is about to be handed to the HTTP client."""
        self.sent = True
        self.sent_times += 1

    def answered(self, response: Any) -> None:
        """The server answered, with anything but a 429; several hooks may see the same answer."""
        if response is not self.response:
            self.response = response
            if self.permit is not None:
                self.permit.observe(response.headers)

    def refused(self, response: Any) -> None:
        """The server answered with a 429: what it says decides what becomes of the pool."""
        permit = self.permit
        if permit is None or response is self.response:
            return
        self.response = response
        body = response.content if response.is_closed else None  # one that is streamed hasn't been read
        self.refusal = refusal = read_refusal(429, response.headers, body, wall_s=time.time())
        retry = self.retry or Retry()
        permit.refused(refusal, retry.delay_s(self.sent_times, refusal.wait_s))
        self.again, self.permit = permit, None

    @property
    def retries_refusals(self) -> bool:
        """Whether refusals of this call are our business and not the SDK's."""
        return self.retry is not None and self.permit is not None

    def tries_again(self, error: BaseException) -> bool:
        """The SDK's call ended with an error: tell whether it is to be made once more, and clear up after it."""
        self.failed(error)
        refusal, self.refusal = self.refusal, None
        return (
            self.retry is not None
            and refusal is not None
            and getattr(error, "response", None) is self.response
            and refusal.retry
            and self.retry.allows(self.sent_times, refusal.kind)
        )

    def failed(self, error: BaseException | None) -> None:
        """The attempt ended without an answer: give the charge back where the server can't have seen it."""
        permit = self.permit
        if permit is not None and (not self.sent or _is_unsent(error)):
            self.permit = None
            permit.cancel()

    def end_attempt(self) -> None:
        """Whatever became of the last attempt is known by now; its charge stays."""
        permit, self.permit, self.response, self.sent = self.permit, None, None, False
        if permit is not None:
            permit.close()

    def finish(self) -> None:
        """The SDK's call is over. Where a stream is still open, the permit ends with it."""
        if self.permit is not None and self.response is not None and not self.response.is_closed:
            _close_with(self.response, self.permit)
            self.permit = None
        self.end_attempt()


def drive(flow: Generator[Permit, None, None]) -> None:
    """Wait, in sync code, for what the flow yields."""
    for permit in flow:
        permit.__enter__()


async def adrive(flow: Generator[Permit, None, None]) -> None:
    """Wait, in async code, for what the flow yields."""
    for permit in flow:
        await permit


def cost_of(url: str, body: object) -> CallCost | None:
    """Read a call's cost from its path and body; None where it draws on no model's limits."""
    endpoint = normalise(url)
    if not isinstance(body, Mapping):
        body = {}
    if endpoint in ENDPOINTS:
        cost = CallCost(body, url)
        return cost if cost.model else CallCost({**body, "model": _unnamed(endpoint, url)}, url)
    if endpoint.strip("/").split("/", 1)[0] in FREE or not isinstance(body.get("model"), str):
        return None
    return CallCost(body, url)


def _unnamed(endpoint: str, url: str) -> str:
    """Name the pool of a call that names no model: the endpoint's own default is the server's business."""
    return deployment_of(url) or endpoint.strip("/")


def _is_unsent(error: BaseException | None) -> bool:
    """Tell whether an error, or what it was raised from, says that nothing reached the server."""
    for _ in range(8):
        if error is None:
            return False
        kind = type(error)
        if kind.__name__ in UNSENT_ERRORS and kind.__module__.partition(".")[0] in (
            "httpx",
            "httpx2",
            "httpcore",
            "httpcore2",
        ):
            return True
        error = error.__cause__
    return False


def error_being_handled() -> BaseException | None:
    """Tell the error that the SDK is handling right now: its hooks are not given it."""
    return sys.exc_info()[1]


def _close_with(response: Any, permit: Permit) -> None:
    """End the permit when the response is closed, read to its end, or forgotten."""
    sync_close, async_close = response.close, response.aclose

    def close() -> None:
        permit.close()
        sync_close()

    async def aclose() -> None:
        permit.close()
        await async_close()

    response.close, response.aclose = close, aclose
