"""Be one contender in a process of its own: the order comes on standard input, the figures go out on standard output.

Two lines come in: the job, as JSON; then, when it is ready, an empty line that starts it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import resource
import sys
import time
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from benchmarks.contenders import BY_NAME
from benchmarks.contenders.contract import Call, Job, Make
from benchmarks.contenders.counting import tokens_of

GRACE_S = 5.0


def main() -> None:
    """Read the order, make ready, wait for the word, run, report."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    order = json.loads(sys.stdin.readline())
    out, sys.stdout = sys.stdout, sys.stderr  # what a library prints is none of the report
    report = asyncio.run(_play(order, out))
    print(json.dumps(report), file=out, flush=True)


async def _play(order: dict[str, Any], out: Any) -> dict[str, Any]:
    job, bodies = Job(**order["job"]), order["bodies"]
    tokens_of(bodies[0])  # whoever counts has read the vocabulary by now
    module, _, function = BY_NAME[order["name"]].place.partition(":")
    make: Make = getattr(import_module(f"benchmarks.contenders.{module}"), function)
    async with make(job) as call:
        gc.collect()
        print("ready", file=out, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        return await _send(call, bodies, job.workers, order["most_s"])


async def _send(call: Call, bodies: Sequence[dict[str, Any]], workers: int, most_s: float) -> dict[str, Any]:
    queue = iter(bodies)
    times_s: list[float] = []
    errors: dict[str, int] = {}

    async def work() -> None:
        for body in queue:
            begun_s = time.perf_counter()
            try:
                await call(body)
            except Exception as error:  # a lost call is what is counted
                told = f"{type(error).__name__}: {error}"[:160]
                errors[told] = errors.get(told, 0) + 1
            else:
                times_s.append(time.perf_counter() - begun_s)

    cpu_s, begun_s = _cpu_s(), time.perf_counter()
    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    _, late = await asyncio.wait(tasks, timeout=most_s)
    elapsed_s, cpu_s = time.perf_counter() - begun_s, _cpu_s() - cpu_s
    answered, lost = len(times_s), sum(errors.values())
    for task in late:
        task.cancel()
    await asyncio.wait(tasks, timeout=GRACE_S)
    return {
        "answered": answered,
        "elapsed_s": elapsed_s,
        "cpu_s": cpu_s,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "times_s": sorted(times_s[:answered]),
        "lost": lost,
        "errors": dict(sorted(errors.items(), key=lambda entry: -entry[1])[:3]),
    }


def _cpu_s() -> float:
    return time.process_time()


if __name__ == "__main__":
    main()
