"""One call's flow: what is done between the hooks of the SDK, once for sync and async.

A call of the SDK is one or more attempts. Each attempt is: estimate, reserve, wait, send, and then one of

- answered: the headers are looked at, the charge stays;
- failed before it was handed to the HTTP client, or without ever reaching the server: the charge is given back;
- refused for its rate: it was not charged, its pool pauses, and it is sent again by us, at its old place in the queue;
  inside a stream the same, but that nobody can send it again behind the caller's back, and that what had begun to come
  stays charged;
- anything else: nobody knows what the server booked, so the charge stays. What is sent again then, the SDK sends again;
  where the server is overloaded the pool pauses all the same.

The one step that takes time is waiting for a permit. `Call.attempt` yields the permit and goes on once it has been
waited for; `drive` does that waiting in sync code, `adrive` in async code. Everything else is plain code that both
share.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import weakref
from collections.abc import Callable, Generator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from inspect import ismethod
from typing import Any, Final, Never

from openai import AsyncStream, Stream

from throttle.context import current_options
from throttle.costs import CallCost
from throttle.costs.endpoints import ENDPOINTS, deployment_of, normalise
from throttle.feedback.refusals import Refusal, read_refusal
from throttle.limiter import Limiter
from throttle.outcome import Outcome, Tally, outcome_of, outcome_of_response, watch, watch_async
from throttle.permit import Permit
from throttle.retry import Retry

__all__ = ["CURRENT", "Binding", "Call", "adrive", "drive", "error_being_handled"]

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

UNSENT_ERRORS_OF_AIOHTTP: Final = frozenset({"ClientConnectorError", "ConnectionTimeoutError", "InvalidURL"})
"""The same of aiohttp, with what derives from them."""

STREAMS: Final = (Stream, AsyncStream)

Step = Permit | Callable[[], object]
"""What takes time in a flow: a permit to be waited for, or a count of a long text."""

GIVEN_UP: ContextVar[tuple[str, float] | None] = ContextVar("throttle_given_up", default=None)
"""What was given up last in this context, as a hash, and when: how a call that a decorator makes once more is known."""

GIVEN_UP_S: Final = 300.0
"""For how long a call that is the same as the one given up last is a repetition of it."""

CURRENT: ContextVar[Call | None] = ContextVar("throttle_call", default=None)
"""The call that is being made in this context: how one hook finds what another one began."""


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

    def __reduce__(self) -> Never:
        raise TypeError("cannot pickle or deep-copy a wrapped client: its limiter belongs to this process")


class Call:
    """One call of the SDK, over all of its attempts."""

    __slots__ = (
        "again",
        "asked",
        "binding",
        "client",
        "cost",
        "open",
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
        self.asked: tuple[str, object] = ("", None)
        self.again: Permit | None = None
        self.refusal: Refusal | None = None
        self.open: OpenAnswer | None = None
        self.sent = False
        self.sent_times = 0
        self.waited_s = 0.0

    # the flow of one attempt, up to sending

    def attempt(self, url: str, method: str, body: object) -> Generator[Step, None, None]:
        """Reserve for the next attempt; yields what takes time: counting a long text, and waiting for the permit."""
        self.end_attempt()
        if method.lower() != "post":
            return
        binding, given = self.binding, current_options()
        if self.cost is None:
            self.cost = cost_of(url, body, binding)
            self.asked = url, body
            self.heed_repetition()
        cost = self.cost
        if cost is None:
            return
        limiter, pools, host = binding.limiter, binding.pools_of, binding.host
        if given.tokens is None and cost.heavy and limiter.must_count(pools, host, cost):
            yield partial(limiter.count, pools, host, cost)
        permit = limiter.permit_for(
            pools,
            host,
            cost,
            tokens=given.tokens,
            max_wait_s=None if given.max_wait is None else max(0.0, given.max_wait - self.waited_s),
            service_tier=body.get("service_tier") if isinstance(body, Mapping) else None,
            again=self.again,
            delay_s=given.drawn_delay_s() if self.again is None and not self.sent_times else 0.0,
            key=given.key,
        )
        yield permit
        self.permit = permit
        self.waited_s += permit.waited_s

    # what becomes of it

    def sending(self) -> None:
        """The attempt is about to be handed to the HTTP client."""
        self.sent = True
        self.sent_times += 1

    def answered(self, response: Any) -> None:
        """The server answered, with anything but a 429; several hooks may see the same answer."""
        permit = self.permit
        if permit is None or response is self.response:
            return
        self.response = response
        status = response.status_code
        if status >= 500 and (refusal := refusal_of(response)).kind == "overloaded":
            permit.refused(refusal, self.policy)
            self.again, self.permit = permit, None
        else:
            permit.observe(response.headers, is_error=status >= 400)

    def refused(self, response: Any) -> None:
        """The server answered with a 429: what it says decides what becomes of the pool."""
        permit = self.permit
        if permit is None or response is self.response:
            return
        self.response = response
        self.refusal = refusal = refusal_of(response)
        permit.refused(refusal, self.policy, self.sent_times)
        self.again, self.permit = permit, None

    @property
    def policy(self) -> Retry:
        """By what the pool pauses; also where we send nothing again ourselves."""
        return self.retry or Retry()

    def heed_repetition(self) -> None:
        """Where the call that was given up last is made once more, whoever does so has taken over: it is sent once each
        time, so that people's own retries and ours add up and don't multiply.
        """
        given_up = GIVEN_UP.get()
        if given_up is None:
            return
        GIVEN_UP.set(None)
        same = given_up[0] == _hash_of(self.asked) and time.monotonic() - given_up[1] < GIVEN_UP_S
        if same and self.retry is not None:
            self.retry = replace(self.retry, attempts=1)

    @property
    def retries_refusals(self) -> bool:
        """Whether refusals of this call are our business and not the SDK's."""
        return self.retry is not None and self.permit is not None

    def tries_again(self, error: BaseException) -> bool:
        """The SDK's call ended with an error: tell whether it is to be made once more, and clear up after it."""
        self.failed(error)
        refusal, self.refusal = self.refusal, None
        retry = self.retry
        if retry is None or refusal is None or getattr(error, "response", None) is not self.response:
            return False
        if not refusal.retry:
            return False
        if self.sent_times >= retry.attempts:
            GIVEN_UP.set((_hash_of(self.asked), time.monotonic()))
        return retry.allows(self.sent_times, refusal.kind)

    def delivered(self, answer: Any) -> Any:
        """The SDK returns an answer to the caller: learn what the call used, now or when the stream has been read."""
        permit, cost = self.permit, self.cost
        if permit is None or cost is None:
            return answer
        if isinstance(answer, STREAMS) and (iterator := getattr(answer, "_iterator", None)) is not None:
            self.open = stream = OpenStream(permit, cost, self.policy)
            watched = watch if isinstance(answer, Stream) else watch_async
            answer._iterator = watched(iterator, stream.tally, stream.ended)
        elif self.response is not None and not self.response.is_closed:
            self.open = OpenAnswer(permit, cost)
        else:
            permit.limiter.used(permit, cost, outcome_of(answer))
        return answer

    def failed(self, error: BaseException | None) -> None:
        """The attempt ended without an answer: give the charge back where the server can't have seen it."""
        permit = self.permit
        if permit is not None and (not self.sent or _is_unsent(error)):
            self.again, self.permit = permit, None
            permit.cancel()

    def end_attempt(self) -> None:
        """Whatever became of the last attempt is known by now; its charge stays. If there is another, it takes its
        place in the queue.
        """
        permit, self.permit, self.response, self.sent = self.permit, None, None, False
        if permit is not None:
            self.again = permit
            permit.close()

    def finish(self) -> None:
        """The SDK's call is over. Where a stream is still open, the permit ends with it."""
        permit, cost, response, answer = self.permit, self.cost, self.response, self.open
        if permit is not None and cost is not None and response is not None:
            if answer is None and not response.is_closed:
                answer = OpenAnswer(permit, cost)
            if answer is not None:
                _call_on_close(response, answer.closed)
                self.permit = None
        self.end_attempt()


