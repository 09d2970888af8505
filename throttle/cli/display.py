"""How a running job shows itself: a block that is drawn over itself on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from throttle.cli.words import amount, duration

if TYPE_CHECKING:
    from throttle.feedback.belief import BeliefSnapshot
    from throttle.jobs.progress import Progress
    from throttle.meter import MeterSnapshot
    from throttle.pool import PoolSnapshot

__all__ = ["View", "follow", "plain_line", "render"]

DRAW_EVERY_S: Final = 0.25
MOST_POOLS: Final = 4
BAR_WIDTH: Final = 30
NAME_WIDTH: Final = 20


@dataclass(frozen=True, slots=True)
class View:
    """What there is to show at one moment: how far the job is, and its pools; `costs` where prices are known."""

    title: str
    progress: Progress
    pools: tuple[PoolSnapshot, ...]
    costs: bool = False

    @property
    def refused(self) -> int:
        return sum(pool.refused for pool in self.pools)

    @property
    def binding(self) -> tuple[str, str] | None:
        """The pool and meter that hold the job back: the emptiest meter of the pool in which most calls wait."""
        pool = max(self.pools, key=lambda pool: pool.waiting, default=None)
        if pool is None or not pool.waiting or not pool.meters:
            return None
        return pool.name, min(pool.meters.values(), key=_filled).name


async def follow(view: Callable[[], View], console: Console, *, line_every_s: float) -> None:
    """Show a job until cancelled, from inside its event loop."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(render(view(), console.width), refresh=True)
                await anyio.sleep(DRAW_EVERY_S)
    while True:
        await anyio.sleep(line_every_s)
        console.print(plain_line(view()), soft_wrap=True)


def render(view: View, width: int) -> RenderableType:
    """Draw the block: how far, how fast, every meter's level."""
    progress = view.progress
    done = progress.answered + progress.failed
    rows: list[RenderableType] = [Text(view.title, style="bold", overflow="ellipsis", no_wrap=True)]
    whole = Table.grid(padding=(0, 1), expand=False)
    whole.add_row(
        ProgressBar(total=max(1, progress.total), completed=done, width=max(10, min(width, 100) - 36)),
        Text(f"{amount(done)} of {amount(progress.total)}"),
        Text(f"ETA {duration(progress.eta_s)}", style="dim"),
    )
    rows += [whole, _counts(view)]
    if view.pools:
        rows.append(_meters(view))
    if progress.outage_s is not None:
        rows.append(Text(f"the server can't be reached since {duration(progress.outage_s)}; trying on", style="yellow"))
    return Group(*rows)


def _counts(view: View) -> Text:
    progress = view.progress
    text = Text(f"{amount(progress.per_minute)}/min  {progress.out} out  {progress.waiting} waiting  ")
    text.append(f"{view.refused} × 429", style="red" if view.refused else "green")
    text.append(f"  {amount(progress.failed)} failed", style="red" if progress.failed else "")
    text.append(f"  tokens {amount(progress.usage.input_tokens)} in {amount(progress.usage.output_tokens)} out", "dim")
    if view.costs:
        text.append(f"  cost {progress.cost:.4f}", "dim")
    return text


def _meters(view: View) -> Table:
    table = Table.grid(padding=(0, 1))
    binding = view.binding
    for pool in view.pools[:MOST_POOLS]:
        name = pool.name
        for meter in pool.meters.values():
            binds = binding == (pool.name, meter.name)
            table.add_row(
                Text(name[:NAME_WIDTH].ljust(NAME_WIDTH), style="cyan"),
                meter.name,
                ProgressBar(
                    total=1.0,
                    completed=_filled(meter),
                    width=BAR_WIDTH,
                    complete_style="yellow" if binds else "blue",
                    finished_style="blue",
                ),
                Text(f"{amount(max(0, meter.level))} of {amount(meter.capacity)}", justify="right"),
                Text("binds" if binds else "", style="yellow"),
            )
            name = ""
    return table


def plain_line(view: View) -> str:
    """Tell the same in one line."""
    progress = view.progress
    done = progress.answered + progress.failed
    parts = [
        duration(progress.elapsed_s),
        f"{amount(done)} of {amount(progress.total)}",
        f"{amount(progress.per_minute)}/min",
        f"{progress.waiting} waiting",
        f"{view.refused} × 429",
    ]
    if progress.failed:
        parts.append(f"{amount(progress.failed)} failed")
    for pool in view.pools[:MOST_POOLS]:
        prefix = f"{pool.name} " if len(view.pools) > 1 else ""
        for meter in pool.meters.values():
            binds = " (binds)" if view.binding == (pool.name, meter.name) else ""
            parts.append(f"{prefix}{meter.name} {amount(max(0, meter.level))}{binds}")
    if view.costs:
        parts.append(f"cost {progress.cost:.4f}")
    parts.append(f"ETA {duration(progress.eta_s)}" if progress.outage_s is None else "server out of reach")
    return " · ".join(parts)


def _filled(meter: MeterSnapshot | BeliefSnapshot) -> float:
    return max(0.0, min(1.0, meter.level / meter.capacity)) if meter.capacity else 0.0
