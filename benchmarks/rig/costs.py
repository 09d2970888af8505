"""The measurements of `overhead`: each yields lines of name, figure, unit, and the floor's figure."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import throttle

__all__ = ["acquiring", "calling", "importing", "threads", "waiting"]

Line = tuple[str, float, str, float | None]

MODEL: Final = "gpt-4o-mini"
AMPLE: Final = {"rpm": 10**8, "tpm": 10**11}
BODY: Final = {
    "model": MODEL,
    "messages": [{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": "Is the sea blue?"}],
    "max_tokens": 16,
}
THREAD_STACK: Final = 256 * 1024


# ---- in turns


def _in_turns(work: Mapping[str, Callable[[int], float]], times: int, rounds: int) -> dict[str, float]:
    """Let each do its work so many times, in turns; gives the CPU seconds of the best round for one, by name."""
    for each in work.values():
        each(max(1, times // 10))
    found: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, each in work.items():
            gc.collect()
            gc.disable()
            found[name].append(each(times) / times)
            gc.enable()
    return {name: min(seconds) for name, seconds in found.items()}


# ---- acquire


class Bare:
    """The least a limiter over two meters can do: levels brought up to now, compared, charged, under a lock."""

    def __init__(self, rpm: float, tpm: float) -> None:
        self.lock = threading.Lock()
        self.rates = (rpm / 60, tpm / 60)
        self.capacities = (rpm, tpm)
        self.levels = [rpm, tpm]
        self.at_s = time.monotonic()

    def take(self, requests: float, tokens: float) -> bool:
        with self.lock:
            now_s = time.monotonic()
            gap_s, self.at_s = now_s - self.at_s, now_s
            levels, rates, capacities = self.levels, self.rates, self.capacities
            levels[0] = min(capacities[0], levels[0] + gap_s * rates[0])
            levels[1] = min(capacities[1], levels[1] + gap_s * rates[1])
            if levels[0] < requests or levels[1] < tokens:
                return False
            levels[0] -= requests
            levels[1] -= tokens
            return True


def acquiring(quick: bool) -> Iterator[Line]:
    """An `acquire` with nobody in front of it, over two meters."""
    times, rounds = (20_000, 5) if quick else (50_000, 11)
    bare, exact = Bare(1e8, 1e11), throttle.Limiter(AMPLE)
    learning, lonely = _learning_limiter(), _learning_limiter()
    under_way = learning.acquire(MODEL, tokens=900).__enter__()
    work = {
        "bare arithmetic of two buckets under a lock": _timed(lambda: bare.take(1, 900)),
        "with limiter.acquire(...)": _timed_with(exact),
        "the same, following the server, calls under way": _timed_with(learning),
        "the same, following the server, no other call": _timed_with(lonely),
        "async with limiter.acquire(...)": _timed_async(exact),
        "the same, following the server, calls under way ": _timed_async(learning),
        "try_acquire, cancelled": _timed(lambda: exact.try_acquire(MODEL, tokens=900).cancel()),  # type: ignore[union-attr]
        "wait_time": _timed(lambda: exact.wait_time(MODEL, tokens=900)),
    }
    found = _in_turns(work, times, rounds)
    under_way.close()
    floor = next(iter(found.values()))
    for name, seconds in found.items():
        yield name, seconds * 1e6, "µs", None if seconds == floor else floor * 1e6


def _learning_limiter(limits: Mapping[str, int] = AMPLE, *, left: float = 1.0) -> throttle.Limiter:
    """Make a limiter whose pool is followed by what the server says: a wrapped client has made its first call, and the
    answer told how much is left.
    """
    import openai

    limiter = throttle.Limiter(limits, pacing="burst")
    with openai.OpenAI(api_key="none", http_client=_web().Client(transport=_transport(limits, left=left))) as client:
        throttle.wrap(client, limiter=limiter).chat.completions.create(**BODY)  # type: ignore[call-overload]
    return limiter


def _timed(act: Callable[[], object]) -> Callable[[int], float]:
    def measure(times: int) -> float:
        begun_s = time.process_time()
        for _ in range(times):
            act()
        return time.process_time() - begun_s

    return measure


def _timed_with(limiter: throttle.Limiter) -> Callable[[int], float]:
    def measure(times: int) -> float:
        acquire = limiter.acquire
        begun_s = time.process_time()
        for _ in range(times):
            with acquire(MODEL, tokens=900):
                pass
        return time.process_time() - begun_s

    return measure


def _timed_async(limiter: throttle.Limiter) -> Callable[[int], float]:
    async def work(times: int) -> float:
        acquire = limiter.acquire
        begun_s = time.process_time()
        for _ in range(times):
            async with acquire(MODEL, tokens=900):
                pass
        return time.process_time() - begun_s

    return lambda times: asyncio.run(work(times))


# ---- calls


def calling(quick: bool) -> Iterator[Line]:
    """A chat call of the SDK on a transport that answers at once, plain and wrapped, sync and async."""
    import openai

    times, rounds = (150, 5) if quick else (400, 11)
    web = _web()
    plain = openai.OpenAI(api_key="none", http_client=web.Client(transport=_transport(AMPLE)))
    wrapped = throttle.wrap(plain, limiter=throttle.Limiter(AMPLE))

    def sync(client: Any) -> Callable[[int], float]:
        return _timed(lambda: client.chat.completions.create(**BODY))

    def asynchronous(wrap: bool) -> Callable[[int], float]:
        async def work(times: int) -> float:
            http = web.AsyncClient(transport=_transport(AMPLE))
            async with openai.AsyncOpenAI(api_key="none", http_client=http) as bare:
                client = throttle.wrap(bare, limiter=throttle.Limiter(AMPLE)) if wrap else bare
                await client.chat.completions.create(**BODY)  # type: ignore[call-overload]
                begun_s = time.process_time()
                for _ in range(times):
                    await client.chat.completions.create(**BODY)  # type: ignore[call-overload]
                return time.process_time() - begun_s

        return lambda times: asyncio.run(work(times))

    begun_s = time.process_time()
    wrapped.chat.completions.create(**BODY)  # type: ignore[call-overload]
    first_ms = 1e3 * (time.process_time() - begun_s)
    found = _in_turns({"sync": sync(plain), "sync, wrapped": sync(wrapped)}, times, rounds)
    found |= _in_turns({"async": asynchronous(False), "async, wrapped": asynchronous(True)}, times, rounds)
    for kind in ("sync", "async"):
        floor, mine = found[kind], found[f"{kind}, wrapped"]
        yield f"{kind} call, plain SDK", floor * 1e6, "µs", None
        yield f"{kind} call, wrapped", mine * 1e6, "µs", floor * 1e6
        yield f"  added to the {kind} call", (mine - floor) * 1e6, "µs", None
    yield "the very first call of the process, wrapped", first_ms, "ms", None


def _web() -> Any:
    """Find the HTTP library that the SDK uses."""
    return import_module("httpx2" if find_spec("httpx2") else "httpx")


def _transport(limits: Mapping[str, int], *, left: float = 1.0) -> Any:
    """Make a transport that answers every chat call at once, as a server of such limits with so much left."""
    web, answer, headers = _web(), _answer(), _headers(limits, left)
    return web.MockTransport(lambda request: web.Response(200, headers=headers, content=answer))


def _headers(limits: Mapping[str, int], left: float) -> dict[str, str]:
    requests, tokens = int((limits["rpm"] - 1) * left), int((limits["tpm"] - 20) * left)
    return {
        "content-type": "application/json",
        "x-ratelimit-limit-requests": str(limits["rpm"]),
        "x-ratelimit-limit-tokens": str(limits["tpm"]),
        "x-ratelimit-remaining-requests": str(requests),
        "x-ratelimit-remaining-tokens": str(tokens),
        "x-ratelimit-reset-requests": _until_full(limits["rpm"], requests),
        "x-ratelimit-reset-tokens": _until_full(limits["tpm"], tokens),
    }


def _until_full(limit: int, remaining: int) -> str:
    return f"{max(1, round(60_000 * (limit - remaining) / limit))}ms"


def _answer() -> bytes:
    message = {"role": "assistant", "content": "Often."}
    usage = {"prompt_tokens": 21, "completion_tokens": 2, "total_tokens": 23}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    told = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL}
    return json.dumps({**told, "choices": [choice], "usage": usage}).encode()


# ---- waiting


class BareQueue:
    """The least that waiting takes: a queue of futures and one timer, for one bucket."""

    def __init__(self, rate_per_s: float) -> None:
        self.rate_per_s = rate_per_s
        self.level = 0.0
        self.at_s = time.monotonic()
        self.queue: deque[asyncio.Future[None]] = deque()
        self.timer: asyncio.TimerHandle | None = None

    async def acquire(self) -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self.queue.append(future)
        if self.timer is None:
            self.timer = loop.call_later(1 / self.rate_per_s, self.tick)
        await future

    def tick(self) -> None:
        now_s = time.monotonic()
        self.level += (now_s - self.at_s) * self.rate_per_s
        self.at_s = now_s
        while self.queue and self.level >= 1:
            self.level -= 1
            if not (future := self.queue.popleft()).done():
                future.set_result(None)
        self.timer = None
        if self.queue:
            loop = asyncio.get_running_loop()
            self.timer = loop.call_later((1 - self.level) / self.rate_per_s, self.tick)


DRAIN_S: Final = 4.0


def waiting(quick: bool) -> Iterator[Line]:
    """So many tasks that wait at once, let go within seconds: CPU for each admission, memory of each, the order."""
    floor_b = asyncio.run(_memory(BareQueue(1.0).acquire))
    yield "a task on a bare queue, memory", floor_b, "kB", None
    yield "a waiting task, memory", asyncio.run(_memory(_limited_waiter(60, follows=False))), "kB", floor_b
    for count in (10_000,) if quick else (10_000, 100_000):
        floor_us, _ = asyncio.run(_crowd(count, BareQueue(count / DRAIN_S).acquire))
        us, overtaken = asyncio.run(_crowd(count, _limited_waiter(int(count * 60 / DRAIN_S), follows=False)))
        yield f"{count:,} tasks on a bare queue, CPU each", floor_us, "µs", None
        yield f"{count:,} tasks, CPU each", us, "µs", floor_us
        yield f"{count:,} tasks, overtaken", float(overtaken), "", None
    count = 2_000 if quick else 10_000
    us, overtaken = asyncio.run(_crowd(count, _limited_waiter(int(count * 60 / DRAIN_S), follows=True)))
    yield f"{count:,} tasks, answered and learned from, CPU each", us, "µs", floor_us
    yield f"{count:,} tasks, answered, overtaken", float(overtaken), "", None


def _limited_waiter(rpm: int, *, follows: bool) -> Callable[[], Awaitable[object]]:
    """Make a waiter at a limiter whose requests have all been used."""
    limits = {"rpm": rpm, "tpm": 10**11}
    if follows:
        limiter = _learning_limiter(limits, left=0.0)
    else:
        limiter = throttle.Limiter(limits)
        drained = limiter.try_acquire(MODEL, requests=rpm)
        assert drained is not None
        drained.close()
    server = Bare(rpm, limits["tpm"])
    server.levels[0] = 0.0

    async def wait() -> object:
        async with limiter.acquire(MODEL, tokens=900) as permit:
            if follows:  # else its charge stays unconfirmed, and those behind it are held back for that
                server.take(1, 900)
                permit.observe(_headers(limits, max(0.0, server.levels[0] / rpm)))
            return permit

    return wait


async def _crowd(count: int, wait: Callable[[], Awaitable[object]]) -> tuple[float, int]:
    """Let so many tasks wait; gives CPU (µs) for each, its task included, and how many were overtaken."""
    went: list[tuple[int, int]] = []

    async def one() -> None:
        permit = await wait()
        if isinstance(permit, throttle.Permit):
            went.append((permit.number, permit.asked_us + permit.waited_us))

    gc.collect()
    gc.freeze()
    cpu_s = time.process_time()
    await asyncio.gather(*(asyncio.create_task(one()) for _ in range(count)))
    cpu_s = time.process_time() - cpu_s
    gc.unfreeze()
    return 1e6 * cpu_s / count, _overtaken([instant_us for _, instant_us in sorted(went)])


async def _memory(wait: Callable[[], Awaitable[object]], count: int = 5_000) -> float:
    """Tell the memory (kB) of one that waits, beyond that of a task that awaits a future."""
    tracemalloc.start()
    found = []
    for make in (_idle, wait, _idle, wait):
        gc.collect()
        before_b = tracemalloc.get_traced_memory()[0]
        tasks = [asyncio.ensure_future(make()) for _ in range(count)]
        await asyncio.sleep(0)
        found.append((tracemalloc.get_traced_memory()[0] - before_b) / count)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    tracemalloc.stop()
    return (found[3] - found[2]) / 1e3


async def _idle() -> None:
    await asyncio.get_running_loop().create_future()


def _overtaken(order: list[int]) -> int:
    """Count those that went after one that had come later."""
    latest, count = -1, 0
    for number in order:
        count += number < latest
        latest = max(latest, number)
    return count


# ---- threads


def threads(quick: bool) -> Iterator[Line]:
    """A thousand threads that wait at once, let go within two seconds."""
    count = 200 if quick else 1_000
    limits = {"rpm": count * 30, "tpm": 10**12}
    limiter = throttle.Limiter(limits)
    drained = limiter.try_acquire(MODEL, requests=limits["rpm"])
    assert drained is not None
    drained.close()
    went: list[tuple[int, int]] = []
    ready = threading.Barrier(count + 1)

    def one() -> None:
        ready.wait()
        with limiter.acquire(MODEL, tokens=900) as permit:
            went.append((permit.number, permit.asked_us + permit.waited_us))

    threading.stack_size(THREAD_STACK)
    everybody = [threading.Thread(target=one) for _ in range(count)]
    for thread in everybody:
        thread.start()
    ready.wait()
    cpu_s, begun_s = time.process_time(), time.perf_counter()
    for thread in everybody:
        thread.join()
    elapsed_s, cpu_s = time.perf_counter() - begun_s, time.process_time() - cpu_s
    threading.stack_size(0)
    yield f"{count:,} threads, all let go after", elapsed_s, "s", 2.0
    yield f"{count:,} threads, CPU each", 1e6 * cpu_s / count, "µs", None
    instants = [let_go_us for _, let_go_us in sorted(went)]
    yield f"{count:,} threads, overtaken", float(_overtaken(instants)), "", None


# ---- imports


def importing(quick: bool) -> Iterator[Line]:
    """What an import takes, in new processes, in turns. What is behind a name is imported when it is first used."""
    statements = {
        "import openai": "import openai",
        "import throttle": "import throttle",
        "import throttle; throttle.wrap (openai with it)": "import throttle; throttle.wrap",
        "import openai; OpenAI()": "import openai; openai.OpenAI(api_key='none')",
        "the same, wrapped, limits read": "import openai, throttle; throttle.wrap(openai.OpenAI(api_key='none'))",
    }
    found: dict[str, list[float]] = {name: [] for name in statements}
    for statement in statements.values():
        _import_s(statement)  # compiles what nobody has compiled yet
    for _ in range(3 if quick else 9):
        for name, statement in statements.items():
            found[name].append(_import_s(statement))
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    floor = medians["import openai"]
    for name, seconds in medians.items():
        yield name, seconds * 1e3, "ms", None if name == "import openai" else floor * 1e3


def _import_s(statement: str) -> float:
    code = f"import time\nbegun = time.process_time()\n{statement}\nprint(time.process_time() - begun)"
    # where bytecode may not be kept, every import would be measured with its compilation
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=kept)
    return float(done.stdout)
