"""Shorthands for running a job: to its end, or result by result; in sync and in async code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from throttle.jobs.errors import JobStopped
from throttle.jobs.job import Job, Report, Source
from throttle.jobs.result import Result
from throttle.jobs.sender import AnyClient

__all__ = ["Results", "aresults", "arun", "results", "run"]

BUFFERED: Final = 64
"""How many results wait for the caller to take them, before the job waits for the caller."""


def run(source: Source, client: AnyClient, output: Any = None, **settings: Any) -> Report:
    """Run a job to its end, or go on with it where an earlier run stopped.

    Args:
        source: a job file in the form of OpenAI's Batch API, or bodies, or such lines as dicts.
        client: the client, wrapped or not. A sync client's calls are made in threads.
        output: where answers go; what is there already isn't sent again.
        settings: as for `Job`.

    Raises:
        JobFileError, OutputError, LimitsError: as for `Job`, before anything is sent.
    """
    return anyio.run(lambda: arun(source, client, output, **settings))


async def arun(source: Source, client: AnyClient, output: Any = None, **settings: Any) -> Report:
    """Do what `run` does, in asyncio or trio."""
    with await anyio.to_thread.run_sync(lambda: Job(source, output, **settings)) as job:
        return await job.arun(client)


def results(source: Source, client: AnyClient, output: Any = None, **settings: Any) -> Iterator[Result]:
    """Run a job and yield each result, answer or failure, as it comes; those of earlier runs are in the output already.

    The job goes on in a thread while the caller works on a result, a few results ahead. Closing the iterator stops it.

    Raises:
        JobStopped: the job can't go on (wrong key, budget, disk full, …); what was answered was yielded.
        JobFileError, OutputError, LimitsError: as for `Job`, at the first step.
    """
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(aresults(source, client, output, **settings)) as incoming,
    ):
        while True:
            try:
                yield portal.call(incoming.__anext__)
            except StopAsyncIteration:
                return


def aresults(source: Source, client: AnyClient, output: Any = None, **settings: Any) -> Results:
    """Do what `results` does, in asyncio or trio, inside `async with aresults(…) as incoming:`."""
    return Results(source, client, output, settings)


class Results:
    """The results of a job that runs inside the `async with` block; an async iterator."""

    def __init__(self, source: Source, client: AnyClient, output: Any, settings: dict[str, Any]) -> None:
        self.report: Report | None = None
        self._source = source
        self._client = client
        self._output = output
        self._settings = settings
        self._stack = AsyncExitStack()
        self._incoming: MemoryObjectReceiveStream[Result] | None = None

    async def __aenter__(self) -> Self:
        job = await anyio.to_thread.run_sync(lambda: Job(self._source, self._output, **self._settings))
        self._stack.enter_context(job)
        outgoing, incoming = anyio.create_memory_object_stream[Result](BUFFERED)
        self._incoming = incoming
        tasks = await self._stack.enter_async_context(anyio.create_task_group())
        self._stack.callback(incoming.close)
        self._stack.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(self._run, job, outgoing)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def __aiter__(self) -> AsyncIterator[Result]:
        return self

    async def __anext__(self) -> Result:
        if self._incoming is None:
            raise RuntimeError("use `async with` first: the job runs inside the block")
        try:
            return await self._incoming.receive()
        except anyio.EndOfStream:
            if self.report is not None and self.report.stopped:
                raise JobStopped(self.report.stopped) from None
            raise StopAsyncIteration from None

    async def _run(self, job: Job, outgoing: MemoryObjectSendStream[Result]) -> None:
        async with outgoing:
            self.report = await job.arun(self._client, outgoing.send)
