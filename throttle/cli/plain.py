"""The same calls without throttle: what the demo and the benchmarks compare with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import anyio

from throttle.cli.words import duration

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from rich.console import Console

__all__ = ["run_plainly"]


async def run_plainly(
    client: AsyncOpenAI,
    lines: Iterable[dict[str, Any]],
    *,
    workers: int,
    at_most_s: float,
    console: Console | None = None,
    line_every_s: float = 2.0,
) -> tuple[int, float]:
    """Send every line's chat request with the SDK alone, so many at a time, each with the SDK's own retries.

    Returns:
        How many were answered, and the seconds it took; what isn't answered after `at_most_s` is given up.
    """
    tally = _Tally()
    begun_s = anyio.current_time()
    with anyio.move_on_after(at_most_s):
        async with anyio.create_task_group() as tasks:
            if console is not None:
                tasks.start_soon(_show, tally, console, line_every_s)
            async with anyio.create_task_group() as working:
                queue = iter(lines)
                for _ in range(workers):
                    working.start_soon(_work, client, queue, tally)
            tasks.cancel_scope.cancel()
    return tally.answered, anyio.current_time() - begun_s


class _Tally:
    def __init__(self) -> None:
        self.answered = 0
        self.lost = 0


async def _work(client: AsyncOpenAI, queue: Iterator[dict[str, Any]], tally: _Tally) -> None:
    from openai import OpenAIError

    for line in queue:
        try:
            await client.chat.completions.create(**line["body"])
            tally.answered += 1
        except OpenAIError:
            tally.lost += 1


async def _show(tally: _Tally, console: Console, line_every_s: float) -> None:
    begun_s = anyio.current_time()
    if not console.is_terminal:
        while True:
            await anyio.sleep(line_every_s)
            console.print(_line(tally, begun_s))
    with console.status("") as status:
        while True:
            status.update(_line(tally, begun_s))
            await anyio.sleep(0.25)


def _line(tally: _Tally, begun_s: float) -> str:
    elapsed = duration(anyio.current_time() - begun_s)
    return f"plain client · {elapsed} · {tally.answered:,} answered · {tally.lost:,} lost"
