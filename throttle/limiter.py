"""The limiter: what an application holds. It knows the limits, owns the pools, and hands out permits.

One lock guards all of a limiter's pools; it is held for microseconds and never while anybody waits. Whoever can't take
it and must not wait (a permit that the garbage collector ends in the middle of anything) leaves a note, which whoever
holds the lock carries out on the way out.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, get_args

from throttle.account import Identity
from throttle.bucket import NEVER
from throttle.charging import ChargeBook, Clue
from throttle.costs import CallCost
from throttle.costs.history import OutputHistory
from throttle.errors import RequestTooLarge, StoreError, ThrottleError, WaitTimeout
from throttle.feedback.headers import read_headers
from throttle.feedback.refusals import Refusal
from throttle.gate import Gate
from throttle.limits.values import ResolvedLimits
from throttle.meter import Amount, amount_for
from throttle.metering import Pacing, Workshop
from throttle.outcome import Outcome
from throttle.permit import Permit
from throttle.pool import ADMITTED, ENDED, EXPIRED, NEW, WAITING, Pool, PoolSnapshot
from throttle.retry import RETRIED, Retry
from throttle.routing import LimitsSource, Route, Routing
from throttle.shared import OnStoreError
from throttle.waiting import AsyncioRuntime, Runtime, Sleeper, ThreadRuntime, TrioRuntime

if TYPE_CHECKING:
    from throttle.stores.protocol import Store

__all__ = ["Limiter", "Snapshot", "check_settings"]

logger = logging.getLogger("throttle")

LONG_WAIT_S: Final = 30.0
"""A wait foretold to be longer than this is worth one line in the log, at most one a pool in as long a time."""

ASK_S: Final = 30.0
"""How long `try_acquire` may take where it has to ask a store; the store's own timeout ends it sooner."""

KEYS_MOST: Final = 100_000
"""How many keys' last calls are remembered, for `options(delay=…, key=…)`."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a limiter.

    Attributes:
        tier: the tier that the limits are of.
        tier_origin: who says so: `"given"`, `"detected"` from the limits that answers show, or `"assumed"` until one
            does.
        source: where the limits come from: a path, or `limits=`.
        pools: the state of each pool in use, by name; those of other accounts are named `name@account`.
        charges: what the server is believed to book, by model and endpoint, where the limits file leaves it open; where
            calls go to several servers, by `model endpoint@host`.
        store_away: whether the store that other processes share did not answer when it was last asked.
    """

    tier: str
    tier_origin: str
    source: str
    pools: Mapping[str, PoolSnapshot]
    charges: Mapping[str, str]
    store_away: bool = False


