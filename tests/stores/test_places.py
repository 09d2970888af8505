"""Places that come free in one process and are waited for in another: who is called, and who has to ask."""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from tests.stores.support import eventually, gate_of, quiet, report
from throttle import Limiter
from throttle.shared import courier
from throttle.stores.bells import LoopbackBells
from throttle.stores.memory import MemoryStore

LIMITS = {"rpm": 60_000, "max_in_flight": 1}


class Waiting:
    """A call that waits in a thread, and ends at once when it went."""

    def __init__(self, limiter: Limiter) -> None:
        self.went = threading.Event()
        self._limiter = limiter
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._limiter.acquire("m", max_wait=30):
            self.went.set()

    def join(self) -> None:
        self._thread.join(30)
        assert self.went.is_set()


def stands_in_line(limiter: Limiter) -> bool:
    """Tell whether a limiter's call has a bell, and was told with it that no place is free."""
    with limiter._lock:
        pool = gate_of(limiter).shared
        return bool(pool.bell) and pool._in_line and pool._no_place_until_us > limiter._clock()


def calls_of(limiter: Limiter, monkeypatch: pytest.MonkeyPatch, *, arrive: bool = True) -> list[str]:
    """Note who calls a limiter; where they don't `arrive`, it doesn't hear them."""
    calls: list[str] = []
    carrier = gate_of(limiter).courier
    inner = carrier._on_call

    def on_call(word: str) -> None:
        calls.append(word)
        if arrive:
            inner(word)

    monkeypatch.setattr(carrier, "_on_call", on_call)
    return calls


def used(url: str) -> Limiter:
    """Make a limiter that has made a call, and has nothing left to tell."""
    limiter = Limiter(LIMITS, store=url)
    limiter.acquire("m").__enter__().close()
    quiet(limiter)
    return limiter


def two_of(url: str) -> tuple[Limiter, Limiter]:
    return used(url), used(url)


