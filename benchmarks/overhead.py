"""What throttle costs: an `acquire` that needn't wait, a call of the SDK, ten thousand waiters, an import.

Every figure stands beside a floor that was measured in the same run, in turns: the machine may be slow or busy, the
ratio isn't. The floors: two buckets' arithmetic under a lock; the plain SDK on a transport that answers at once; a bare
queue of futures with one timer; `import openai`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Final

from benchmarks.rig.machine import describe

GROUPS: Final = ("acquire", "calls", "waiting", "threads", "imports")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line: what was measured, and how it stands to its floor.

    Attributes:
        group: which part of the benchmark.
        name: of what.
        value: the figure, in `unit`.
        floor: the floor's, in the same unit; None for a floor itself.
    """

    group: str
    name: str
    value: float
    unit: str
    floor: float | None = None

    @property
    def ratio(self) -> str:
        """Write the ratio to the floor."""
        return f"{self.value / self.floor:.2f} ×" if self.floor else ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this benchmark's options."""
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, no 100,000 waiters: half a minute")
    parser.add_argument("--only", default="", help=f"of {', '.join(GROUPS)} (comma-separated)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--part", choices=GROUPS, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Measure each group in a process of its own, so that none inherits the other's memory."""
    if arguments.part:
        print(json.dumps([asdict(figure) for figure in _measure(arguments.part, quick=arguments.quick)]))
        return 0
    wanted = [word for word in arguments.only.split(",") if word] or GROUPS
    about = describe(("openai-throttle", "openai", "httpx2", "httpx", "pydantic", "tiktoken"))
    figures = [figure for group in wanted for figure in _elsewhere(group, quick=arguments.quick)]
    if arguments.json:
        print(json.dumps({"about": about, "figures": [asdict(figure) for figure in figures]}))
        return 0
    group = ""
    for figure in figures:
        if figure.group != group:
            group = figure.group
            print(f"\n{group}")
        print(f"  {figure.name:46}{figure.value:>12,.2f} {figure.unit:3}{figure.ratio:>12}")
    versions = ", ".join(f"{name} {found}" for name, found in dict(about["versions"]).items())  # type: ignore[call-overload]
    print(f"\n{about['date']}, {about['processor']}, {about['cores']} cores, load {about['load_before']}")
    print(f"Python {about['python']}; {versions}")
    return 0


def _elsewhere(group: str, *, quick: bool) -> Iterator[Figure]:
    command = [sys.executable, "-m", "benchmarks", "overhead", "--part", group, *(["--quick"] if quick else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"overhead: {group} failed:\n{done.stderr.strip()[-1000:]}")
    return (Figure(**plain) for plain in json.loads(done.stdout))


def _measure(group: str, *, quick: bool) -> list[Figure]:
    from benchmarks.rig import costs

    parts: dict[str, Callable[[bool], Iterator[tuple[str, float, str, float | None]]]] = {
        "acquire": costs.acquiring,
        "calls": costs.calling,
        "waiting": costs.waiting,
        "threads": costs.threads,
        "imports": costs.importing,
    }
    return [Figure(group, *line) for line in parts[group](quick)]
