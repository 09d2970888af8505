"""How much of the server's limit a job gets, and what it costs: throttle, the plain SDK, and what people use today.

Everyone makes the same chat calls with as many workers, over real HTTP, against a simulated server in a process of its
own that enforces its limits exactly and keeps the record. Rows are in order: first who lost no call, then who met no
429, then by time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.contenders import ALL, BY_NAME, Contender
from benchmarks.rig import scenarios
from benchmarks.rig.machine import describe
from benchmarks.rig.race import Entry, Result, race
from benchmarks.rig.report import Row, page, picture, rows_of, table

QUICK_S: Final = 8.0
WHOLE_S: Final = 25.0
QUICK_SCENARIO: Final = "tokens"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this benchmark's options."""
    parser.add_argument("--quick", action="store_true", help="one short scenario, few contenders: under two minutes")
    parser.add_argument("--rounds", type=int, help="how often everybody runs (3; quick: 1)")
    parser.add_argument("--seconds", type=float, help=f"how long a job lasts at best ({WHOLE_S:g}; quick: {QUICK_S:g})")
    parser.add_argument("--workers", type=int, default=128)
    parser.add_argument("--only", default="", help="contenders whose name contains one of these (comma-separated)")
    parser.add_argument("--scenario", default="", help="scenarios whose name contains one of these")
    parser.add_argument("--side-by-side", type=int, default=1, metavar="N", help="runs at the same time")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--markdown", action="store_true", help="print tables for a document")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep all runs as JSON")
    parser.add_argument("--load", type=Path, metavar="FILE", help="run nothing: report what was kept")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a .png, or a self-contained .html page")


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark; 1 if the throttled job met a 429 or lost a call in any scenario."""
    if arguments.load is not None:
        kept = json.loads(arguments.load.read_text())
        results = [_result(plain) for plain in kept["runs"]]
        about, notes = kept["about"], kept["notes"]
    else:
        found = _chosen(arguments)
        if isinstance(found, str):
            print(found, file=sys.stderr)
            return 2
        about, notes = describe(each.package for each in ALL if each.package), _notes()
        done: list[Result] = []

        def on_done(result: Result) -> None:
            _progress(result)
            done.append(result)
            if arguments.save is not None:  # each time: a long race that is broken off has told something
                kept = {"about": about, "notes": notes, "runs": [each.plain() for each in done]}
                arguments.save.write_text(json.dumps(kept, indent=1))

        results = race(
            found,
            seconds=arguments.seconds or (QUICK_S if arguments.quick else WHOLE_S),
            workers=arguments.workers,
            side_by_side=arguments.side_by_side,
            on_done=on_done,
        )
    rows = rows_of(_in_order(results))
    _tell(arguments, rows, results, about, notes)
    ours = [row for row in rows if row.contender == "throttle"]
    return 1 if any(row.refused or row.lost for row in ours) else 0


def _chosen(arguments: argparse.Namespace) -> list[Entry] | str:
    """List the runs to make, round by round; or tell why there are none."""
    wanted, where = _words(arguments.only), _words(arguments.scenario)
    people: list[Contender] = []
    for each in ALL:
        picked = _is_wanted(each.name, wanted) if wanted else each.quick or not arguments.quick
        if picked and not each.missing:
            people.append(each)
    places = [
        each
        for each in scenarios.SCENARIOS
        if (_is_wanted(each.name, where) if where else each.name == QUICK_SCENARIO or not arguments.quick)
    ]
    if not people or not places:
        known = ", ".join(each.name for each in ALL) if not people else ", ".join(scenarios.BY_NAME)
        return f"nothing to run: take of {known}"
    rounds = arguments.rounds or (1 if arguments.quick else 3)
    return [Entry(one, place, k) for k in range(rounds) for place in places for one in people]


def _is_wanted(name: str, words: Sequence[str]) -> bool:
    """A word is a whole name or, where it isn't anybody's, a part of one."""
    known = {*BY_NAME, *scenarios.BY_NAME}
    return any(word == name if word in known else word in name for word in words)


def _words(told: str) -> list[str]:
    return [word.strip() for word in told.split(",") if word.strip()]


def _notes() -> list[str]:
    notes = [f"{each.name}: {each.settings}" for each in ALL if not each.missing]
    return notes + [f"{each.name}: left out, {each.missing}" for each in ALL if each.missing]


def _progress(result: Result) -> None:
    time = "—" if result.against_ideal is None else f"{result.against_ideal:.3f}"
    error = f"  {next(iter(result.errors))}" if result.errors else ""
    print(
        f"[{result.round + 1}] {result.scenario}: {result.contender}: {result.goodput:.1%}, {result.refused} × 429, "
        f"{result.lost} lost, {result.unfinished} unfinished, time {time}{error}",
        file=sys.stderr,
        flush=True,
    )


def _in_order(results: Sequence[Result]) -> list[Result]:
    names = list(scenarios.BY_NAME)
    return sorted(results, key=lambda each: names.index(each.scenario) if each.scenario in names else len(names))


def _result(plain: dict[str, Any]) -> Result:
    return Result(**{name: plain[name] for name in Result.__slots__})


def _tell(
    arguments: argparse.Namespace,
    rows: Sequence[Row],
    results: Sequence[Result],
    about: dict[str, Any],
    notes: Sequence[str],
) -> None:
    abouts = {each.name: each.about for each in scenarios.SCENARIOS}
    if arguments.json:
        print(json.dumps({"about": about, "notes": notes, "runs": [each.plain() for each in results]}))
    else:
        print(table(rows, abouts, markdown=arguments.markdown))
        versions = ", ".join(f"{name} {found}" for name, found in about["versions"].items())
        print(f"\n{about['date']}, {about['processor']}, {about['cores']} cores, load {about['load_before']}")
        print(f"Python {about['python']}; {versions}")
        absent = [note.partition(":")[0] for note in notes if "left out" in note]
        if absent:
            print(f"not installed, and left out: {', '.join(absent)}")
    if arguments.plot is not None:
        if arguments.plot.suffix == ".html":
            arguments.plot.write_text(page(rows, abouts, about, notes))
        else:
            arguments.plot.write_bytes(picture(rows, abouts))
