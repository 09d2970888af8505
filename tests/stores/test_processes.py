"""Real processes on one store: spawned, forked before and after the first use, killed."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.queues import Queue
from pathlib import Path

import pytest

from tests.stores.support import eventually, report
from throttle import Limiter
from throttle.stores.transition import LEASE_US

LIMITS = {"rpm": 60_000, "tpm": 60_000}
PROCESSES = 2
CALLS = 40


def charged(url: str) -> float:
    """How many tokens the store has charged."""
    lines = report(url).lines
    return lines[-1].spent / (lines[-4].capacity / LIMITS["tpm"])


def spend(url: str, done: Queue[int]) -> None:
    limiter = Limiter(LIMITS, store=url)
    for _ in range(CALLS):
        with limiter.acquire("m", tokens=10):
            pass
    done.put(limiter.snapshot().pools["default"].admitted)


def test_spawned_processes_charge_one_bucket(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    done = context.Queue()
    processes = [context.Process(target=spend, args=(url, done)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    assert [done.get(timeout=60) for _ in processes] == [CALLS] * PROCESSES
    for process in processes:
        process.join(10)
    assert charged(url) == PROCESSES * CALLS * 10


def in_child(act: Callable[[], None]) -> None:
    """Fork, act in the child, and wait for it."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("used", [False, True], ids=["before its first use", "after its first use"])
def test_a_fork_shares_the_bucket(url: str, used: bool) -> None:
    limiter = Limiter(LIMITS, store=url)

    def call() -> None:
        limiter.acquire("m", tokens=10, max_wait=10).__enter__().close()

    if used:
        call()
    in_child(call)
    call()
    assert charged(url) == 10 * (2 + used)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_keeps_no_place_of_its_parents_calls(url: str) -> None:
    limiter = Limiter({**LIMITS, "max_in_flight": 2}, store=url)
    permits = [limiter.acquire("m", tokens=10, max_wait=10).__enter__() for _ in range(2)]

    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(writing)
            while not select.select([reading], [], [], 0.05)[0]:  # until the parent is done, or dead
                if (permit := limiter.try_acquire("m", tokens=10)) is not None:
                    permit.close()
        finally:
            os._exit(0)
    try:
        eventually(lambda: len(report(url).processes) == 2)
        assert limiter.try_acquire("m", tokens=10) is None
        for permit in permits:
            permit.close()
        for permit in [limiter.acquire("m", tokens=10, max_wait=5).__enter__() for _ in range(2)]:
            permit.close()
    finally:
        os.close(writing)
        os.waitpid(pid, 0)
        os.close(reading)


KILLED = """
import sys, os
from throttle import Limiter
limiter = Limiter({"rpm": 60_000, "tpm": 60_000}, store=sys.argv[1])
with limiter.acquire("m", tokens=60_000): pass
import threading
threading.Thread(target=lambda: limiter.acquire("m", tokens=50_000).__enter__(), daemon=True).start()
(gate,) = limiter._routing.gates
while not gate.shared._reserved: pass
print("reserved", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_had_reserved_comes_back(tmp_path: Path, redis_url: str) -> None:
    urls = [f"sqlite:///{tmp_path}/a.db", f"{redis_url}?namespace=killed"]
    for url in urls:
        command = [sys.executable, "-c", KILLED, url]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "reserved\n"
            process.send_signal(signal.SIGKILL)
        assert charged(url) == 110_000
    for url in urls:
        limiter = Limiter(LIMITS, store=url)

        def came_back(limiter: Limiter = limiter, url: str = url) -> bool:
            permit = limiter.try_acquire("m", tokens=0, requests=0)
            if permit is not None:
                permit.close()
            return charged(url) == 60_000

        eventually(came_back, within_s=LEASE_US / 1e6 + 5)


def test_a_process_with_a_limiter_ends_when_it_is_done(url: str) -> None:
    text = "import sys, throttle; throttle.Limiter({'tpm': 600}, store=sys.argv[1]).acquire('m').__enter__().close()"
    assert subprocess.run([sys.executable, "-c", text, url], timeout=60, check=False).returncode == 0
