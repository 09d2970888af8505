"""Limiters that count by themselves and don't listen to the server. Refusals are left to the SDK, with ten retries.

Where how far it may burst can be set, it is set to a second: a full minute's burst is refused by a server that isn't
full. `aiolimiter` stands here in both ways, to show what either costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from benchmarks.contenders.contract import Body, Call, Job, client_for
from benchmarks.contenders.counting import tokens_of

__all__ = [
    "aiolimiter_burst",
    "aiolimiter_paced",
    "fixed_delay",
    "langchain",
    "limits",
    "llama_index",
    "pyrate",
    "throttled",
]

RETRIES = 10
PATIENCE_S = 3600.0


@asynccontextmanager
async def _behind(job: Job, wait: Callable[[Body], Awaitable[object]]) -> AsyncIterator[Call]:
    async with client_for(job, retries=RETRIES) as client:

        async def call(body: Body) -> object:
            await wait(body)
            return await client.chat.completions.create(**body)

        yield call


@asynccontextmanager
async def fixed_delay(job: Job) -> AsyncIterator[Call]:
    """A lock and a sleep: calls start evenly spaced, at the mean rate that the binding limit allows."""
    lock, spacing_s = asyncio.Lock(), 1 / job.calls_per_s

    async def wait(_: Body) -> None:
        async with lock:
            await asyncio.sleep(spacing_s)

    async with _behind(job, wait) as call:
        yield call


@asynccontextmanager
async def _aiolimiter(job: Job, period_s: float) -> AsyncIterator[Call]:
    library: Any = import_module("aiolimiter")
    requests = library.AsyncLimiter(job.rpm * period_s / 60, period_s)
    tokens = library.AsyncLimiter(job.tpm * period_s / 60, period_s)

    async def wait(body: Body) -> None:
        await tokens.acquire(tokens_of(body))
        await requests.acquire()

    async with _behind(job, wait) as call:
        yield call


def aiolimiter_burst(job: Job) -> Any:
    """Two leaky buckets, of a minute."""
    return _aiolimiter(job, 60.0)


def aiolimiter_paced(job: Job) -> Any:
    """Two leaky buckets, of a second."""
    return _aiolimiter(job, 1.0)


@asynccontextmanager
async def pyrate(job: Job) -> AsyncIterator[Call]:
    """Two limiters with weights."""
    library: Any = import_module("pyrate_limiter")
    requests = library.Limiter(library.Rate(job.rpm // 60, library.Duration.SECOND))
    tokens = library.Limiter(library.Rate(job.tpm // 60, library.Duration.SECOND))

    async def wait(body: Body) -> None:
        await tokens.try_acquire_async("tokens", tokens_of(body))
        await requests.try_acquire_async("requests", 1)

    try:
        async with _behind(job, wait) as call:
            yield call
    finally:
        requests.close()
        tokens.close()


@asynccontextmanager
async def throttled(job: Job) -> AsyncIterator[Call]:
    """Two token buckets that wait."""
    library: Any = import_module("throttled.asyncio")
    kind = library.RateLimiterType.TOKEN_BUCKET.value
    requests = library.Throttled(using=kind, quota=f"{job.rpm}/m burst {job.rpm // 60}", timeout=PATIENCE_S)
    tokens = library.Throttled(using=kind, quota=f"{job.tpm}/m burst {job.tpm // 60}", timeout=PATIENCE_S)

    async def wait(body: Body) -> None:
        await tokens.limit("tokens", tokens_of(body))
        await requests.limit("requests", 1)

    async with _behind(job, wait) as call:
        yield call


@asynccontextmanager
async def limits(job: Job) -> AsyncIterator[Call]:
    """Two sliding windows. It answers yes or no; waiting, until the window moves on, is written as its guide does."""
    library: Any = import_module("limits")
    aio: Any = import_module("limits.aio")
    strategy = aio.strategies.SlidingWindowCounterRateLimiter(aio.storage.MemoryStorage())
    requests = library.RateLimitItemPerSecond(job.rpm // 60)
    tokens = library.RateLimitItemPerSecond(job.tpm // 60)

    async def hit(item: Any, name: str, cost: int) -> None:
        while not await strategy.hit(item, name, cost=cost):
            await asyncio.sleep(0.02)

    async def wait(body: Body) -> None:
        await hit(tokens, "tokens", tokens_of(body))
        await hit(requests, "requests", 1)

    async with _behind(job, wait) as call:
        yield call


@asynccontextmanager
async def langchain(job: Job) -> AsyncIterator[Call]:
    """It counts requests only; so the rate is the one that tokens of the mean call allow. It looks ten times a second
    unless told to look more often.
    """
    library: Any = import_module("langchain_core.rate_limiters")
    rate = job.calls_per_s
    limiter = library.InMemoryRateLimiter(
        requests_per_second=rate, check_every_n_seconds=min(0.1, 1 / rate), max_bucket_size=max(1.0, rate)
    )
    async with _behind(job, lambda _: limiter.aacquire()) as call:
        yield call


@asynccontextmanager
async def llama_index(job: Job) -> AsyncIterator[Call]:
    """Its token bucket, over requests and tokens; how far it bursts can't be set."""
    library: Any = import_module("llama_index.core.rate_limiter")
    limiter = library.TokenBucketRateLimiter(requests_per_minute=job.rpm, tokens_per_minute=job.tpm)
    async with _behind(job, lambda body: limiter.async_acquire(num_tokens=tokens_of(body))) as call:
        yield call