def test_who_waits_for_a_place_is_called_and_does_not_ask(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = two_of(url)
    calls = calls_of(two, monkeypatch)
    held = one.acquire("m").__enter__()
    waiting = Waiting(two)
    eventually(lambda: stands_in_line(two))
    asked = gate_of(two).shared.exchanges
    threading.Event().wait(1)
    assert gate_of(two).shared.exchanges == asked
    assert not waiting.went.is_set()
    held.close()
    waiting.join()
    assert len(calls) == 1
    assert calls[0] != ""


def test_a_bell_that_is_not_heard_is_done_without(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = two_of(url)
    calls = calls_of(two, monkeypatch, arrive=False)
    held = one.acquire("m").__enter__()
    waiting = Waiting(two)
    eventually(lambda: stands_in_line(two))
    held.close()
    waiting.join()
    assert len(calls) == 1
    assert gate_of(two).shared.bell == ""

    held = one.acquire("m", max_wait=10).__enter__()
    waiting = Waiting(two)
    eventually(lambda: gate_of(two).shared._in_line)
    asked = gate_of(two).shared.exchanges
    eventually(lambda: gate_of(two).shared.exchanges > asked + 3)
    held.close()
    waiting.join()
    assert len(calls) == 1


def test_after_a_rest_a_process_hears_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = two_of(url)
    for _ in range(2):
        held = one.acquire("m", max_wait=10).__enter__()
        waiting = Waiting(two)
        eventually(lambda: stands_in_line(two))
        held.close()
        waiting.join()
        with monkeypatch.context() as patch:
            patch.setattr(courier, "LINGER_S", 0.0)
            eventually(lambda: gate_of(two).courier._thread is None)
        assert gate_of(two).shared.bell == ""


def test_many_processes_that_take_turns_are_called(url: str) -> None:
    limiters = [Limiter({"rpm": 60_000, "max_in_flight": 2}, store=url) for _ in range(4)]
    most: list[int] = []
    out: list[None] = []

    def work(limiter: Limiter) -> None:
        for _ in range(20):
            with limiter.acquire("m", max_wait=30):
                out.append(None)
                most.append(len(out))
                time.sleep(0.005)
                out.pop()

    threads = [threading.Thread(target=work, args=(limiter,)) for limiter in limiters for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(most) == 160
    assert max(most) <= 2
    assert sum(gate_of(limiter).shared.exchanges for limiter in limiters) < 3 * 160


def test_a_subscription_that_breaks_is_noticed(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import redis

    one, two = two_of(f"{redis_url}?namespace=breaks")
    calls = calls_of(two, monkeypatch)
    held = one.acquire("m").__enter__()
    waiting = Waiting(two)
    eventually(lambda: stands_in_line(two))
    with redis.Redis.from_url(redis_url) as client:
        client.client_kill_filter(_type="pubsub")
    eventually(lambda: calls == [""])
    assert gate_of(two).shared.bell == ""
    held.close()
    waiting.join()


LAST = """
import sys
from throttle import Limiter
limiter = Limiter({"rpm": 60_000, "max_in_flight": 1}, store=sys.argv[1])
limiter.acquire("m").__enter__().close()
permit = limiter.acquire("m").__enter__()  # and is never closed
"""


def test_a_process_that_ends_gives_its_places_back_and_is_forgotten(url: str) -> None:
    subprocess.run([sys.executable, "-c", LAST, url], timeout=60, check=True)
    assert report(url).processes == {}
    assert Limiter(LIMITS, store=url).try_acquire("m") is not None


kept: list[Any] = []


def keep_place(limiter: Limiter) -> None:
    kept.append(limiter.acquire("m", max_wait=10).__enter__())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_so_does_a_worker_that_was_forked(url: str) -> None:
    limiter = used(url)
    worker = multiprocessing.get_context("fork").Process(target=keep_place, args=(limiter,))
    worker.start()
    worker.join(30)
    assert worker.exitcode == 0
    assert limiter.try_acquire("m") is not None


class Mute(MemoryStore):
    """A store whose bells are broken."""

    def hear(self, called: Any) -> str:
        raise RuntimeError("can't start new thread")

    def ring(self, bells: Any) -> None:
        raise LookupError("no node")


def test_bells_that_break_keep_nobody_from_waiting() -> None:
    store = Mute()
    one, two = Limiter(LIMITS, store=store), Limiter(LIMITS, store=store)
    held = one.acquire("m").__enter__()
    waiting = Waiting(two)
    eventually(lambda: gate_of(two).shared._in_line)
    held.close()
    waiting.join()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_worker_whose_threads_are_still_at_work_keeps_its_places(url: str) -> None:
    limiter = used(url)
    reading, writing = os.pipe()
    worker = multiprocessing.get_context("fork").Process(target=work_on, args=(limiter, reading, writing))
    worker.start()
    os.close(reading)
    try:
        eventually(lambda: limiter.try_acquire("m") is None)
        threading.Event().wait(1)
        assert limiter.try_acquire("m") is None
    finally:
        os.close(writing)
        worker.join(30)
    assert worker.exitcode == 0


def work_on(limiter: Limiter, reading: int, writing: int) -> None:
    """Return while a thread has a call out, until the other end is closed."""
    os.close(writing)
    permit = limiter.acquire("m", max_wait=10).__enter__()

    def work() -> None:
        os.read(reading, 1)
        permit.close()

    threading.Thread(target=work).start()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_so_does_a_worker_that_makes_its_own_limiter(url: str) -> None:
    text = f"""
import multiprocessing, sys
def work():
    from throttle import Limiter
    global limiter, permit
    limiter = Limiter({LIMITS}, store=sys.argv[1])
    permit = limiter.acquire("m").__enter__()
worker = multiprocessing.get_context("fork").Process(target=work)
worker.start()
worker.join()
sys.exit(worker.exitcode)
"""
    subprocess.run([sys.executable, "-c", text, url], timeout=60, check=True)
    assert Limiter(LIMITS, store=url).try_acquire("m") is not None


def test_a_limiter_that_is_dropped_tells_before_that_its_call_has_ended(url: str) -> None:
    for _ in range(5):
        limiter = Limiter(LIMITS, store=url)
        limiter.acquire("m", max_wait=5).__enter__().close()
        del limiter


def test_a_store_that_is_away_keeps_nobody_from_ending() -> None:
    text = "import sys, throttle; throttle.Limiter({'tpm': 600}, store=sys.argv[1]).acquire('m').__enter__().close()"
    told = subprocess.run(
        [sys.executable, "-c", text, "redis://127.0.0.1:1"], timeout=60, check=True, capture_output=True, text=True
    )
    assert told.stderr.count("it answers again") == 1


# the bells themselves


def test_a_bell_is_heard_until_it_is_closed() -> None:
    bells, other = LoopbackBells(), LoopbackBells()
    words: list[str] = []
    address = bells.hear(words.append)
    assert bells.hear(words.append) == address
    other.ring([f"{address}/a", f"{address}/b"])
    eventually(lambda: words == ["a", "b"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"", ("127.0.0.1", int(address)))
    other.ring([f"{address}/c"])
    eventually(lambda: words == ["a", "b", "c"])
    before = threading.active_count()
    bells.close()
    eventually(lambda: threading.active_count() < before)
    other.ring([f"{address}/d", "no port/d", "99999/e"])
    again = bells.hear(words.append)
    other.ring(["no port/d", "99999/e", f"{again}/f"])
    eventually(lambda: words == ["a", "b", "c", "f"])
    bells.close()
    other.close()
