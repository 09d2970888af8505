"""The wire matrix: every use of a client, plain and wrapped, over real HTTP; and the same on other versions of the SDK.

A sign for each setup of the HTTP client: `+` as the plain client, charged once, nothing left behind; `X` not so; `-`
there is no such thing (the reasons follow); `.` not played.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import logging
import subprocess
import sys
import time
import tomllib
import traceback
import venv
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import openai

import throttle
from tests.wire.calls import CALLS, CHAT
from tests.wire.cells import Cell, differences_of
from tests.wire.matrix import CELLS, covering, hole
from tests.wire.scene import playing, quick_retries
from tests.wire.stacks import SETUPS, STACKS, Hole, default_library

ROOT: Final = Path(__file__).parents[1]
BESIDE: Final = ("httpx", "httpx2", "trio", "pytest", "hypothesis")
"""What an environment needs beside the SDK and the project's own requirements."""

INSTALL_S: Final = 600
PLAY_S: Final = 1800

ONLY_ASYNC: Final = sum(call.only_async for call in CALLS)

ROUNDS: Final = 1000

PASSED, FAILED, HOLE, UNPLAYED = "+", "X", "-", "."


@dataclass(frozen=True, slots=True)
class Report:
    """What came of the cells that were played: what differs, and the holes with their reasons."""

    sdk: str
    seconds: float
    differences: Mapping[str, Sequence[str]] = field(default_factory=dict)
    holes: Mapping[str, str] = field(default_factory=dict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--quick", action="store_true", help="only the selection that the tests run")
    parser.add_argument("--only", default="", help="cells whose name (stack / setup / call) contains this")
    parser.add_argument(
        "--sdk",
        action="append",
        default=[],
        metavar="VERSION",
        help="a version of openai to play it with, in an environment made for it; may be given several times",
    )
    parser.add_argument("--suite", action="store_true", help="with --sdk: run the other tests of the wire as well")
    parser.add_argument("--cost", action="store_true", help="measure what a wrapped call and a copy cost instead")
    parser.add_argument("--json", action="store_true", help="print what came of it for machines")


def run(arguments: argparse.Namespace) -> int:
    """Play the matrix, here or on other versions; 0 if nothing differs."""
    if arguments.cost:
        print(_costs())
        return 0
    if arguments.sdk:
        return _run_versions(arguments)
    report = play(_choose(quick=arguments.quick, only=arguments.only))
    if arguments.json:
        print(json.dumps(asdict(report)))
    else:
        print(_matrix(report))
    return 1 if any(report.differences.values()) else 0


def play(cells: Iterable[Cell]) -> Report:
    """Play cells one after another."""
    began = time.monotonic()
    differences: dict[str, list[str]] = {}
    holes = {cell.name: reason for cell in CELLS if (reason := hole(cell)) is not None}
    with _quiet(), playing() as scene, quick_retries():
        for cell in cells:
            if hole(cell) is not None:
                continue
            try:
                differences[cell.name] = differences_of(cell, scene)
            except Hole as found:
                holes[cell.name] = str(found)
            except Exception:
                differences[cell.name] = [traceback.format_exc(limit=-3)]
    return Report(openai.__version__, time.monotonic() - began, differences, holes)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Say nothing of what calls leave to the garbage collector on purpose, nor of pydantic's opinion of the answers."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _choose(*, quick: bool, only: str) -> Sequence[Cell]:
    cells: Sequence[Cell] = covering(CELLS) if quick else CELLS
    return [cell for cell in cells if only in cell.name]


def _matrix(report: Report) -> str:
    """Draw the matrix: a row for each call, a column for each stack, a sign for each setup."""
    width = max(len(call.name) for call in CALLS)
    columns = [max(len(stack.name), len(SETUPS)) for stack in STACKS]
    lines = [f"openai {report.sdk}; each column: {', '.join(SETUPS)}", ""]
    lines.append(
        " " * width + "".join(f"  {stack.name:{column}}" for stack, column in zip(STACKS, columns, strict=True))
    )
    for call in CALLS:
        signs = [
            "".join(_sign(report, Cell(stack, setup, call).name) for setup in SETUPS).ljust(column)
            for stack, column in zip(STACKS, columns, strict=True)
        ]
        lines.append(f"{call.name:{width}}  " + "  ".join(signs))
    return "\n".join([*lines, "", *_holes(report), *_failures(report), _sum(report)])


def _sign(report: Report, name: str) -> str:
    if name in report.holes:
        return HOLE
    if name not in report.differences:
        return UNPLAYED
    return FAILED if report.differences[name] else PASSED


def _holes(report: Report) -> Iterator[str]:
    """Tell each reason once, with the stacks and setups that it holds for."""
    told: dict[tuple[str, str], Counter[str]] = {}
    for name, reason in report.holes.items():
        stack, setup, _ = name.split(" / ", 2)
        told.setdefault((reason, stack), Counter())[setup] += 1
    for (reason, stack), setups in told.items():
        where = "every setup" if len(setups) == len(SETUPS) else ", ".join(setups)
        count = next(iter(setups.values()))
        calls = "every call" if count >= len(CALLS) - ONLY_ASYNC else f"{count} calls"
        yield f"- {stack}, {where}, {calls}: {reason}"
    if told:
        yield ""


def _failures(report: Report) -> Iterator[str]:
    for name, differences in report.differences.items():
        for difference in differences:
            yield f"X {name}: {difference}"


def _sum(report: Report) -> str:
    failed = sum(map(bool, report.differences.values()))
    played = len(report.differences)
    return f"{played} played, {failed} differ, {len(report.holes)} holes; {report.seconds:.0f} s"


# --------------------------------------------------------------------------------------------------------------- costs


def _costs() -> str:
    """Time a plain and a wrapped client in turns, without a network, and draw a table of the medians."""
    plain = openai.OpenAI(api_key="any", max_retries=0, http_client=_answering())
    limiter = throttle.Limiter({"rpm": 30_000, "tpm": 10_000_000_000}, pacing="burst")
    wrapped = throttle.wrap(plain, limiter=limiter)
    acts: Mapping[str, Callable[[Any], object]] = {
        "one call": lambda client: client.chat.completions.create(**CHAT),
        "with_options(max_retries=0)": lambda client: client.with_options(max_retries=0),
        "with_options(http_client=…), one call": lambda client: client.with_options(
            http_client=client._client, max_retries=0
        ).chat.completions.create(**CHAT),
    }
    lines = [f"{'':40}{'plain':>10}{'wrapped':>10}{'added':>10}{'ratio':>8}"]
    for name, act in acts.items():
        theirs, ours = _medians_us(act, plain, wrapped)
        lines.append(f"{name:40}{theirs:>7.0f} µs{ours:>7.0f} µs{ours - theirs:>7.0f} µs{ours / theirs:>8.2f}")
    plain.close()
    return "\n".join([f"openai {openai.__version__}, no network, medians of {ROUNDS} in turns", "", *lines])


def _answering() -> Any:
    """Make an HTTP client of the SDK's own library that answers by itself."""
    usage = {"prompt_tokens": 13, "completion_tokens": 5, "total_tokens": 18}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "It is deep."}}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini"}
    headers = {
        "x-ratelimit-limit-requests": "30000",
        "x-ratelimit-remaining-requests": "29999",
        "x-ratelimit-reset-requests": "2ms",
        "x-request-id": "req_1",
    }
    module: Any = importlib.import_module(default_library())
    answer = {**body, "choices": [choice], "usage": usage}
    return module.Client(transport=module.MockTransport(lambda _: module.Response(200, json=answer, headers=headers)))


