"""What the closed loop promises, over real HTTP: no 429, and the server's whole rate.

128 workers make a job of 75 s at the server's full rate of 1,800 requests and 360,000 tokens a minute, of calls from 40
to 700 tokens that are answered after 50 to 300 ms. The server is a process of its own, as is each run. The other
benchmark of the loop, `closed_loop`, is in virtual time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.contenders import BY_NAME, UNTOLD, Contender
from benchmarks.rig.race import Entry, Result, race
from benchmarks.rig.scenarios import Scenario


def _scenario(name: str, about: str, *, start: float = 0.0, max_tokens: int | None = None) -> Scenario:
    return Scenario(name, about, rpm=1_800, max_tokens=max_tokens, start=start, latency_s=(0.05, 0.3))


@dataclass(frozen=True, slots=True)
class Part:
    """A promise, and what would keep it.

    Attributes:
        utilization: what was booked over what the binding meter offered until the last admission: the median, at least.
        time, worst_time: of the job over the ideal: the median and the worst run, at most; None: no promise.
    """

    scenario: Scenario
    contender: Contender
    utilization: float
    time: float | None = None
    worst_time: float | None = None

    def row(self, runs: Sequence[Result]) -> Row:
        """Sum up the runs."""
        times = [each.against_ideal or float("inf") for each in runs]
        return Row(
            name=self.scenario.name,
            about=self.scenario.about,
            runs=len(runs),
            refused=sum(each.refused for each in runs),
            lost=sum(each.lost + each.unfinished for each in runs),
            utilization=statistics.median(each.goodput for each in runs),
            least=min(each.goodput for each in runs),
            time=statistics.median(times),
            worst_time=max(times),
        )

    def holds(self, row: Row) -> bool:
        """Tell whether the promise was kept."""
        return (
            row.refused == row.lost == 0
            and row.utilization >= self.utilization
            and (self.time is None or row.time <= self.time)
            and (self.worst_time is None or row.worst_time <= self.worst_time)
        )


@dataclass(frozen=True, slots=True)
class Row:
    """What the runs of a part came to: sums of 429s and lost calls, medians, and the worst run."""

    name: str
    about: str
    runs: int
    refused: int
    lost: int
    utilization: float
    least: float
    time: float
    worst_time: float


PARTS: Final = (
    Part(_scenario("empty", "server empty at start"), BY_NAME["throttle"], 0.995),
    Part(_scenario("full", "server full at start", start=1.0), BY_NAME["throttle"], 0.0, time=1.01, worst_time=1.02),
    Part(_scenario("untold", "limits not given, server empty"), UNTOLD, 0.99),
    Part(_scenario("max-tokens", "max_tokens 1,000, not booked", max_tokens=1_000), BY_NAME["throttle"], 0.99),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this benchmark's options."""
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=75.0, help="how long a job lasts at best")
    parser.add_argument("--workers", type=int, default=128)
    parser.add_argument(
        "--only", default="", help="parts, comma-separated: " + ", ".join(p.scenario.name for p in PARTS)
    )
    parser.add_argument("--side-by-side", type=int, default=1, metavar="N", help="runs at the same time")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep all runs as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the parts; 1 if one of them isn't kept."""
    wanted = [word.strip() for word in arguments.only.split(",") if word.strip()]
    parts = [part for part in PARTS if not wanted or part.scenario.name in wanted]
    if not parts or len(parts) < len(wanted):
        print(f"no such part: take of {', '.join(part.scenario.name for part in PARTS)}", file=sys.stderr)
        return 2
    entries = [Entry(part.contender, part.scenario, k) for k in range(arguments.runs) for part in parts]
    results = race(
        entries,
        seconds=arguments.seconds,
        workers=arguments.workers,
        side_by_side=arguments.side_by_side,
        on_done=_progress,
    )
    if arguments.save is not None:
        arguments.save.write_text(json.dumps([each.plain() for each in results], indent=1))
    rows = [part.row([each for each in results if each.scenario == part.scenario.name]) for part in parts]
    kept = [part.holds(row) for part, row in zip(parts, rows, strict=True)]
    if arguments.json:
        print(json.dumps([{**asdict(row), "holds": holds} for row, holds in zip(rows, kept, strict=True)]))
    else:
        print("| server | runs | 429 | lost | utilization: median | least | time / ideal: median | worst | |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
        for row, holds in zip(rows, kept, strict=True):
            print(
                f"| {row.about} | {row.runs} | {row.refused} | {row.lost} | {row.utilization:.2%} | {row.least:.2%} | "
                f"{row.time:.4f} | {row.worst_time:.4f} | {'holds' if holds else 'DOES NOT HOLD'} |"
            )
    return 0 if all(kept) else 1


def _progress(result: Result) -> None:
    time = "—" if result.against_ideal is None else f"{result.against_ideal:.4f}"
    told = f"{result.refused} × 429, {result.lost} lost, {result.goodput:.2%}, time {time}"
    print(f"[{result.round + 1}] {result.scenario}: {told}", file=sys.stderr, flush=True)
