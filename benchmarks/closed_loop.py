"""The matrix of the closed loop: every scenario of the simulation, with as many seeds as asked for."""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterable

from tests.simulation.scenarios import BY_NAME, SCENARIOS
from tests.simulation.world import Outcome, play

COLUMNS = ("calls", "refused", "blind", "most", "util %", "lowest", "2nd half", "p99 s")
HEAD = f"{'scenario':23}" + "".join(f"{name:>9}" for name in COLUMNS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--seeds", type=int, default=20, help="runs of each scenario")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="", help="scenarios whose name contains one of these (comma-separated)")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--markdown", action="store_true", help="print the rows of a table for the docs")


def run(args: argparse.Namespace) -> int:
    """Print the matrix: refused calls per run, and the part of the limit that was used."""
    wanted = [word for word in args.only.split(",") if word]
    names = [s.name for s in SCENARIOS if not wanted or any(word in s.name for word in wanted)]
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    if not names:
        print(f"no scenario has a name that contains one of {', '.join(wanted)}")
        return 2
    if not args.markdown:
        print(HEAD)
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        for outcomes in pool.imap(_cell, [(name, seeds) for name in names]):
            print(_row(outcomes, markdown=args.markdown), flush=True)
    return 0


def _cell(task: tuple[str, Iterable[int]]) -> list[Outcome]:
    name, seeds = task
    return [play(BY_NAME[name], seed) for seed in seeds]


def _row(runs: list[Outcome], *, markdown: bool) -> str:
    calls, refused = _mean(r.calls for r in runs), _mean(r.refused for r in runs)
    blind, most = _mean(r.refused_blind for r in runs), max(r.refused for r in runs)
    use, lowest = 100 * _mean(r.utilization for r in runs), 100 * min(r.utilization for r in runs)
    steady, wait_s = 100 * _mean(r.steady for r in runs), _mean(r.p99_wait_s for r in runs)
    name = runs[0].scenario
    if markdown:
        half = f"{min(100.0, steady):.1f}" if steady else "–"
        return f"| {name} | {refused:.2f} ({blind:.1f}, {most}) of {calls:.0f} | {use:.2f} | {half} | {wait_s:.0f} |"
    return f"{name:23}{calls:7.0f}{refused:9.2f}{blind:7.2f}{most:6d}{use:8.2f}{lowest:8.2f}{steady:9.2f}{wait_s:8.1f}"


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    add_arguments(arguments)
    raise SystemExit(run(arguments.parse_args()))
