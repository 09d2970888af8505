"""How much of the server's limit a job gets: throttle against the plain SDK, over real HTTP, by the server's own
record.

Both send the same chat calls with as many workers to a simulated server in a process of its own, with full buckets.
The job is larger than the bucket by so many seconds of refill.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import anyio
from openai import AsyncOpenAI

import throttle
from throttle.simulator import Simulator, running

MODEL: Final = "gpt-4o-mini"
LATENCY_S: Final = (0.1, 0.4)


@dataclass(frozen=True, slots=True)
class Case:
    """A job: the limits it runs under, how long it lasts at best, how many workers send it."""

    rpm: int
    tpm: int
    seconds: float
    workers: int

    def bodies(self, seed: int = 7) -> list[dict[str, Any]]:
        """Make calls that come to what the bucket and so many seconds' refill hold, by characters."""
        draw = random.Random(seed)
        wanted = self.tpm * (1 + self.seconds / 60)
        bodies, booked = [], 0
        while booked < wanted:
            words = draw.choice((8, 20, 60, 200, 600))
            text = " ".join(draw.choice(("limit", "queue", "token", "meter", "bucket")) for _ in range(words))
            bodies.append({"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 16})
            booked += -(-len(text) // 4) + 2
        return bodies


@dataclass(frozen=True, slots=True)
class Figures:
    """One row of the table."""

    name: str
    calls: int
    answered: int
    refused: int
    utilization: float
    elapsed_s: float
    against_ideal: float | None

    @property
    def lost(self) -> int:
        return self.calls - self.answered


QUICK: Final = Case(rpm=1200, tpm=60_000, seconds=15, workers=64)
WHOLE: Final = Case(rpm=1800, tpm=360_000, seconds=75, workers=128)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this benchmark's options."""
    parser.add_argument("--quick", action="store_true", help="a job of 15 seconds in place of one of 75")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark; 1 if the throttled job met a 429 or lost a call."""
    case = QUICK if arguments.quick else WHOLE
    rows = anyio.run(_rows, case)
    if arguments.json:
        print(
            json.dumps([{**{name: getattr(row, name) for name in Figures.__slots__}, "lost": row.lost} for row in rows])
        )
    else:
        _print(case, rows)
    return 1 if rows[0].refused or rows[0].lost else 0


async def _rows(case: Case) -> list[Figures]:
    bodies = case.bodies()
    rows = []
    with running(limits={"rpm": case.rpm, "tpm": case.tpm}, charge="characters", latency_s=LATENCY_S, seed=7) as server:
        for name, wrapped in (("throttle", True), ("plain SDK", False)):
            server.reset()
            async with AsyncOpenAI(base_url=server.base_url, api_key="none") as client:
                calling = _wrapped(client, case) if wrapped else client
                rows.append(await _measure(name, case, bodies, server, calling))
    return rows


def _wrapped(client: AsyncOpenAI, case: Case) -> AsyncOpenAI:
    limits = {"rpm": case.rpm, "tpm": case.tpm, "charge": "characters"}
    return throttle.wrap(client, limiter=throttle.Limiter(limits, pacing="burst"))


async def _measure(
    name: str, case: Case, bodies: list[dict[str, Any]], server: Simulator, client: AsyncOpenAI
) -> Figures:
    begun_s = anyio.current_time()
    answered = await _send(bodies, case.workers, lambda body: client.chat.completions.create(**body))
    elapsed_s = anyio.current_time() - begun_s
    summary = server.summary()
    ideal_s = max(
        (summary.charged.get("tokens", 0) - case.tpm) * 60 / case.tpm, (len(bodies) - case.rpm) * 60 / case.rpm, 0.0
    )
    last_s, first_s = summary.last_admitted_at_s, summary.first_at_s
    took_s = last_s - first_s if last_s is not None and first_s is not None else None
    whole = answered == len(bodies) and took_s is not None and ideal_s > 0
    return Figures(
        name=name,
        calls=len(bodies),
        answered=answered,
        refused=summary.by_status.get("429", 0),
        utilization=summary.utilization,
        elapsed_s=elapsed_s,
        against_ideal=took_s / ideal_s if whole and took_s is not None else None,
    )


async def _send(bodies: list[dict[str, Any]], workers: int, call: Callable[[dict[str, Any]], Awaitable[object]]) -> int:
    queue, answered = iter(bodies), 0

    async def work() -> None:
        nonlocal answered
        for body in queue:
            try:
                await call(body)
                answered += 1
            except throttle.ThrottleError:
                raise
            except Exception:  # a lost call is what is counted
                pass

    async with anyio.create_task_group() as tasks:
        for _ in range(workers):
            tasks.start_soon(work)
    return answered


def _print(case: Case, rows: list[Figures]) -> None:
    print(f"{rows[0].calls:,} calls, {case.workers} workers, {case.rpm:,} rpm, {case.tpm:,} tpm, buckets full")
    print(f"{'':12}{'answered':>9}{'lost':>7}{'429':>7}{'utilization':>13}{'time':>9}{'/ ideal':>9}")
    for row in rows:
        ideal = "—" if row.against_ideal is None else f"{row.against_ideal:.3f}"
        print(
            f"{row.name:12}{row.answered:>9,}{row.lost:>7,}{row.refused:>7,}"
            f"{row.utilization:>12.2%} {row.elapsed_s:>7.1f}s{ideal:>9}"
        )
