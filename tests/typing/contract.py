"""What type checkers are to see of the public API. Not run: `mypy` and `basedpyright` read it.

Every `assert_type` is a promise; so is every ignored error, for both complain of an ignore that is not needed:

    mypy tests/typing
    basedpyright --warnings tests/typing/contract.py
"""

# pyright: basic, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import assert_type

from openai import AsyncAzureOpenAI, AsyncOpenAI, AsyncStream, AzureOpenAI, OpenAI, Stream
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageParam

import throttle
from throttle import Cost, Limiter, Permit


class Mine(OpenAI):
    """A client of a program's own."""

    region: str = "eu"


MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


def wrapping_keeps_the_type(
    sync: OpenAI, asynchronous: AsyncOpenAI, azure: AzureOpenAI, async_azure: AsyncAzureOpenAI, mine: Mine
) -> None:
    assert_type(throttle.wrap(sync), OpenAI)
    assert_type(throttle.wrap(asynchronous), AsyncOpenAI)
    assert_type(throttle.wrap(azure), AzureOpenAI)
    assert_type(throttle.wrap(async_azure), AsyncAzureOpenAI)
    assert_type(throttle.wrap(mine), Mine)
    assert_type(throttle.wrap(mine).region, str)
    assert_type(throttle.wrap(sync, limits={"rpm": 600, "tpm": 60_000}), OpenAI)
    assert_type(throttle.wrap(sync, limits="limits.yaml", tier="tier-2", account="default"), OpenAI)
    assert_type(throttle.wrap(asynchronous, limiter=throttle.limiter_of(sync)), AsyncOpenAI)
    assert_type(throttle.wrap(sync, retry=None, pacing="smooth"), OpenAI)
    assert_type(throttle.wrap(sync, retry=throttle.Retry(attempts=3)), OpenAI)
    assert_type(throttle.wrap(sync, retry=[1.0, 2.0]), OpenAI)


def calls_give_what_the_sdk_gives(client: OpenAI) -> None:
    wrapped = throttle.wrap(client)
    create = wrapped.chat.completions.create
    assert_type(create(model="gpt-4o", messages=MESSAGES), ChatCompletion)
    assert_type(create(model="gpt-4o", messages=MESSAGES, stream=True), Stream[ChatCompletionChunk])
    assert_type(wrapped.with_options(timeout=3), OpenAI)


async def async_calls_give_what_the_sdk_gives(client: AsyncOpenAI) -> None:
    create = throttle.wrap(client).chat.completions.create
    assert_type(await create(model="gpt-4o", messages=MESSAGES), ChatCompletion)
    assert_type(await create(model="gpt-4o", messages=MESSAGES, stream=True), AsyncStream[ChatCompletionChunk])


def a_limiter_gives_permits(limiter: Limiter) -> None:
    assert_type(limiter.acquire("gpt-4o", tokens=900), Permit)
    with limiter.acquire("gpt-4o", tokens=900, requests=1, images=0, max_wait=3.5) as permit:
        assert_type(permit, Permit)
        permit.observe({"x-ratelimit-remaining-tokens": "1"})
        permit.settle(tokens=800)
    assert_type(limiter.try_acquire("gpt-4o"), Permit | None)
    assert_type(limiter.wait_time("gpt-4o", tokens=900), float)
    assert_type(limiter.tier, str)
    for name, pool in limiter.snapshot().pools.items():
        assert_type(name, str)
        assert_type((pool.waiting, pool.under_way, pool.admitted, pool.refused), tuple[int, int, int, int])


async def a_limiter_gives_permits_in_async_code(limiter: Limiter) -> None:
    assert_type(await limiter.acquire("gpt-4o", tokens=900), Permit)
    async with limiter.acquire("gpt-4o", tokens=900) as permit:
        assert_type(permit, Permit)


def options_and_estimates() -> None:
    with throttle.options(max_wait=30, tokens=None):
        pass
    with throttle.options(delay=1.5, key="me", retry=None) as nothing:
        assert_type(nothing, None)
    cost = throttle.estimate({"model": "gpt-4o", "messages": MESSAGES}, endpoint="/chat/completions")
    assert_type(cost, Cost)
    assert_type(
        (cost.requests, cost.input_tokens, cost.output_tokens, cost.tokens, cost.images), tuple[int, int, int, int, int]
    )
    assert_type(throttle.Limiter("limits.yaml", tier="tier-2"), Limiter)


def errors_have_their_figures(error: throttle.WaitTimeout | throttle.RequestTooLarge) -> None:
    assert_type(error.pool, str)
    assert_type(error.meter, str | None)


def what_is_wrong_is_told(client: OpenAI) -> None:
    throttle.wrap("sk-key")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    throttle.wrap(client, pacing="fast")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    throttle.wrap(client, limit="limits.yaml")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    throttle.limiter_of("sk-key")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