class OpenAnswer:
    """An answer whose body the caller still has to read, if at all: that of `with_streaming_response`.

    The response is closed when its body has been read, and once more at the end of the caller's block; only then is a
    body there that was read as a whole. One that was read in pieces passes us, and its charge stays.
    """

    __slots__ = ("_cost", "_settled", "permit")

    def __init__(self, permit: Permit, cost: CallCost) -> None:
        self.permit = permit
        self._cost = cost
        self._settled: int | None = None

    def closed(self, response: Any) -> None:
        """The response was closed, read to its end or left early: settle, and end the permit."""
        self.settle(outcome_of_response(response))
        self.permit.close()

    def settle(self, told: Outcome) -> None:
        """Learn what the call used, as far as that is known by now."""
        if told.tokens is not None and told.tokens != self._settled:
            self._settled = told.tokens
            self.permit.limiter.used(self.permit, self._cost, told)


class OpenStream(OpenAnswer):
    """A stream that the caller is still reading when the SDK's call is over."""

    __slots__ = ("_is_over", "_policy", "tally")

    def __init__(self, permit: Permit, cost: CallCost, policy: Retry) -> None:
        super().__init__(permit, cost)
        self._is_over = False
        self._policy = policy
        self.tally = Tally()

    def closed(self, response: Any) -> None:
        if not self.tally.is_reading:  # else the SDK closes it on its way out, and why is known when `ended` comes
            self.ended(None)

    def ended(self, error: BaseException | None) -> None:
        """Nothing more is handed on: the stream was read to its end or left, or an error came in an event's place."""
        tally = self.tally
        self.settle(tally.outcome(self._cost.input_tokens) if self.permit.charge == "usage" else tally.usage())
        if self._is_over:
            return
        self._is_over = True
        refusal = self._refusal(error)
        if refusal is None:
            self.permit.close()
        else:
            self.permit.limiter.refused_in_stream(self.permit, refusal, self._policy, begun=tally.has_begun)

    def _refusal(self, error: BaseException | None) -> Refusal | None:
        """Read the refusal that the stream ended with; None where it ended well or with any other error."""
        failure = self.tally.failure if self.tally.failure is not None else getattr(error, "body", None)
        if failure is None:
            return None
        code, message = getattr(failure, "code", None), getattr(failure, "message", None) or str(failure)
        told = failure if isinstance(failure, Mapping) else {"code": code, "message": message}
        text = json.dumps({"error": dict(told)}, default=str)
        refusal = read_refusal(200, {}, text, wall_s=time.time())
        return None if refusal.kind in ("server", "other") else refusal


