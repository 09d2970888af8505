"""Run contenders through scenarios, each run in a process of its own, against a server in another.

Rounds are interleaved: everybody runs once before anybody runs again, so that what else the machine does falls on all
alike. The server begins anew, at its level of the start, at the moment at which the contender is told to go.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.contenders import Contender
from benchmarks.contenders.contract import Job
from benchmarks.rig.scenarios import Scenario
from throttle.simulator import Simulator, running

__all__ = ["Entry", "Result", "race"]

SLACK = 4.0
"""So many times the ideal a run may take, and `GRACE_S` more; then it is cut off, and what is left is unfinished."""

GRACE_S = 20.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One run to be made."""

    contender: Contender
    scenario: Scenario
    round: int


@dataclass(frozen=True, slots=True)
class Result:
    """What one run came to.

    Attributes:
        goodput: what was booked of admitted calls over what the binding meter offered until the last of them.
        refused: 429s that the server gave.
        lost: calls that ended with an error.
        unfinished: calls without an answer when the run was cut off.
        against_ideal: time of the job, from the start to the last answer, over the ideal one; None where calls were
            lost or are unfinished.
        p50_s, p95_s, p99_s: of the time from the moment a worker takes a call up until it has the answer.
        cpu_s: of the contender's process, for the job.
        peak_mb: its largest resident size.
        errors: the most frequent ones, cut short.
    """

    contender: str
    scenario: str
    round: int
    calls: int
    answered: int
    lost: int
    refused: int
    goodput: float
    elapsed_s: float
    ideal_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    cpu_s: float
    peak_mb: float
    errors: dict[str, int]

    @property
    def unfinished(self) -> int:
        return self.calls - self.answered - self.lost

    @property
    def against_ideal(self) -> float | None:
        return None if self.answered < self.calls else self.elapsed_s / self.ideal_s

    def plain(self) -> dict[str, Any]:
        """Give it as plain values, for JSON."""
        return {**asdict(self), "unfinished": self.unfinished, "against_ideal": self.against_ideal}


def race(
    entries: Sequence[Entry], *, seconds: float, workers: int, side_by_side: int, on_done: Callable[[Result], None]
) -> list[Result]:
    """Make all runs, `side_by_side` at a time, each with a server of its own."""
    todo: queue.SimpleQueue[Entry] = queue.SimpleQueue()
    for entry in entries:
        todo.put(entry)
    results: list[Result] = []
    with ExitStack() as stack:
        servers = [stack.enter_context(running()) for _ in range(min(side_by_side, len(entries)))]

        def work(server: Simulator) -> None:
            for entry in _drain(todo):
                result = _run(entry, server, seconds, workers)
                results.append(result)
                on_done(result)

        threads = [threading.Thread(target=work, args=(server,)) for server in servers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return results


def _drain(todo: queue.SimpleQueue[Entry]) -> Iterator[Entry]:
    while True:
        try:
            yield todo.get_nowait()
        except queue.Empty:
            return


def _run(entry: Entry, server: Simulator, seconds: float, workers: int) -> Result:
    scenario, seed = entry.scenario, 7 + entry.round
    bodies = scenario.bodies(seconds, seed)
    tokens = sum(scenario.booked(body) for body in bodies)
    # the last answer follows the last admission; half of the spread is what it takes on average
    ideal_s = scenario.ideal_s(len(bodies), tokens) + sum(scenario.latency_s) / 2
    report = _play(entry, server, scenario, bodies, workers, SLACK * ideal_s + GRACE_S, seed)
    summary = server.summary()
    times_s: list[float] = report.get("times_s") or [0.0]
    return Result(
        contender=entry.contender.name,
        scenario=scenario.name,
        round=entry.round,
        calls=len(bodies),
        answered=report.get("answered", 0),
        lost=report.get("lost", 0),
        refused=summary.by_status.get("429", 0),
        goodput=summary.utilization,
        elapsed_s=report.get("elapsed_s", 0.0),
        ideal_s=ideal_s,
        p50_s=_quantile(times_s, 0.50),
        p95_s=_quantile(times_s, 0.95),
        p99_s=_quantile(times_s, 0.99),
        cpu_s=report.get("cpu_s", 0.0),
        peak_mb=report.get("peak_mb", 0.0),
        errors=report.get("errors", {}),
    )


def _play(
    entry: Entry,
    server: Simulator,
    scenario: Scenario,
    bodies: list[dict[str, Any]],
    workers: int,
    most_s: float,
    seed: int,
) -> dict[str, Any]:
    """Start the contender, begin the server anew when it is ready, let it go."""
    from benchmarks.contenders.counting import tokens_of

    mean = sum(map(tokens_of, bodies)) / len(bodies)
    job = Job(server.base_url, scenario.rpm, scenario.tpm, workers, mean)
    order = {"name": entry.contender.name, "job": asdict(job), "bodies": bodies, "most_s": most_s}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.contenders"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()
    process.stdout.readline()
    server.reset(**scenario.settings(seed))
    try:
        out, told = process.communicate("\n", timeout=most_s + 60)
        report: dict[str, Any] = json.loads(out)
    except (subprocess.TimeoutExpired, ValueError, BrokenPipeError):
        process.kill()
        _, told = process.communicate()
        return {"errors": {(told or "").strip()[-300:] or "it did not end": 1}, "lost": len(bodies)}
    return report


def _quantile(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
