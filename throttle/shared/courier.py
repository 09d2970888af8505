"""The courier: carries the exchanges of a limiter's pools to their store, and deals with a store that is away.

One carries at a time. A thread that waits alone carries its call by itself, as handing it over would cost as much as
the round trip. For everything else there is a thread of the courier's own, which starts when there is something to
carry and ends when there has been nothing for a while. So a cancelled task never interrupts an exchange, threads and
loops of any kind are served alike, and whatever gathers while a round trip is under way goes with the next one, all
pools in one go.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import secrets
import socket
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from multiprocessing import parent_process, util
from typing import TYPE_CHECKING, Final

from throttle.errors import StoreError
from throttle.shared import OnStoreError
from throttle.shared.gate import SharedGate
from throttle.shared.pool import SharedPool
from throttle.shared.standin import StandIn
from throttle.stores.protocol import Answer, BellStore, Exchange, Store

if TYPE_CHECKING:
    from throttle.limiter import Limiter

__all__ = ["Courier"]

logger = logging.getLogger("throttle")

LOOK_S: Final = 0.5
"""How often an idle courier looks whether somebody must be shown that this process lives."""
LINGER_S: Final = 5.0
"""How long an idle courier waits for more to carry before its thread ends."""
LEAVE_S: Final = 2.0
"""How long a process that ends takes at most to tell its stores."""
BUSY_S: Final = 0.002
"""How often a process that ends looks whether somebody else still carries."""
RETRY_FIRST_S, RETRY_MOST_S = 0.5, 5.0
"""After what time a store that is away is tried again, doubling."""


class Courier:
    """Carries exchanges. `post` may be called under the limiter's lock; nothing else of it is.

    Calls that may wait for less than `patience_us` don't carry: a store that hangs would hold them for longer.
    """

    def __init__(self, store: Store, on_store_error: OnStoreError) -> None:
        """Make the courier of a limiter; its thread starts at the first post."""
        self.store = store
        self.patience_us = round(2e6 * getattr(store, "timeout_s", 1.0))
        self.process, self.label = _new_process()
        self._policy = on_store_error
        self._limiter: Callable[[], Limiter | None] = lambda: None
        self._bell = threading.Condition()
        self._posted: dict[SharedGate, None] = {}
        self._needed: Limiter | None = None  # as long as it has something to tell
        self._carrier = 0  # the thread that carries; 0: nobody
        self._gates: weakref.WeakSet[SharedGate] = weakref.WeakSet()
        self._by_word: weakref.WeakValueDictionary[str, SharedGate] = weakref.WeakValueDictionary()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._away: StandIn | None = None
        self._retry_s = RETRY_FIRST_S
        self._retry_at = 0.0
        self._complained = False
        self._carried_at = 0.0
        self._leaves = False
        _COURIERS.add(self)

    def serve(self, limiter: Limiter) -> None:
        """Serve a limiter, which is held weakly."""
        self._limiter = weakref.ref(limiter)

    @property
    def is_away(self) -> bool:
        """Whether the store did not answer when it was last asked."""
        return self._complained

    def post(self, gate: SharedGate, *, lends_hand: bool = False) -> None:
        """Carry what the gate's pool wants, as soon as possible. Who `lends_hand` calls that next, and so saves waking
        the courier's own thread.
        """
        with self._bell:
            self._gates.add(gate)
            self._posted[gate] = None
            self._needed = self._limiter()
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="throttle-courier", daemon=True)
                thread.start()  # may fail, and is tried again then
                self._thread = thread
            elif not self._carrier and not lends_hand:
                self._bell.notify()

    def lend_hand(self, limiter: Limiter) -> None:
        """Carry once, in a thread that would have to wait for it anyway, unless somebody else does."""
        if self._carry_alone(limiter) and self._posted:
            with self._bell:
                self._bell.notify()

    def leave(self, end: float) -> None:
        """Take leave of the store, as this process ends: what it holds comes back at once. Not where the store is away,
        or busy until `end` on the monotonic clock, in seconds; one answer is waited for as long as ever.
        """
        limiter = self._limiter()
        if limiter is None or self._complained or self._pid != os.getpid():
            return
        self._leaves = True
        with limiter._lock:
            gates = list(self._gates)
            for gate in gates:
                gate.shared.leave()
        while self._leaves and (gates := [gate for gate in gates if gate.shared.leaves]) and time.monotonic() < end:
            if not self._carry_alone(limiter, gates):
                time.sleep(BUSY_S)
        self._leaves = False

    def start_anew(self) -> tuple[str, str]:
        """After a fork: another process, without a thread yet. Returns what it is called from now on."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self.process, self.label = _new_process()
            self._bell = threading.Condition()
            self._posted, self._needed, self._thread, self._carrier = {}, None, None, 0
            self._away, self._retry_s = None, RETRY_FIRST_S
        return self.process, self.label

    # the thread

    def _run(self) -> None:
        try:
            self._serve_until_idle()
        except BaseException:
            with self._bell:
                self._thread = None  # so that the next post starts another one
            raise

    def _serve_until_idle(self) -> None:
        self._carried_at = time.monotonic()
        while True:
            with self._bell:
                if self._carrier or not self._posted:
                    self._bell.wait(LOOK_S)
            limiter = self._limiter()
            if limiter is not None and not self._carry_alone(limiter):
                self._carry_alone(limiter, self._beating(limiter))
            del limiter
            with self._bell:
                idle = time.monotonic() - self._carried_at > LINGER_S
                gone = self._limiter() is None
                if not self._carrier and (gone or (idle and not self._posted and not self._complained)):
                    for gate in list(self._gates):
                        gate.shared.bell = ""
                    self.store.close()  # under the bell, before another thread may use it
                    self._thread = None
                    return

    def _take_up(self, more: Sequence[SharedGate] = ()) -> list[SharedGate]:
        """Begin to carry what was posted, and more; returns nothing where somebody else does."""
        with self._bell:
            if self._carrier or not (self._posted or more):
                return []
            self._carrier = threading.get_ident()
            gates, self._posted, self._needed = list(self._posted), {}, None
            return gates + [gate for gate in more if gate not in gates]

    def _carry_alone(self, limiter: Limiter, more: Sequence[SharedGate] = ()) -> bool:
        """Carry what was posted, and more; tells whether there was any, and nobody else carried."""
        gates: list[SharedGate] = []
        try:
            gates = self._take_up(more)
            if gates:
                self._carry(limiter, gates)
                self._carried_at = time.monotonic()
        except BaseException:  # whoever carried was interrupted: what came of it is asked again
            self._lay_down()
            for gate in gates or list(self._gates):
                self.post(gate)
            raise
        finally:
            self._lay_down()
        return bool(gates)

    def _lay_down(self) -> None:
        if self._carrier == threading.get_ident():
            self._carrier = 0

    def _beating(self, limiter: Limiter) -> list[SharedGate]:
        """Find what nobody posted: who is to be seen, what is to be brought again, and all when a store that is away is
        to be tried.
        """
        with limiter._lock:
            if self._away is not None and time.monotonic() >= self._retry_at:
                return list(self._gates)
            now_us = limiter._clock()
            return [gate for gate in self._gates if gate.shared.beat_due(now_us) or gate.shared.wants(now_us)]

    def _carry(self, limiter: Limiter, gates: list[SharedGate]) -> None:
        if self._away is not None and time.monotonic() >= self._retry_at:
            self._try_again(limiter, self._away)
        batch: list[tuple[SharedGate, Exchange]] = []
        with limiter._lock:
            now_us = limiter._clock()
            for gate in gates:
                if self._away is not None:
                    self._away.take_over(gate.shared)
                exchange = gate.shared.compose(now_us)
                if exchange is not None:
                    batch.append((gate, exchange))
        if not batch:
            return
        sent_us = limiter._clock()
        try:
            answers = self._exchange(self._away or self.store, [(gate.shared.key, brought) for gate, brought in batch])
        except StoreError as error:
            self._fail(limiter, [gate for gate, _ in batch], error)
            return
        news: list[tuple[SharedPool, str]] = []
        called: list[str] = []
        with limiter._lock:
            now_us = limiter._clock()
            for (gate, _), answer in zip(batch, answers, strict=True):
                gate.deliver(now_us, answer, sent_us, now_us)
                news += [(gate.shared, line) for line in gate.shared.news]
                gate.shared.news.clear()
                called += [bell for bell in answer.called if bell != gate.shared.bell]
            deaf = [gate for gate, _ in batch if gate.shared.wants_bell(now_us)]
        limiter._carry_out_notes()
        if self._away is None:
            self._take_back()
            if called and isinstance(self.store, BellStore):
                with contextlib.suppress(Exception):  # who isn't called asks by itself
                    self.store.ring(called)
            if deaf:
                self._hear(limiter, deaf)
        for pool, line in news:
            logger.warning("pool %s: %s", pool.name, line)

    def _exchange(self, store: Store | StandIn, wants: list[tuple[str, Exchange]]) -> list[Answer]:
        """Carry exchanges to a store; whatever goes wrong there is a StoreError."""
        try:
            answers = store.exchange(wants)
        except StoreError:
            raise
        except Exception as error:
            raise StoreError(f"store {store!r} failed: {type(error).__name__}: {error}") from error
        if len(answers) != len(wants):
            raise StoreError(f"store {store!r} gave {len(answers)} answers to {len(wants)} exchanges")
        return answers

    # places that come free

    def _hear(self, limiter: Limiter, gates: list[SharedGate]) -> None:
        """Have others call by a bell, where the store has any. A place may have come free meanwhile, so who has got one
        asks again.
        """
        address = ""
        if isinstance(self.store, BellStore):
            with contextlib.suppress(Exception):  # without a bell it asks by itself
                address = self.store.hear(self._on_call)
        with limiter._lock:
            now_us = limiter._clock()
            for gate in gates:
                word = f"{id(gate):x}"
                self._by_word[word] = gate
                gate.shared.hear(now_us, f"{address}/{word}" if address else "")
                gate.arm(now_us)

    def _on_call(self, word: str) -> None:
        limiter = self._limiter()
        if limiter is None:
            return
        with limiter._lock:
            now_us = limiter._clock()
            called = self._by_word.get(word)
            for gate in list(self._gates) if not word else [called] if called is not None else []:
                if word:
                    gate.shared.come()
                else:
                    gate.shared.hear(now_us, "")
                gate.arm(now_us)
        limiter._carry_out_notes()

    # a store that is away

    def _fail(self, limiter: Limiter, gates: list[SharedGate], error: StoreError) -> None:
        if self._leaves:  # nobody needs to know any more
            self._leaves = False
            self._fail_all(limiter, gates, error)
            return
        for gate in list(self._gates):
            gate.shared.bell = ""  # what heard by it may be gone with the store
        if not self._complained:
            self._complained = True
            consequence = _CONSEQUENCES[self._policy]
            logger.warning("%s; until it answers again, %s", error, consequence, extra={"event": "store_away"})
        if self._policy == "closed":
            self._fail_all(limiter, gates, error)
            return
        with limiter._lock:
            self._retry_at = time.monotonic() + self._retry_s
            self._away = StandIn(self._store_clock(limiter, gates[0]), open_to_all=self._policy == "open")
        self._carry(limiter, gates)

    def _fail_all(self, limiter: Limiter, gates: list[SharedGate], error: StoreError) -> None:
        with limiter._lock:
            now_us = limiter._clock()
            for gate in gates:
                gate.fail(now_us, error)
        limiter._carry_out_notes()

    def _take_back(self) -> None:
        if self._complained:
            self._complained = False
            logger.warning("the store answers again", extra={"event": "store_back"})

    def _store_clock(self, limiter: Limiter, gate: SharedGate) -> Callable[[], int]:
        lead_us = gate.shared.clock.lead_us
        if lead_us is None:
            lead_us = time.time_ns() // 1000 - limiter._clock()
        clock, lead = limiter._clock, lead_us
        return lambda: clock() + lead

    def _try_again(self, limiter: Limiter, away: StandIn) -> None:
        """Ask the store again; if it answers, tell it what happened meanwhile."""
        with limiter._lock:
            pools = {gate.shared.key: gate.shared for gate in self._gates if gate.shared.key in away.lost}
            repeated = [(key, pool.repeated(away.lost[key])) for key, pool in pools.items()]
        try:
            answers = self._exchange(self.store, repeated)
        except StoreError:
            self._retry_s = min(RETRY_MOST_S, 2 * self._retry_s)
            self._retry_at = time.monotonic() + self._retry_s
            return
        told = {key: answer for (key, _), answer in zip(repeated, answers, strict=True)}
        with limiter._lock:
            for key, pool in pools.items():
                pool.come_back(away.lost[key], told.get(key), away.charged(key))
            self._away, self._retry_s = None, RETRY_FIRST_S
            for gate in list(self._gates):
                self.post(gate)
        self._take_back()


_CONSEQUENCES: Final = {
    "local": "each process goes on with its share of the limits",
    "open": "calls are let through as they come",
    "closed": "calls are refused",
}


def _new_process() -> tuple[str, str]:
    return secrets.token_hex(6), f"{socket.gethostname()}:{os.getpid()}"


_COURIERS: weakref.WeakSet[Courier] = weakref.WeakSet()
"""Every courier of the process, each of which takes leave when it ends."""


@atexit.register
def _leave() -> None:
    end = time.monotonic() + LEAVE_S
    for courier in list(_COURIERS):
        courier.leave(end)


def _leave_when_worker_ends(_: object) -> None:
    util.Finalize(None, _leave_if_last, exitpriority=0)


def _leave_if_last() -> None:
    """A worker ends this way before its other threads are waited for, whose calls may be out."""
    if all(thread.daemon or thread is threading.current_thread() for thread in threading.enumerate()):
        _leave()


# workers of multiprocessing end without a word, but for what is left to it
util.register_after_fork(Courier, _leave_when_worker_ends)
if parent_process() is not None:
    _leave_when_worker_ends(None)