def drive(flow: Generator[Step, None, None]) -> None:
    """Do, in sync code, what the flow yields."""
    for step in flow:
        if isinstance(step, Permit):
            step.__enter__()
        else:
            step()


async def adrive(flow: Generator[Step, None, None]) -> None:
    """Do, in async code, what the flow yields; long counts in a thread, so that the event loop goes on."""
    for step in flow:
        if isinstance(step, Permit):
            await step
        else:
            import anyio.to_thread  # the SDK's own way to threads, under asyncio and trio alike

            await anyio.to_thread.run_sync(step)


def cost_of(url: str, body: object, binding: Binding) -> CallCost | None:
    """Read a call's cost from its path and body; None where it draws on no model's limits."""
    endpoint = normalise(url)
    if not isinstance(body, Mapping):
        body = {}
    model = body.get("model")
    if endpoint not in ENDPOINTS and (endpoint.strip("/").split("/", 1)[0] in FREE or not isinstance(model, str)):
        return None
    if not isinstance(model, str) or not model:
        # which model an endpoint takes by default is the server's business: such calls have a pool of its name
        model = deployment_of(url) or endpoint.strip("/")
        body = {**body, "model": model}
    limiter = binding.limiter
    expected = partial(limiter.expected_output, model, endpoint)
    return CallCost(body, url, expected, model=limiter.counted_as(binding.pools_of, model))


def refusal_of(response: Any) -> Refusal:
    """Read why a response refuses the call."""
    body = response.content if response.is_closed else None  # one that is streamed hasn't been read
    return read_refusal(response.status_code, response.headers, body, wall_s=time.time())


def _hash_of(asked: tuple[str, object]) -> str:
    return hashlib.blake2b(repr(asked).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


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
            return not _is_from_aiohttp(error.__cause__) or _is_unsent_of_aiohttp(error.__cause__)
        error = error.__cause__
    return False


def _is_from_aiohttp(error: BaseException | None) -> bool:
    return type(error).__module__.partition(".")[0] == "aiohttp"


def _is_unsent_of_aiohttp(error: BaseException | None) -> bool:
    """Tell it by aiohttp's own error: the SDK's transport calls a connection that breaks at any time a
    `ConnectTimeout`.
    """
    return any(kind.__name__ in UNSENT_ERRORS_OF_AIOHTTP for kind in type(error).__mro__)


def error_being_handled() -> BaseException | None:
    """Tell the error that the SDK is handling right now: its hooks are not given it."""
    return sys.exc_info()[1]


def _call_on_close(response: Any, act: Callable[[Any], None]) -> None:
    """Act when a response is closed, which the SDK does when it was read to its end or left early. What is hung on the
    response doesn't hold it: else it would stay, with its body, until the garbage collector comes by.
    """
    there = weakref.ref(response)
    sync_close, async_close = _weakly(response.close), _weakly(response.aclose)

    def close() -> None:
        if (closing := there()) is not None:
            act(closing)
            sync_close()()

    async def aclose() -> None:
        if (closing := there()) is not None:
            act(closing)
            await async_close()()

    response.close, response.aclose = close, aclose


def _weakly(method: Callable[..., Any]) -> Callable[[], Any]:
    """Give a function that returns a method and doesn't hold whose method it is."""
    return weakref.WeakMethod(method) if ismethod(method) else lambda: method