def _medians_us(act: Callable[[Any], object], *clients: Any) -> list[float]:
    """Time an act on each client in turns, so that whatever else the machine does meets both alike."""
    times: list[list[float]] = [[] for _ in clients]
    for _ in range(ROUNDS):
        for client, taken in zip(clients, times, strict=True):
            began = time.perf_counter_ns()
            act(client)
            taken.append((time.perf_counter_ns() - began) / 1000)
    return [median(taken) for taken in times]


# ------------------------------------------------------------------------------------------------------ other versions


def _run_versions(arguments: argparse.Namespace) -> int:
    """Play it on each version in an environment of its own, and print one table."""
    reports = []
    failed = False
    for version in arguments.sdk:
        python = _environment(version)
        command = [str(python), "-m", "benchmarks", "wire", "--json", *(["--quick"] if arguments.quick else [])]
        command += ["--only", arguments.only] if arguments.only else []
        played = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=PLAY_S)
        lines = played.stdout.splitlines()
        report = Report(**json.loads(lines[-1])) if lines else Report(version, 0.0, {"all": ["it did not run"]})
        reports.append(report)
        failed |= any(report.differences.values())
        if arguments.suite:
            suite = [str(python), "-m", "pytest", "-q", "tests/wire", "--ignore", "tests/wire/test_matrix.py"]
            failed |= subprocess.run(suite, cwd=ROOT, timeout=PLAY_S).returncode != 0
    if arguments.json:
        print(json.dumps([asdict(report) for report in reports]))
    else:
        print(_table(reports))
    return 1 if failed else 0


def _environment(version: str) -> Path:
    """Make an environment with a version of the SDK and what the project requires; kept for the next time."""
    place = ROOT / f".venv-sdk-{version}"
    python = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    done = place / "complete"
    if not done.exists():
        print(f"making {place.name}", file=sys.stderr)
        venv.create(place, with_pip=True, clear=True)
        wanted = [f"openai[aiohttp]=={version}", *_requirements(), *BESIDE]
        if version.startswith("1.") and int(version.split(".")[1]) < 56:
            wanted.append("httpx<0.28")  # what these pass to it is no longer taken there
        subprocess.run([python, "-m", "pip", "install", "-qq", *wanted], check=True, timeout=INSTALL_S)
        done.touch()
    return python


def _requirements() -> list[str]:
    """List what the project requires, but for the SDK."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"]["simulator"]]
    return [each for each in listed if not each.startswith("openai")]


def _table(reports: Sequence[Report]) -> str:
    """Draw one row for each version: for each stack, how many cells are as they should be, of how many played."""
    lines = [f"{'openai':10}" + "".join(f"{stack.name:>16}" for stack in STACKS)]
    for report in reports:
        row = []
        for stack in STACKS:
            mine = [diffs for name, diffs in report.differences.items() if name.startswith(f"{stack.name} /")]
            row.append(f"{sum(not diffs for diffs in mine)}/{len(mine)}" if mine else HOLE)
        lines.append(f"{report.sdk:10}" + "".join(f"{each:>16}" for each in row))
    for report in reports:
        lines += ["", f"openai {report.sdk}: {_sum(report)}", *_holes(report), *_failures(report)]
    return "\n".join(lines)
