"""Virtual time: the package's own pools, meters and readers against a simulated server, with one seed for everything.

`play` runs one scenario. Clients hold real pools with real meters in the closed loop; they read real header and
refusal texts; only the clock and the wire are made up. What is right is judged from outside, by what the server saw.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.scenarios import Scenario
from tests.simulation.servers import (
    UNITS,
    Bucket,
    FixedWindow,
    Server,
    Sight,
    SlidingWindow,
    headers_of,
    refusal_of,
)
from throttle.bucket import NEVER
from throttle.feedback.belief import Belief
from throttle.feedback.headers import read_headers
from throttle.feedback.refusals import read_refusal
from throttle.pool import Pool, Ticket

__all__ = ["Outcome", "World", "play"]

MINUTE_US = 60_000_000
BLIND_PAUSE_S = 1.0  # where a refusal says nothing of when to come back
OTHERS_CALL = 500.0  # tokens of one of the others' calls, of a limit of 120,000

MeterMaker = Callable[[str, str, float, int], Belief]


@dataclass
class Call:
    """What one worker wants done. `ticket` is that of the present attempt."""

    charge: tuple[int, int]
    amounts: tuple[int, int]
    model: str
    wanted_at: float
    order: int
    ticket: Ticket | None = None
    live: bool = True
    attempts: int = 0
    waited_s: float = 0.0


@dataclass
class Outcome:
    """What came of it. Utilization is of the binding meter: what was charged over all that could have been."""

    scenario: str
    seed: int
    calls: int = 0
    refused: int = 0
    refused_blind: int = 0
    utilization: float = 0.0
    steady: float = 0.0
    p99_wait_s: float = 0.0
    longest_wait_s: float = 0.0
    most_attempts: int = 0
    ended_at: float = 0.0
    overtaken: int = 0
    unanswered: int = 0
    leaks: list[str] = field(default_factory=list)
    refused_at: list[float] = field(default_factory=list)


class Client:
    """One process: a pool of its own, and workers."""

    def __init__(self, scenario: Scenario, make: MeterMaker, workers: int) -> None:
        meters = (
            make("rpm", "requests", scenario.rpm, 0),
            make("tpm", "tokens", scenario.tpm, 0),
        )
        self.pool = Pool("gpt-4o", meters)
        self.idle: deque[float] = deque([0.0] * workers)
        self.calls: dict[int, Call] = {}
        self.alarm_us = NEVER
        self.first_answer_at = float("inf")
        self.asked = 0
        self.last_order = 0


class World:
    """One run. Events are `(instant, serial, what to do, with what)`."""

    def __init__(self, scenario: Scenario, seed: int, make: MeterMaker) -> None:
        self.scenario = scenario
        self.random = random.Random(f"{scenario.name}/{seed}")
        self.outcome = Outcome(scenario.name, seed)
        self.server = self._make_server()
        workers = max(1, scenario.workers // scenario.processes)
        self.clients = [Client(scenario, make, workers) for _ in range(scenario.processes)]
        self.events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.serial = 0
        self.begun = 0
        self.now = 0.0
        self.used = [0.0, 0.0]
        self.taken = [0.0, 0.0]
        self.half: tuple[list[float], list[float]] | None = None
        self.waits: list[float] = []
        self.over = False

    def run(self) -> Outcome:
        s = self.scenario
        for client in self.clients:
            self._at(0.0, self._wake, client)
        for instant in _others(s, self.random):
            self._at(instant, self._other)
        if s.change:
            self._at(s.change[0], lambda: self.server.change(self.now, s.change[1] if s.change else 1.0))
        if s.calls is None:
            self._at(s.span_s / 2, self._note_half)
        while self.events and not self.over:
            instant, _, act, arguments = heapq.heappop(self.events)
            if s.calls is None and instant > s.span_s:
                self.now = s.span_s
                break
            self.now = instant
            act(*arguments)
        return self._conclude()

    # the clients' side

    def _wake(self, client: Client) -> None:
        client.alarm_us = NEVER
        self._go_on(client)

    def _go_on(self, client: Client) -> None:
        """Let idle workers ask, let the pool admit, and set its timer."""
        now_us = self._now_us()
        pool = client.pool
        while client.idle and (self.scenario.calls is None or self.begun < self.scenario.calls):
            self.begun += 1
            self._ask(client, self._fresh(client, client.idle.popleft()), now_us)
        for ticket in pool.tick(now_us):
            self._send(client, client.calls.pop(id(ticket)))
        next_us = pool.next_at(now_us)
        if next_us < NEVER and next_us < client.alarm_us:
            client.alarm_us = max(next_us, now_us + 1)
            self._at(client.alarm_us / 1e6, self._wake_if_due, client, client.alarm_us)

    def _wake_if_due(self, client: Client, alarm_us: int) -> None:
        if alarm_us == client.alarm_us:
            self._wake(client)

    def _ask(self, client: Client, call: Call, now_us: int, number: int = 0) -> None:
        ticket = call.ticket = Ticket(client.pool, call.model, call.amounts)
        ticket.number = number
        if client.pool.try_take(now_us, ticket):
            self._send(client, call)
        else:
            client.calls[id(ticket)] = call
            client.pool.enqueue(now_us, ticket)

    def _fresh(self, client: Client, wanted_at: float) -> Call:
        s, draw = self.scenario, self.random
        model = int(self.now / s.blocks_s) % len(s.ratio) if s.blocks_s else draw.randrange(len(s.ratio))
        charge = draw.choice(s.charges)
        guess = charge / s.ratio[model] * draw.uniform(1 - s.noise, 1 + s.noise)
        client.asked += 1
        return Call((1, charge), (1, max(1, round(guess))), f"model-{model}", wanted_at, client.asked)

    def _send(self, client: Client, call: Call) -> None:
        s, draw = self.scenario, self.random
        call.live = True
        call.attempts += 1
        if call.attempts == 1:
            self.waits.append(self.now - call.wanted_at)
            if call.order < client.last_order:
                self.outcome.overtaken += 1
            client.last_order = max(client.last_order, call.order)
        up = draw.uniform(*s.up_s)
        if s.lags[0] and draw.random() < s.lags[0]:
            up += draw.uniform(0, s.lags[1])
        if s.crash and draw.random() < s.crash:  # nobody hears of it again, until somebody collects the permit
            self._at(self.now + draw.uniform(1.0, 60.0), self._give_up, client, call)
            if draw.random() < 0.5:
                return
            self._at(self.now + up, self._arrive, client, call)
            return
        if s.cancel and draw.random() < s.cancel:
            self._at(self.now + draw.uniform(0, up + 2.0), self._give_up, client, call)
            if draw.random() < 0.5:
                return
        self._at(self.now + up, self._arrive, client, call)

    def _give_up(self, client: Client, call: Call) -> None:
        if call.live and call.ticket is not None:
            call.live = False
            client.pool.release(self._now_us(), call.ticket)
            client.idle.append(self.now)
            self._go_on(client)

    def _answer(self, client: Client, call: Call, headers: dict[str, str]) -> None:
        if call.live and call.ticket is not None:
            if len(headers) > 1:
                client.first_answer_at = min(client.first_answer_at, self.now)
            client.pool.answered(self._now_us(), call.ticket, read_headers(headers, wall_s=self.now))
            self._go_on(client)

    def _done(self, client: Client, call: Call) -> None:
        if call.live and call.ticket is not None:
            call.live = False
            client.pool.release(self._now_us(), call.ticket)
            client.idle.append(self.now)
            self.outcome.most_attempts = max(self.outcome.most_attempts, call.attempts)
            self._go_on(client)

    def _refuse(self, client: Client, call: Call, headers: dict[str, str], body: str) -> None:
        if not call.live or call.ticket is None:
            return
        now_us, ticket = self._now_us(), call.ticket
        refusal = read_refusal(429, headers, body, wall_s=self.now)
        client.pool.refused(now_us, ticket, refusal)
        wait_s = refusal.wait_s if refusal.wait_s is not None else BLIND_PAUSE_S
        client.pool.pause(now_us + int(wait_s * 1e6) + 1, "a refusal")
        self._ask(client, call, now_us, ticket.number)
        self._go_on(client)

    # the server's side

    def _arrive(self, client: Client, call: Call) -> None:
        s, draw, now = self.scenario, self.random, self.now
        no = self.server.admit(now, call.charge)
        down = draw.uniform(*s.up_s)
        if no is not None:
            self.outcome.refused += 1
            self.outcome.refused_at.append(now)
            if now < client.first_answer_at:
                self.outcome.refused_blind += 1
            headers, body = refusal_of(no, text=s.text)
            self._at(now + down + 0.01, self._refuse, client, call, headers, body)
            return
        self.outcome.calls += 1
        self.outcome.ended_at = now
        for i, amount in enumerate(call.charge):
            self.used[i] += amount
        if self.outcome.calls == s.calls:
            self.over = True
            return
        life = draw.uniform(*s.answer_s)
        wait = min(life, draw.uniform(*s.header_s)) if s.header_s else life
        how = s.sampled
        if how == "mixed":
            how = draw.choices(("admission", "completion", "junk"), (8, 1, 1))[0]
        if how == "completion":
            self._at(now + wait, self._sample, client, call, down)
        else:
            sights = self.server.show(now)
            if how == "junk":
                sights = [Sight(sight.limit, int(sight.limit), 0.0) for sight in sights]
            self._at(now + wait + down, self._answer, client, call, self._headers(sights))
        self._at(now + life + down + 1e-6, self._done, client, call)

    def _sample(self, client: Client, call: Call, down: float) -> None:
        self._at(self.now + down, self._answer, client, call, self._headers(self.server.show(self.now)))

    def _headers(self, sights: list[Sight]) -> dict[str, str]:
        s = self.scenario
        if s.headers == "none" or (s.headers == "late" and self.random.random() < 0.5):
            return {"content-type": "application/json"}
        return headers_of(sights, ("requests",) if s.headers == "requests" else UNITS)

    def _other(self) -> None:
        s = self.scenario
        size = s.tpm * s.share / 240 if s.others == "burst" else OTHERS_CALL * s.tpm / 120_000
        request = 1.0 if s.rpm >= 60 else 0.0
        if self.server.admit(self.now, (request, size)) is None:
            self.taken[0] += request
            self.taken[1] += size

    # the rest

    def _make_server(self) -> Server:
        s = self.scenario
        limits = (s.rpm, s.tpm)
        if s.server == "fixed":
            return FixedWindow(limits, self.random.uniform(5, 60))
        if s.server == "sliding":
            return SlidingWindow(limits)
        return Bucket(limits, s.full, 1.0 if s.server == "second" else 60.0)

    def _note_half(self) -> None:
        offered = self.server.offered(self.now)
        self.half = list(self.used), [o - t for o, t in zip(offered, self.taken, strict=True)]

    def _conclude(self) -> Outcome:
        out = self.outcome
        offered = [o - t for o, t in zip(self.server.offered(self.now), self.taken, strict=True)]
        out.utilization = max(u / max(1e-9, o) for u, o in zip(self.used, offered, strict=True))
        if self.half:
            before, had = self.half
            out.steady = max((self.used[i] - before[i]) / max(1e-9, offered[i] - had[i]) for i in (0, 1))
        waits = sorted(self.waits)
        if waits:
            out.p99_wait_s, out.longest_wait_s = waits[int(0.99 * (len(waits) - 1))], waits[-1]
        out.unanswered = sum(len(client.calls) for client in self.clients)
        out.leaks = self._find_leaks()
        return out

    def _find_leaks(self) -> list[str]:
        """What the pools believe to be under way or waiting, against what there is."""
        leaks = []
        for client in self.clients:
            pool = client.pool
            if pool.waiting != len(client.calls):
                leaks.append(f"{pool.waiting} wait by the pool's count, {len(client.calls)} in truth")
            for meter in pool.meters:
                assert isinstance(meter, Belief)
                if len(meter.ledger.times) > 10_000 or len(meter.ledger.voids) > 2000:
                    leaks.append(f"{meter.name} remembers {len(meter.ledger.times)} calls")
        return leaks

    def _at(self, instant: float, act: Callable[..., None], *arguments: Any) -> None:
        self.serial += 1
        heapq.heappush(self.events, (instant, self.serial, act, arguments))

    def _now_us(self) -> int:
        return round(self.now * 1e6)


def make_belief(name: str, unit: str, limit: float, now_us: int) -> Belief:
    """Make a meter as the limiter does, for a host of which nothing is known."""
    return Belief(name, unit, limit, MINUTE_US, now_us=now_us)


def play(scenario: Scenario, seed: int, make: MeterMaker = make_belief) -> Outcome:
    """Run a scenario with a seed."""
    return World(scenario, seed, make).run()


def _others(s: Scenario, draw: random.Random) -> Iterator[float]:
    """Tell the instants at which somebody else on the account sends a call."""
    if not s.others:
        return
    rate = s.share * s.tpm / 60.0 / (OTHERS_CALL * s.tpm / 120_000)
    at = 0.0
    if s.others == "burst":  # every half minute, within half a second, what `share` makes in half a minute
        at = draw.uniform(20, 40)
        while at < s.span_s:
            yield from (at + draw.uniform(0, 0.5) for _ in range(120))
            at += draw.uniform(20, 40)
        return
    while at < s.span_s:
        if s.others == "ramp":
            at += 1 / max(0.02, rate * at / s.span_s)
        elif s.others == "steady":
            at += 1 / rate
        else:
            at += draw.expovariate(rate)
        if s.others != "onoff" or int(at / 30) % 2:
            yield at
