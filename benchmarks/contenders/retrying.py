"""Those that send at once and try again after a refusal."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from openai import RateLimitError

from benchmarks.contenders.contract import Body, Call, Job, client_for

__all__ = ["backoff", "by_hand", "patient", "plain", "tenacity"]

ATTEMPTS = 10


@asynccontextmanager
async def plain(job: Job) -> AsyncIterator[Call]:
    """The SDK as it comes."""
    async with client_for(job, retries=2) as client:
        yield lambda body: client.chat.completions.create(**body)


@asynccontextmanager
async def patient(job: Job) -> AsyncIterator[Call]:
    """The SDK, told to be patient."""
    async with client_for(job, retries=10) as client:
        yield lambda body: client.chat.completions.create(**body)


@asynccontextmanager
async def tenacity(job: Job) -> AsyncIterator[Call]:
    """The decorator of OpenAI's cookbook."""
    library: Any = import_module("tenacity")
    async with client_for(job, retries=0) as client:

        @library.retry(  # type: ignore[untyped-decorator]
            wait=library.wait_random_exponential(min=1, max=60),
            stop=library.stop_after_attempt(ATTEMPTS),
            retry=library.retry_if_exception_type(RateLimitError),
        )
        async def call(body: Body) -> object:
            return await client.chat.completions.create(**body)

        yield call


@asynccontextmanager
async def backoff(job: Job) -> AsyncIterator[Call]:
    """The other decorator of OpenAI's cookbook, with its full jitter."""
    library: Any = import_module("backoff")
    async with client_for(job, retries=0) as client:

        @library.on_exception(library.expo, RateLimitError, max_tries=ATTEMPTS, max_value=60)  # type: ignore[untyped-decorator]
        async def call(body: Body) -> object:
            return await client.chat.completions.create(**body)

        yield call


@asynccontextmanager
async def by_hand(job: Job) -> AsyncIterator[Call]:
    """The loop that everybody writes once: the delay doubles, with some jitter."""
    async with client_for(job, retries=0) as client:

        async def call(body: Body) -> object:
            delay_s = 1.0
            for _ in range(ATTEMPTS):
                try:
                    return await client.chat.completions.create(**body)
                except RateLimitError:
                    await asyncio.sleep(delay_s)
                    delay_s = min(60.0, delay_s * 2 * (1 + random.random()))
            return await client.chat.completions.create(**body)

        yield call
