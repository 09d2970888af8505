"""People's own retries around a wrapped client: they go on working, and their attempts and ours don't multiply."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import backoff
import openai
import pytest
import tenacity
from openai import AsyncOpenAI, OpenAI
from tenacity import retry, stop_after_attempt, wait_random_exponential

import throttle
from tests.core.virtual import VirtualLoop, run_virtually
from tests.refusals.decorators import DECORATORS
from tests.refusals.wire import MESSAGES, MODEL, Wire, sdk_client
from throttle import Retry
from throttle.simulator import in_thread

QUIET = Retry(jitter=0)
LIMITS = {"rpm": 120, "tpm": 100_000}
OWN = {"tenacity": 6, "backoff": 10, "by hand": 11}
"""How often each of them makes a call."""


def refused(message: str = "Rate limit reached. Please try again in 1s.", **changes: Any) -> dict[str, Any]:
    told = {"kind": "status", "status": 429, "code": "rate_limit_exceeded", "message": message, "charged": False}
    return told | changes


def play(name: str, calls: int, *, workers: int = 16, policy: Any = QUIET, **settings: Any) -> Any:
    """Make calls through a decorated function around a wrapped client; gives the wire and what came of each call."""

    async def main(loop: VirtualLoop) -> tuple[Wire, list[Any]]:
        random.seed(5)
        wire = Wire(loop, **{"limits": LIMITS, "latency_s": (0.2, 0.8), **settings})
        limiter = throttle.Limiter(LIMITS, clock=loop.now_us)
        client = throttle.wrap(sdk_client(wire), limiter=limiter, retry=policy)

        async def completion(number: int) -> Any:
            return await client.chat.completions.create(model=MODEL, messages=MESSAGES, user=str(number))

        decorated, numbers, ended = DECORATORS[name](completion), iter(range(calls)), []

        async def work() -> None:
            for number in numbers:
                try:
                    ended.append(await decorated(number))
                except Exception as error:
                    ended.append(error)

        await asyncio.gather(*(work() for _ in range(workers)))
        (pool,) = limiter.snapshot().pools.values()
        assert (pool.waiting, pool.under_way) == (0, 0)
        return wire, ended

    return run_virtually(main)


@pytest.mark.parametrize("name", DECORATORS)
def test_around_a_wrapped_client_they_have_nothing_to_do(name: str) -> None:
    wire, ended = play(name, 150)
    assert wire.statuses() == [200] * 150
    assert not any(isinstance(end, Exception) for end in ended)


@pytest.mark.parametrize("name", DECORATORS)
def test_what_the_server_refuses_all_the_same_is_answered_in_the_end(name: str) -> None:
    wire, ended = play(name, 60, faults=[refused(rate=0.2)])
    assert not any(isinstance(end, Exception) for end in ended)
    assert wire.statuses().count(200) == 60


@pytest.mark.parametrize("name", DECORATORS)
def test_attempts_add_up_and_do_not_multiply(name: str) -> None:
    wire, ended = play(name, 1, policy=Retry(attempts=4, jitter=0), faults=[refused()])
    assert len(wire.calls) == 4 + OWN[name] - 1
    assert all(isinstance(end, Exception) for end in ended)


@pytest.mark.parametrize("name", DECORATORS)
def test_with_our_retries_off_theirs_and_the_sdks_are_what_they_always_were(name: str) -> None:
    wire, _ = play(name, 1, policy=None, faults=[refused()])
    assert len(wire.calls) == OWN[name] * 3


@pytest.mark.parametrize("name", DECORATORS)
def test_where_our_policy_is_spent_theirs_goes_on_and_succeeds(name: str) -> None:
    wire, ended = play(name, 1, policy=Retry(attempts=2, jitter=0), faults=[refused(times=4)])
    assert wire.statuses() == [429] * 4 + [200]
    assert not isinstance(ended[0], Exception)


def test_another_call_after_one_that_was_given_up_has_all_its_attempts() -> None:
    async def main(loop: VirtualLoop) -> list[int]:
        wire = Wire(loop, limits=LIMITS, faults=[refused()])
        client = throttle.wrap(
            sdk_client(wire), limiter=throttle.Limiter(LIMITS, clock=loop.now_us), retry=Retry(attempts=3)
        )
        sent = []
        for text in ("one", "two", "two", "one", "one"):
            before = len(wire.calls)
            with pytest.raises(openai.RateLimitError):
                await client.responses.create(model=MODEL, input=text)
            sent.append(len(wire.calls) - before)
        return sent

    assert run_virtually(main) == [3, 3, 1, 3, 1]


def test_what_can_never_go_is_no_rate_limit_error_that_they_would_repeat() -> None:
    async def main(loop: VirtualLoop) -> int:
        wire = Wire(loop, limits=LIMITS)
        limiter = throttle.Limiter({"rpm": 100, "tpm": 5}, clock=loop.now_us)
        client = throttle.wrap(sdk_client(wire), limiter=limiter)

        @backoff.on_exception(backoff.expo, openai.RateLimitError)
        async def completion() -> Any:
            return await client.chat.completions.create(model=MODEL, messages=MESSAGES)

        with pytest.raises(throttle.RequestTooLarge):
            await completion()
        return len(wire.calls)

    assert run_virtually(main) == 0


# in threads, over real HTTP, word for word as on the pages that people copy from


def test_sync_code_with_its_decorators_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    clock = SimpleNamespace(sleep=slept.append, time=lambda: 0.0)
    monkeypatch.setattr(tenacity.nap, "time", clock)
    monkeypatch.setattr("backoff._sync.time", clock)
    policy = Retry(attempts=2, initial_s=0, jitter=0)
    with in_thread(limits={"rpm": 60_000, "tpm": 6_000_000}) as server:
        client = throttle.wrap(
            OpenAI(base_url=server.base_url, api_key="sk-test"),
            limiter=throttle.Limiter({"rpm": 60_000, "tpm": 6_000_000}),
            retry=policy,
        )

        @retry(wait=wait_random_exponential(min=1, max=60), stop=stop_after_attempt(6))
        def completion_with_backoff(**kwargs: Any) -> Any:
            return client.chat.completions.create(**kwargs)

        @backoff.on_exception(backoff.expo, openai.RateLimitError)
        def completions_with_backoff(**kwargs: Any) -> Any:
            return client.chat.completions.create(**kwargs)

        for function in (completion_with_backoff, completions_with_backoff):
            server.reset(faults=[refused("Please try again in 1ms.", times=4)])
            answer = function(model=MODEL, messages=[{"role": "user", "content": "Once upon a time,"}])
            assert answer.choices
            assert [call.status for call in server.calls()] == [429] * 4 + [200]
    assert len(slept) == 6  # three each, beyond ours


def test_a_wrapped_clients_errors_are_those_that_decorators_look_for() -> None:
    assert issubclass(throttle.ThrottleError, openai.OpenAIError)
    assert not issubclass(throttle.WaitTimeout, openai.RateLimitError)
    assert isinstance(throttle.wrap(AsyncOpenAI(api_key="sk-test")), AsyncOpenAI)
