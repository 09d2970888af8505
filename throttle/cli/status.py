"""`throttle status`: what every process that shares a store holds, waits for and was refused."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from throttle.cli.console import print_json, stdout
from throttle.cli.failures import UsageMistake
from throttle.cli.options import Json
from throttle.cli.words import amount, duration

if TYPE_CHECKING:
    from throttle.stores.protocol import PoolReport, Store

__all__ = ["status"]

DRAW_EVERY_S: Final = 1.0
ENVIRONMENT: Final = "THROTTLE_STORE"


@dataclass(frozen=True, slots=True)
class MeterStatus:
    """One meter of a pool: what is left of it, and what is known of it."""

    name: str
    unit: str
    level: float
    limit: float
    window_s: float
    others_per_s: float


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process at a pool, as it last showed itself."""

    label: str
    seen_s: float
    waiting: int
    under_way: int
    admitted: int
    refused: int


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """One pool: its meters and who is there."""

    name: str
    key: str
    ahead_s: float
    paused_s: float
    meters: tuple[MeterStatus, ...]
    processes: tuple[ProcessStatus, ...]


def status(
    store: Annotated[
        str | None,
        typer.Option("--store", help="The store, as in redis://host:6379/0. Else THROTTLE_STORE.", metavar="URL"),
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Show it until interrupted.")] = False,
    as_json: Json = False,
) -> int:
    """Show the pools that processes share through a store: levels, who waits, who was refused."""
    from throttle.stores.opening import StoreAddress

    url = store or os.environ.get(ENVIRONMENT)
    if not url:
        raise UsageMistake(f"name the store with --store URL, or set {ENVIRONMENT}")
    address = StoreAddress.parse(url)
    if address.is_memory:
        raise UsageMistake("memory:// is each process's own: there is nothing in it to show")
    opened, prefix = address.open(), f"{address.namespace}:"
    console = stdout()
    try:
        if live and console.is_terminal and not as_json:
            with Live(console=console, auto_refresh=False) as screen:
                while True:
                    screen.update(render(read(opened, prefix)), refresh=True)
                    time.sleep(DRAW_EVERY_S)
        pools = read(opened, prefix)
    finally:
        opened.close()
    if as_json:
        print_json([asdict(pool) for pool in pools])
    else:
        console.print(render(pools))
    return 0


def read(store: Store, prefix: str) -> list[PoolStatus]:
    """Read the state of all pools of a namespace."""
    return [_of(report) for report in store.report(prefix)]


def render(pools: list[PoolStatus]) -> RenderableType:
    """Draw them, one under the other."""
    if not pools:
        return Text("no pools: nobody has used this store lately")
    return Group(*(part for pool in pools for part in _render_pool(pool)))


def _render_pool(pool: PoolStatus) -> list[RenderableType]:
    head = Text(pool.name, style="bold cyan")
    head.append(f"  {pool.key}", style="dim")
    if pool.ahead_s > 0:
        head.append(f"  reserved {duration(pool.ahead_s)} ahead", style="yellow")
    if pool.paused_s > 0:
        head.append(f"  paused for {duration(pool.paused_s)}", style="red")
    meters = Table.grid(padding=(0, 2))
    for meter in pool.meters:
        others = f"others {amount(meter.others_per_s * 60)}/min" if meter.others_per_s > 0 else ""
        level = f"{amount(max(0, round(meter.level)))} of {amount(round(meter.limit))}"
        meters.add_row(f"  {meter.name}", Text(level, justify="right"), Text(others, style="dim"))
    people = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("process", "waiting", "under way", "admitted", "429", "seen"):
        people.add_column(title, justify="left" if title == "process" else "right")
    for process in pool.processes:
        people.add_row(
            process.label,
            str(process.waiting),
            str(process.under_way),
            amount(process.admitted),
            Text(str(process.refused), style="red" if process.refused else ""),
            f"{duration(process.seen_s)} ago",
        )
    return [head, meters, people, Text("")]


def _of(report: PoolReport) -> PoolStatus:
    name, *told = json.loads(report.text)
    learned: dict[str, dict[str, Any]] = json.loads(report.lesson or "{}")
    width = len(report.lines) // max(1, len(told))
    meters = []
    for i, entry in enumerate(told):
        main, known = report.lines[width * i], learned.get(entry["name"], {})
        passed = max(0, report.now_us // main.tick_us - main.at)
        level = min(main.capacity, main.level + passed * max(0, main.rate)) / entry["grains"]
        limit = known.get("limit", entry["limit"])
        kept = max(0.0, limit - main.capacity / entry["grains"])  # which is in the bucket, and stays there
        meters.append(
            MeterStatus(
                name=entry["name"],
                unit=entry["unit"],
                level=round(level + kept, 3),
                limit=limit,
                window_s=entry["window_us"] / 1e6,
                others_per_s=known.get("others_per_s", 0.0),
            )
        )
    processes = [
        ProcessStatus(p.label, max(0, report.now_us - seen_us) / 1e6, p.waiting, p.under_way, p.admitted, p.refused)
        for seen_us, p in report.processes.values()
    ]
    return PoolStatus(
        name=name,
        key=report.key,
        ahead_s=max(0, report.clock_us - report.now_us) / 1e6,
        paused_s=max(0, report.pause_until_us - report.now_us) / 1e6,
        meters=tuple(meters),
        processes=tuple(sorted(processes, key=lambda process: process.label)),
    )
