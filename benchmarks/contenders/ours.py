"""throttle itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from openai import AsyncOpenAI

import throttle
from benchmarks.contenders.contract import Body, Call, Job, client_for

__all__ = ["untold", "wrapped"]


@asynccontextmanager
async def wrapped(job: Job) -> AsyncIterator[Call]:
    """Wrap the client. Charge and pacing are what `auto` takes for OpenAI's host, which the simulator plays; where the
    simulator books otherwise, throttle has to find out.
    """
    limits = {"rpm": job.rpm, "tpm": job.tpm, "charge": "characters"}
    async with throttle.wrap(client_for(job, retries=2), limiter=throttle.Limiter(limits, pacing="burst")) as client:
        yield _calls_of(client)


@asynccontextmanager
async def untold(job: Job) -> AsyncIterator[Call]:
    """Wrap the client and say nothing: the server's answers are all there is to go by."""
    async with throttle.wrap(client_for(job, retries=2)) as client:
        yield _calls_of(client)


def _calls_of(client: AsyncOpenAI) -> Call:
    async def call(body: Body) -> object:
        return await client.chat.completions.create(**body)

    return call
