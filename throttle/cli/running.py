"""Running a job from the command line: shown while it runs, stopped by Ctrl-C as a person expects."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
from rich.console import Console

from throttle.cli.display import View, follow

if TYPE_CHECKING:
    from throttle.jobs.job import Job, Report
    from throttle.jobs.sender import AnyClient
    from throttle.limiter import Limiter

__all__ = ["run_job"]

INTERRUPTED = "interrupted"


async def run_job(
    job: Job,
    client: AnyClient,
    limiter: Limiter,
    *,
    title: str,
    console: Console | None,
    costs: bool = False,
    line_every_s: float = 5.0,
    notice: Callable[[str], None] = lambda text: None,
) -> Report:
    """Run a job to its end, or until Ctrl-C.

    The first Ctrl-C (or SIGTERM) begins no more calls and waits for those that are out; the second gives them up.

    Args:
        job: what to run.
        client: through what.
        limiter: whose levels are shown.
        title: the first line of the display.
        console: where it is shown; None: nowhere.
        costs: whether to show what it costs.
        line_every_s: how often there is a line, where there is no terminal.
        notice: says something to the person in front of it.
    """

    def view() -> View:
        return View(title, job.progress(), tuple(limiter.snapshot().pools.values()), costs)

    async with anyio.create_task_group() as tasks:
        if console is not None:
            tasks.start_soon(_show, view, console, line_every_s)
        if threading.current_thread() is threading.main_thread():
            tasks.start_soon(_stop_on_signals, job, notice)
        report = await job.arun(client)
        tasks.cancel_scope.cancel()
    return report


async def _show(view: Callable[[], View], console: Console, line_every_s: float) -> None:
    await follow(view, console, line_every_s=line_every_s)


async def _stop_on_signals(job: Job, notice: Callable[[str], None]) -> None:
    count = 0
    # loops that can't receive signals raise: there Ctrl-C ends the run at once
    with suppress(NotImplementedError), anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            count += 1
            job.stop(INTERRUPTED, at_once=count > 1)
            if count == 1:
                notice(f"stopping: waiting for {job.progress().out} calls that are out; again to give them up")