class Limiter:
    """Holds every call until the account has room for it.

    Threads, asyncio tasks and trio tasks may share one limiter.
    """

    def __init__(
        self,
        limits: LimitsSource | None = None,
        *,
        tier: str | None = None,
        account: str | None = None,
        pacing: Pacing = "auto",
        store: str | Store | None = None,
        on_store_error: OnStoreError = "local",
        clock: Callable[[], int] | None = None,
        who: Identity | None = None,
        api_key: str | None = None,
    ) -> None:
        """Make a limiter.

        Args:
            limits: a path, a dict (in the shape of the file, or `{"rpm": 600, "tpm": 60_000}` for one pool), or a
                loaded table. Without it: `THROTTLE_LIMITS`, `./limits.yaml`, the bundled table.
            tier: the account's tier; else the file's account, `THROTTLE_TIER`, `tier-1`.
            account: which account of the file.
            pacing: `"burst"` lets calls go as soon as there is room, `"smooth"` spreads them evenly, `"auto"` bursts
                where the host is known to take it or its headers show it and spreads elsewhere.
            store: where levels live that other processes share: `"sqlite:///path"`, `"redis://host:6379/0"` and the
                like, or a `throttle.stores.Store`. Without it, or with `"memory://"`, they live in this limiter.
            on_store_error: what becomes of calls while the store can't be used: `"local"`, each process goes on with
                its share of the limits; `"closed"`, they raise StoreError; `"open"`, they are let through.
            clock: a monotonic clock in whole microseconds, for tests in virtual time.
            who: whom the calls are made as and to, where the limits file has several accounts, projects or servers; a
                wrapped client tells it by itself.
            api_key: the key that the calls are made with, to find its account in the file by; it is not kept.

        Raises:
            LimitsError: the limits can't be used, or the tier is unknown.
            StoreError: `store` names no store, or what it needs isn't installed.
        """
        check_settings(pacing, on_store_error)
        identity = f"{who} {api_key}" if who is not None else ""
        self.store, self.on_store_error, self.pacing = store, on_store_error, pacing
        sharing = None
        if store is not None:
            from throttle.shared.sharing import Sharing

            sharing = Sharing.of(store, on_store_error, identity)
        self._clock = clock or _monotonic_us
        epoch_s = time.time() - self._clock() / 1e6
        self._routing = Routing(
            limits,
            Workshop(pacing, lambda now_us: epoch_s + now_us / 1e6),
            self._clock,
            tier=tier,
            account=account,
            who=who,
            api_key=api_key,
            sharing=sharing,
        )
        self._lock = threading.Lock()
        self._notes: deque[tuple[Permit, str | Callable[[int], None]]] = deque()
        self._outputs = OutputHistory()
        self._charges = ChargeBook()
        self._last_by_key: dict[str, int] = {}
        self._threads = ThreadRuntime()
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncioRuntime] = weakref.WeakKeyDictionary()
        self._trios: weakref.WeakKeyDictionary[Any, TrioRuntime] = weakref.WeakKeyDictionary()
        _LIMITERS.add(self)
        if sharing is not None:
            sharing.serve(self)

    @property
    def limits(self) -> ResolvedLimits:
        """The limits that hold now, as plain values."""
        return self._routing.home.limits

    @property
    def tier(self) -> str:
        """The tier whose limits hold."""
        return self._routing.home.limits.tier

    @property
    def source(self) -> str:
        """Where the limits come from: a path, or `limits=`."""
        return self._routing.home.limits.source

    # asking

    def acquire(
        self,
        model: str,
        *,
        tokens: Amount = 0,
        requests: Amount = 1,
        images: Amount = 0,
        max_wait: float | None = None,
        **amounts: Amount,
    ) -> Permit:
        """Ask for the right to make one call. Nothing happens until the permit is entered or awaited.

        Args:
            model: the model's name.
            tokens: what the call is charged.
            requests: how many requests it counts as.
            images: how many images it makes.
            max_wait: seconds that it may wait at most; without it, as long as it takes.
            amounts: what else a meter of yours counts, by unit.

        The permit raises, when it is waited for:
            WaitTimeout: it can't go within `max_wait`; at once, where that is known beforehand.
            RequestTooLarge: it can never go.
        """
        return self._permit("", self._route("", model), model, tokens, requests, images, max_wait, amounts)

    def try_acquire(
        self, model: str, *, tokens: Amount = 0, requests: Amount = 1, images: Amount = 0, **amounts: Amount
    ) -> Permit | None:
        """Return a permit if the call may go now and nobody waits in front of it, else None.

        Raises:
            RequestTooLarge: it can never go.
        """
        permit = self._permit("", self._route("", model), model, tokens, requests, images, None, amounts)
        if self._admit_now(permit):
            return permit
        if permit._gate.is_shared:
            return self._ask_now(permit)
        permit.state = EXPIRED
        self._refuse_if_too_large(permit)
        return None

    def wait_time(
        self, model: str, *, tokens: Amount = 0, requests: Amount = 1, images: Amount = 0, **amounts: Amount
    ) -> float:
        """Tell in how many seconds such a call would go if it asked now, behind all who wait, as far as known; 0.0 for
        at once.

        Infinite where it depends on the end of other calls (`max_in_flight`).

        Raises:
            RequestTooLarge: it can never go.
        """
        permit = self._permit("", self._route("", model), model, tokens, requests, images, None, amounts)
        permit.state = EXPIRED
        self._refuse_if_too_large(permit)
        with self._lock:
            now_us = self._clock()
            ready_us = permit.pool.foretell(now_us, model, permit.amounts).ready_at_us
        self._carry_out_notes()
        return (ready_us - now_us) / 1e6 if ready_us < NEVER else float("inf")

    def snapshot(self) -> Snapshot:
        """Tell the state of every pool in use."""
        with self._lock:
            now_us = self._clock()
            pools = {gate.pool.name: gate.pool.snapshot(now_us) for gate in self._routing.gates}
            charges = self._charges.believed()
        self._carry_out_notes()
        home = self._routing.home
        return Snapshot(
            tier=home.limits.tier,
            tier_origin="detected" if home.is_detected else "assumed" if home.is_assumed else "given",
            source=home.limits.source,
            pools=MappingProxyType(pools),
            charges=MappingProxyType(charges),
            store_away=self._routing.store_is_away,
        )

    def __repr__(self) -> str:
        return f"<Limiter {self.tier} from {self.source}, {len(list(self._routing.gates))} pools>"

    # for clients: calls whose cost is read from their body

    def permit_for(
        self,
        account: str,
        host: str,
        cost: CallCost,
        *,
        tokens: int | None = None,
        max_wait_s: float | None = None,
        service_tier: str | None = None,
        again: Permit | None = None,
        delay_s: float = 0.0,
        key: str | None = None,
    ) -> Permit:
        """Ask for the right to make a call of known cost, as a wrapped client does, whose answers will be observed.

        Args:
            account: whose pools it draws on; "" for the limiter's own.
            host: the server, by which its habits are known.
            cost: what it costs.
            tokens: what it is charged, in place of what the cost says.
            max_wait_s: as for `acquire`.
            service_tier: what the call asks for.
            again: the permit of an earlier attempt; its place in the queue is kept.
            delay_s: how long the call keeps from the last one of its key, or from now where it has none.
            key: whose call it is.
        """
        route = self._client_route(account, host, cost, service_tier)
        model = cost.model or ""
        charge, evidence = self._charges.look_up(account, route.charge, host, cost)
        units = route.gate.pool.units
        others: dict[str, Amount] = {}
        if tokens is None and "tokens" in units:
            tokens = cost.booked(charge)
        if "input_tokens" in units:
            others["input_tokens"] = cost.input_tokens
        if "output_tokens" in units:
            others["output_tokens"] = cost.output_tokens
        images = cost.images if "images" in units else 0
        permit = self._permit(account, route, model, tokens or 0, 1, images, max_wait_s, others)
        if again is not None and again.pool is permit.pool and permit.pool.owns(again):
            permit.number, permit.earliest_us = again.number, again.earliest_us
        permit.charge = charge
        if evidence is not None:
            permit.row = f"{model} ({charge})"
            if not evidence.is_settled and not cost.heavy:
                permit._clue = Clue(evidence, cost)
        if delay_s > 0:
            permit.earliest_us = self._delayed_until_us(delay_s, key)
        return permit

    def must_count(self, account: str, host: str, cost: CallCost) -> bool:
        """Tell whether a call of this cost has to be tokenized before it can ask; what is booked by its characters
        hasn't.
        """
        route = self._learning_route(account, cost.model or "", "", host)
        units = route.gate.pool.units
        if route.variants or "input_tokens" in units:
            return True
        return "tokens" in units and self._charges.look_up(account, route.charge, host, cost)[0] != "characters"

    def count(self, account: str, host: str, cost: CallCost) -> None:
        """Count the tokens of a call ahead of `permit_for`, which then finds them counted; may take long."""
        route = self._client_route(account, host, cost, None)
        if route.gate.pool.units:
            cost.booked(self._charges.look_up(account, route.charge, host, cost)[0])

    def expected_output(self, model: str, endpoint: str) -> int | None:
        """Tell how many tokens an answer is expected to have, by those seen; None while too few were."""
        with self._lock:
            return self._outputs.expected(model, endpoint)

    def counted_as(self, account: str, model: str) -> str | None:
        """Tell which model's tokens a call's are, where the limits file says that its name is a deployment's."""
        return self._routing.counted_as(account, model)

    def used(self, permit: Permit, cost: CallCost, outcome: Outcome) -> None:
        """Learn what a call really used; where the server books usage, the difference to what was reserved is
        settled.
        """

        def learn(now_us: int) -> None:
            if outcome.output_tokens is not None:
                self._outputs.observe(permit.model, cost.endpoint, outcome.output_tokens, choices=cost.answers)
            if permit.charge == "usage" and outcome.tokens is not None and permit.marks:
                permit.pool.settle(now_us, permit, "tokens", outcome.tokens * permit._weight)
                permit._gate.tick(now_us)

        self._note(permit, learn)  # a stream may be ended by the garbage collector, while this thread holds the lock

    def refused_in_stream(self, permit: Permit, refusal: Refusal, retry: Retry, *, begun: bool) -> None:
        """Learn that the server refused a call inside its stream; `begun`: when a part of the answer had come."""

        def learn(now_us: int) -> None:
            _tell(self._refuse(now_us, permit, refusal, retry, 1, begun=begun), permit.pool)

        self._note(permit, learn)

    def _delayed_until_us(self, delay_s: float, key: str | None) -> int:
        """Tell when a call with a delay may go, and note it as the last one of its key."""
        delay_us = round(delay_s * 1e6)
        with self._lock:
            now_us = self._clock()
            if key is None:
                return now_us + delay_us
            last_us = self._last_by_key.pop(key, None)
            until_us = now_us if last_us is None else max(now_us, last_us + delay_us)
            self._last_by_key[key] = until_us
            if len(self._last_by_key) > KEYS_MOST:
                del self._last_by_key[next(iter(self._last_by_key))]  # the one that was quiet for longest
            return until_us

    def has_limits_of(self, other: Limiter) -> bool:
        """Tell whether the other limiter has the same limits and tier."""
        return (
            self._routing.home.table == other._routing.home.table
            and self._routing.home.limits == other._routing.home.limits
        )

    def know(self, account: str, who: Identity, api_key: str | None) -> None:
        """Learn of another account whose calls are held here; its limits are those that the file has for it."""
        with self._lock:
            self._routing.know(account, who, api_key)
        self._carry_out_notes()

    # the way of a call

    def _route(self, account: str, model: str) -> Route:
        return self._routing.find(account, model) or self._open_route(account, model, "", None)

    def _client_route(self, account: str, host: str, cost: CallCost, service_tier: str | None) -> Route:
        """Find or open the way of a client's call; its answers will be seen, so its meters follow them."""
        model = cost.model or ""
        route = self._learning_route(account, model, "", host)
        for i, variant in enumerate(route.variants):
            # most calls are far below a bound that a count could only confirm
            is_long = variant.input_tokens_over and cost.input_bound > variant.input_tokens_over
            if variant.holds(cost.input_tokens if is_long else 0, service_tier or ""):
                return self._learning_route(account, model, str(i), host)
        return route

    def _learning_route(self, account: str, model: str, variant: str, host: str) -> Route:
        found = self._routing.find(account, model, variant, learns=True)
        return found or self._open_route(account, model, variant, host)

    def _open_route(self, account: str, model: str, variant: str, host: str | None) -> Route:
        with self._lock:
            route, news = self._routing.open(account, model, variant, host)
        self._carry_out_notes()
        _tell(news)
        return route

    def _look_around(self) -> None:
        with self._lock:
            now_us = self._clock()
            news = self._routing.look_around(now_us) if now_us >= self._routing.look_at_us else []
        self._carry_out_notes()
        _tell(news)

    def _permit(
        self,
        account: str,
        route: Route,
        model: str,
        tokens: Amount,
        requests: Amount,
        images: Amount,
        max_wait_s: float | None,
        others: Mapping[str, Amount],
    ) -> Permit:
        permit = Permit(self, account, route, model, max_wait_s)
        tokens = tokens * route.weight
        plain = route.is_plain and len(permit.meters) == 2  # else an answer has told of a third one since
        if plain and not others and tokens >= 0 and requests >= 0 and images >= 0:
            permit.amounts = (requests, tokens)
            return permit
        known: dict[str, Amount] = {"requests": requests, "tokens": tokens, "images": images, "in_flight": 1, **others}
        if any(amount < 0 for amount in known.values()):
            permit.cancel()
            told = ", ".join(f"{unit}={amount:,}" for unit, amount in known.items() if amount < 0)
            raise ValueError(f"a call of {model!r} can't cost less than nothing: {told}")
        permit.amounts = tuple([amount_for(meter, known) for meter in permit.meters])
        return permit

    # the leaf: how a permit is waited for

    def _admit_now(self, permit: Permit) -> bool:
        if permit.state != NEW:
            raise ThrottleError(f"this permit has been used: {permit!r}")
        now_us = self._clock()
        if now_us >= self._routing.look_at_us:
            self._look_around()
        with self._lock:
            admitted = permit.pool.try_take(now_us, permit)
        if self._notes:
            self._carry_out_notes()
        return admitted

    def _wait_in_thread(self, permit: Permit) -> None:
        gate, threads, sleeper = permit._gate, self._threads, Sleeper()
        try:
            self._begin_waiting(permit)
            with self._lock:
                threads.join(gate, sleeper)
                now_us = self._clock()
                gate.enqueue(now_us, permit, threads, sleeper)
                sleeper.is_busy = gate.takes_hand(now_us, permit)
                until_us = threads.until_us(gate, sleeper)
            while permit.state == WAITING:
                if sleeper.is_busy:
                    gate.lend_hand(self)
                    if permit.state != WAITING:
                        break
                    with self._lock:
                        sleeper.is_busy = False
                        until_us = threads.until_us(gate, sleeper)
                    continue
                sleeper.sleep(None if until_us >= NEVER else max(0, until_us - self._clock()) / 1e6)
                if self._routing.is_live:
                    self._look_around()
                with self._lock:
                    now_us = self._clock()
                    if permit.state == WAITING:
                        gate.ring(now_us, threads)
                    sleeper.is_busy = gate.takes_hand(now_us, permit)
                    until_us = threads.until_us(gate, sleeper)
            self._check_admitted(permit)
        except BaseException:
            self._withdraw(permit)
            raise
        finally:
            with self._lock:
                threads.leave(gate, sleeper)
            self._carry_out_notes()

    def _queue_in_loop(self, permit: Permit, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        self._begin_waiting(permit)
        future = loop.create_future()
        with self._lock:
            runtime = self._loops.get(loop)
            if runtime is None:
                runtime = self._loops[loop] = AsyncioRuntime(loop, self._clock, self._ring)
            permit._gate.enqueue(self._clock(), permit, runtime, future)
        self._carry_out_notes()
        return future

    def _queue_in_trio(self, permit: Permit, token: Any) -> TrioRuntime:
        import trio

        self._begin_waiting(permit)
        with self._lock:
            runtime = self._trios.get(token)
            if runtime is None:
                runtime = self._trios[token] = TrioRuntime(token, self._clock, self._ring)
            permit._gate.enqueue(self._clock(), permit, runtime, trio.lowlevel.current_task())
        self._carry_out_notes()
        return runtime

    def _begin_waiting(self, permit: Permit) -> None:
        """Refuse what can't go or not in time, before it takes a place."""
        permit.deadline_us, permit.owner, permit.handle = NEVER, None, None
        self._refuse_if_too_large(permit)
        with self._lock:
            now_us = self._clock()
            hold = permit.pool.foretell(now_us, permit.row, permit.amounts)
            wait_s = (hold.ready_at_us - now_us) / 1e6
            foretold = hold.ready_at_us < NEVER
            warn = foretold and wait_s > LONG_WAIT_S and now_us - permit._gate.warned_us > LONG_WAIT_S * 1e6
            if warn:
                permit._gate.warned_us = now_us
        if warn:
            logger.warning(
                "pool %s: a call will wait about %.0f s for %s; %d wait before it",
                permit.pool.name,
                wait_s,
                hold.meter or "its turn",
                permit.pool.waiting,
            )
        if permit._max_wait_s is not None:
            # what is known here of a shared pool may be old, so there the store decides
            if foretold and wait_s > permit._max_wait_s and not permit._gate.is_shared:
                raise _timeout(permit, hold.meter, wait_s)
            permit.deadline_us = now_us + int(permit._max_wait_s * 1e6)

    def _ask_now(self, permit: Permit) -> Permit | None:
        """Ask a shared store whether a call may go now, which takes a round trip."""
        from throttle.shared.pool import SharedPool

        pool = permit.pool
        assert isinstance(pool, SharedPool)
        permit._max_wait_s = ASK_S
        try:
            self._refuse_if_too_large(permit)
            with self._lock:
                asks = pool.ask_at_once(self._clock(), permit)
            if not asks:
                permit.state = EXPIRED
                return None
            self._wait_in_thread(permit)
        except WaitTimeout:
            permit.state = EXPIRED
            return None
        except BaseException:
            permit.state = EXPIRED
            raise
        return permit

    def _check_admitted(self, permit: Permit) -> None:
        if permit.state == ADMITTED:
            return
        gate = permit._gate
        if gate.error is not None:
            raise StoreError(str(gate.error)) from gate.error
        if permit.state == EXPIRED:
            with self._lock:
                now_us = self._clock()
                hold = permit.pool.foretell(now_us, permit.row, permit.amounts)
            raise _timeout(permit, hold.meter, (hold.ready_at_us - now_us) / 1e6 if hold.ready_at_us < NEVER else None)
        raise ThrottleError(f"the permit was taken back while it waited: {permit!r}")

    def _refuse_if_too_large(self, permit: Permit) -> None:
        for meter, amount in zip(permit.pool.meters, permit.amounts, strict=True):
            if amount > meter.largest and meter.origin != "bundled":
                raise RequestTooLarge(
                    f"{amount:,} {meter.unit} for {permit.model!r} can never go: pool {permit.pool.name!r} holds "
                    f"{meter.largest:,g} at most ({meter.name}, {meter.origin}); send less at a time or raise it",
                    pool=permit.pool.name,
                    meter=meter.name,
                    requested=float(amount),
                    capacity=float(meter.largest),
                )

    def _ring(self, runtime: Runtime, gate: Gate) -> None:
        if self._routing.is_live:
            self._look_around()
        with self._lock:
            gate.ring(self._clock(), runtime)
        self._carry_out_notes()

    # what happens to a permit afterwards

    def _observe(self, permit: Permit, headers: Mapping[str, str], is_error: bool = False) -> None:
        readings = read_headers(headers, wall_s=time.time())
        pool = permit.pool
        clue = permit._clue if permit.marks and readings else None
        if clue is not None:
            permit._clue, amounts = None, clue.amounts(permit._weight)
        with self._lock:
            now_us = self._clock()
            if clue is not None:
                clue.weigh(permit, amounts, readings)
            if readings and not permit.charge:  # shown by hand: a client's calls are followed from the first
                self._routing.begin_to_learn(permit)
            pool.answered(now_us, permit, readings, is_error=is_error)
            news = self._routing.learn(permit.account, permit.model, pool, readings, now_us)
            permit._gate.tick_all(now_us)
        if self._notes:
            self._carry_out_notes()
        _tell(news, pool)

    def _refused(self, permit: Permit, refusal: Refusal, retry: Retry, attempts: int) -> None:
        with self._lock:
            news = self._refuse(self._clock(), permit, refusal, retry, attempts)
        self._carry_out_notes()
        _tell(news, permit.pool)

    def _refuse(
        self, now_us: int, permit: Permit, refusal: Refusal, retry: Retry, attempts: int, *, begun: bool = False
    ) -> list[str]:
        pool = permit.pool
        if refusal.kind in RETRIED:
            _hold_back(now_us, permit, refusal, retry, attempts)
        if refusal.kind == "rate" and begun:
            pool.cut_short(now_us, permit)
        elif refusal.kind == "rate":
            pool.refused(now_us, permit, refusal)
        elif refusal.kind == "overloaded" or begun:
            pool.release(now_us, permit)
        else:  # what can't go at all was not charged either
            pool.too_large(now_us, permit, refusal)
            pool.withdraw(now_us, permit)
        news = self._routing.learn(permit.account, permit.model, pool, (), now_us)
        permit._gate.tick_all(now_us)
        return news

    def _withdraw(self, permit: Permit) -> None:
        if permit.state == NEW:
            permit.state = ENDED
        else:
            self._note(permit, "withdraw")

    def _release(self, permit: Permit) -> None:
        lock = self._lock
        if not lock.acquire(False):
            self._note(permit, "release")
            return
        try:
            pool = permit.pool
            if not pool.release_at_once(permit):
                now_us = self._clock()
                if pool.release(now_us, permit) and (pool.waiting or pool.frees):
                    permit._gate.tick(now_us)
        finally:
            lock.release()
        if self._notes:
            self._carry_out_notes()

    def _settle(self, permit: Permit, unit: str, amount: Amount) -> None:
        with self._lock:
            now_us = self._clock()
            if permit.marks:
                permit.pool.settle(now_us, permit, unit, amount)
                permit._gate.tick(now_us)
        self._carry_out_notes()

    def _note(self, permit: Permit, what: str | Callable[[int], None]) -> None:
        """Leave a note; it is carried out at once, or by whoever holds the lock now."""
        self._notes.append((permit, what))
        self._carry_out_notes()

    def _carry_out_notes(self) -> None:
        # whoever let go of the lock looks for notes after that, so that none which was left meanwhile is lost
        while self._notes and self._lock.acquire(blocking=False):
            try:
                if not self._notes:  # somebody else was quicker
                    return
                permit, what = self._notes.popleft()
                now_us = self._clock()
                if callable(what):
                    what(now_us)
                elif what == "withdraw":
                    permit._gate.withdraw(now_us, permit)
                elif permit.pool.release(now_us, permit):
                    permit._gate.tick(now_us)
            finally:
                self._lock.release()

    def _start_anew(self) -> None:
        """After a fork nobody waits here or has a call out: threads and loops stayed with the parent. Levels stay."""
        self._lock = threading.Lock()
        self._notes = deque()
        self._threads = ThreadRuntime()
        self._loops = weakref.WeakKeyDictionary()
        self._trios = weakref.WeakKeyDictionary()
        now_us = self._clock()
        for gate in self._routing.gates:
            gate.abandon(now_us)


def check_settings(pacing: str, on_store_error: str) -> None:
    """Refuse settings that there are not.

    Raises:
        ValueError: one of the two is none of its words.
    """
    for name, given, words in (("pacing", pacing, Pacing), ("on_store_error", on_store_error, OnStoreError)):
        if given not in get_args(words):
            raise ValueError(f"{name}={given!r}: one of {', '.join(get_args(words))} is wanted")


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000


def _tell(news: Sequence[str], pool: Pool | None = None) -> None:
    for line in news:
        logger.warning("pool %s: %s" if pool else "%s%s", pool.name if pool else "", line)


def _hold_back(now_us: int, permit: Permit, refusal: Refusal, retry: Retry, attempts: int) -> None:
    """Pause the pool of a call that was refused; where the call itself was refused more often than its pool, and nobody
    told when to come back, the call alone stands aside for longer.
    """
    pool, hint_s = permit.pool, refusal.wait_s
    in_row = pool.refusals_in_row(permit)
    told = refusal.kind == "rate" and hint_s is not None and not refusal.probe
    if refusal.kind == "overloaded":
        reason = "the server's overload"
    else:
        reason = "a pause that the server asked for" if told else "a refusal that tells no time"
    pause_us = math.ceil(retry.delay_s(attempts, hint_s, in_row) * 1e6)
    pool.hold_back(now_us, permit, pause_us, reason, told=told)
    if hint_s is None and attempts > in_row:
        permit.earliest_us = now_us + math.ceil(retry.delay_s(attempts, None) * 1e6)


def _timeout(permit: Permit, meter: str | None, ready_in_s: float | None) -> WaitTimeout:
    when = "when others end" if ready_in_s is None else f"in {ready_in_s:.1f} s"
    return WaitTimeout(
        f"a call of {permit.model!r} may wait {permit._max_wait_s:.4g} s at most, but pool {permit.pool.name!r} lets "
        f"it go {when} (held by {meter or 'its queue'}); raise max_wait, send less, or raise the limit",
        pool=permit.pool.name,
        meter=meter,
        max_wait_s=permit._max_wait_s or 0.0,
        ready_in_s=ready_in_s,
    )


_LIMITERS: weakref.WeakSet[Limiter] = weakref.WeakSet()
"""Every limiter of the process, for the one thing that can't be done without a list of them: starting anew after a
fork.
"""


FORK_S: Final = 0.5
"""How long a fork waits at most for who is at work in a limiter, so that the child finds no half-done work there."""


def _hold_for_fork() -> None:
    _held.extend(limiter for limiter in list(_LIMITERS) if limiter._lock.acquire(timeout=FORK_S))


def _let_go_after_fork() -> None:
    while _held:
        _held.pop()._lock.release()


def _start_anew_in_child() -> None:
    _held.clear()
    for limiter in _LIMITERS:
        limiter._start_anew()


_held: list[Limiter] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_for_fork, after_in_parent=_let_go_after_fork, after_in_child=_start_anew_in_child)
