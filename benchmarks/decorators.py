"""People's own retries around the plain SDK, side by side with throttle: one job against an enforcing server.

The job is sent by so many workers to a server with full buckets that answers in 0.3 to 1.2 s. Decorators, SDK, limiter
and the server's judge are the real ones; time is virtual, so that minutes of waiting pass in seconds. `--real-time`
plays the same over HTTP, with a server in a process of its own, in seven minutes or so, and leaves out the one that
waits before each call, which takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from openai import AsyncOpenAI

import throttle
from tests.core.virtual import VirtualLoop, run_virtually
from tests.refusals.decorators import DECORATORS
from tests.refusals.wire import MESSAGES, MODEL, Wire, sdk_client
from throttle.simulator import running

LIMITS: Final = {"rpm": 500, "tpm": 200_000}
"""Those of tier 1 for the model, as the bundled limits have them."""

SERVER: Final[dict[str, Any]] = {"limits": LIMITS, "latency_s": (0.3, 1.2), "seed": 11}

Calling = Callable[[int], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """What became of the job in one pair of hands."""

    name: str
    refused: int
    lost: int
    seconds: float
    calls_per_minute: float


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody who sends the job: how a call is decorated, how many send at once, what each waits beforehand."""

    name: str
    decorate: Callable[[Calling], Calling] = lambda calling: calling
    wrapped: bool = False
    alone: bool = False
    delay_s: float = 0.0


CONTENDERS: Final = (
    Contender("plain SDK"),
    Contender("a delay before each", alone=True, delay_s=60 / LIMITS["rpm"]),
    Contender("tenacity", DECORATORS["tenacity"]),
    Contender("backoff", DECORATORS["backoff"]),
    Contender("by hand", DECORATORS["by hand"]),
    Contender("throttle", wrapped=True),
    Contender("throttle and tenacity", DECORATORS["tenacity"], wrapped=True),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this benchmark's options."""
    parser.add_argument("--calls", type=int, default=1000, help="how many calls the job has")
    parser.add_argument("--workers", type=int, default=64, help="how many are sent at once")
    parser.add_argument("--real-time", action="store_true", help="over HTTP, in real time")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark; 1 if a throttled job met a 429 or lost a call."""
    play = _in_real_time if arguments.real_time else _in_virtual_time
    playing = [contender for contender in CONTENDERS if not (arguments.real_time and contender.alone)]
    rows = [play(contender, arguments.calls, arguments.workers) for contender in playing]
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        _print(rows, arguments.calls, arguments.workers)
    throttled = [row for row, contender in zip(rows, playing, strict=True) if contender.wrapped]
    return int(any(row.refused or row.lost for row in throttled))


def _in_virtual_time(contender: Contender, calls: int, workers: int) -> Row:
    async def main(loop: VirtualLoop) -> Row:
        wire = Wire(loop, **SERVER)
        client = sdk_client(wire)
        if contender.wrapped:
            client = throttle.wrap(client, limiter=throttle.Limiter(tier="tier-1", clock=loop.now_us))
        lost = await _send(client, contender, calls, workers)
        return _row(contender, calls, wire.statuses().count(429), lost, loop.time())

    return run_virtually(main)


def _in_real_time(contender: Contender, calls: int, workers: int) -> Row:
    async def main() -> Row:
        with running(**SERVER) as server:
            async with AsyncOpenAI(base_url=server.base_url, api_key="none") as client:
                if contender.wrapped:
                    client = throttle.wrap(client, limiter=throttle.Limiter(tier="tier-1", pacing="burst"))
                begun_s = asyncio.get_running_loop().time()
                lost = await _send(client, contender, calls, workers)
                seconds = asyncio.get_running_loop().time() - begun_s
            return _row(contender, calls, server.summary().by_status.get("429", 0), lost, seconds)

    return asyncio.run(main())


async def _send(client: AsyncOpenAI, contender: Contender, calls: int, workers: int) -> int:
    """Send the job; tells how many of its calls were lost."""
    random.seed(11)
    numbers, lost = iter(range(calls)), 0

    async def call(number: int) -> Any:
        return await client.chat.completions.create(model=MODEL, messages=MESSAGES, user=str(number))

    decorated = contender.decorate(call)

    async def work() -> None:
        nonlocal lost
        for number in numbers:
            await asyncio.sleep(contender.delay_s)
            try:
                await decorated(number)
            except Exception:  # a lost call is what is counted
                lost += 1

    await asyncio.gather(*(work() for _ in range(1 if contender.alone else workers)))
    return lost


def _row(contender: Contender, calls: int, refused: int, lost: int, seconds: float) -> Row:
    return Row(contender.name, refused, lost, round(seconds, 1), round((calls - lost) * 60 / seconds, 1))


def _print(rows: list[Row], calls: int, workers: int) -> None:
    at_best_s = max(0.0, (calls - LIMITS["rpm"]) * 60 / LIMITS["rpm"])
    print(
        f"{calls:,} calls, {workers} workers, {LIMITS['rpm']:,} rpm, {LIMITS['tpm']:,} tpm, buckets full; "
        f"at best {at_best_s:.0f} s and an answer"
    )
    print(f"{'':24}{'429s':>8}{'lost':>8}{'time':>10}{'calls/min':>12}")
    for row in rows:
        print(f"{row.name:24}{row.refused:>8,}{row.lost:>8,}{row.seconds:>8,.1f} s{row.calls_per_minute:>12,.0f}")
