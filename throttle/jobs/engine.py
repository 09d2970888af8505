"""The run of a job: which call begins when, and what follows from each that ends. Its only I/O is sending.

For each lane a feeder begins calls: always a few more than the limiter lets go, so that the limiter is never out of
work and memory stays flat. How many calls are out at once then needs no setting: it is the limit's rate times the
latency. What ends is recorded before anything else happens with it.

Rules for whoever edits this file:

- Between taking a load from a lane and either recording it, putting it back or dropping it at a stop there is no way
  out.
- A line that nothing came back for isn't to blame: it goes to the front of its lane, and all lanes hold but for one
  probe.
- After `stop` no call begins; those that the limiter still holds are withdrawn, those that are out are waited for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import anyio
import openai
from anyio.abc import TaskGroup

from throttle.costs.call import CallCost
from throttle.jobs.budget import Budget
from throttle.jobs.errors import OutputError
from throttle.jobs.lanes import Lane, Load
from throttle.jobs.packer import Packer, body_of, unpack
from throttle.jobs.prices import Prices
from throttle.jobs.result import Failure, Result
from throttle.jobs.sender import Answer, Sender
from throttle.jobs.usage import Usage
from throttle.jobs.verdicts import HOPELESS, Verdict, judge

__all__ = ["Engine", "Settings"]

MOST_AHEAD: Final = 32
"""How many calls of a lane wait in the limiter at most."""

DOUBTS: Final = 10
"""So many lines refused for what is seldom their own fault, in a lane without any answer, stop the run."""

MANY_DOUBTS: Final = 100
"""The same, for what may well be each line's own fault."""

FIRST_PROBE_S: Final = 1.0
LONGEST_PROBE_S: Final = 30.0
LONGEST_RETRY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How a job is run.

    Attributes:
        max_in_flight: how many calls may be out at once.
        max_tries: how often a line is tried that met something which may pass; the SDK's own retries come on top.
        patience_s: how long an unreachable server is waited for.
    """

    max_in_flight: int = 1000
    max_tries: int = 5
    patience_s: float = 300.0


class _Flight:
    """One call that was begun: waiting until the limiter lets it go, then out."""

    __slots__ = ("lane", "load", "reserved", "scope", "waiting")

    def __init__(self, lane: Lane, load: Load, reserved: tuple[int, float]) -> None:
        self.lane = lane
        self.load = load
        self.reserved = reserved
        self.scope = anyio.CancelScope()
        self.waiting = True
        lane.waiting += 1

    def went(self) -> None:
        self.load.attempts += 1
        if self.waiting:
            self.waiting = False
            self.lane.waiting -= 1
            self.lane.out += 1
            self.lane.wake()

    def landed(self) -> None:
        if self.waiting:
            self.lane.waiting -= 1
        else:
            self.lane.out -= 1


class Engine:
    """Runs the lanes of one job to their end, or to a stop."""

    def __init__(
        self,
        lanes: list[Lane],
        sender: Sender,
        record: Callable[[Result, float], Awaitable[None]],
        *,
        settings: Settings,
        budget: Budget,
        prices: Prices,
        packer: Packer | None = None,
        is_limited: Callable[[str], bool] = lambda model: True,
    ) -> None:
        """Make an engine.

        Args:
            lanes: what is to be sent.
            sender: through which client.
            record: keeps a result and its cost for good; returns when it is safe.
            settings: how.
            budget: what the whole job may use.
            prices: what tokens cost.
            packer: puts several lines in one request; None to send each alone.
            is_limited: tells whether a model has limits, as far as known now.
        """
        self.stopped: str | None = None
        self._lanes = lanes
        self._sender = sender
        self._record = record
        self._settings = settings
        self._budget = budget
        self._prices = prices
        self._packer = packer
        self._is_limited = is_limited
        self._ahead = max(1, min(MOST_AHEAD, settings.max_in_flight // (2 * len(lanes) or 1)))
        self._flights: set[_Flight] = set()
        self._tasks: TaskGroup | None = None
        self._reached = False
        self._outage_since_s: float | None = None
        self._probe_at_s = 0.0
        self._probe_gap_s = FIRST_PROBE_S

    async def run(self) -> None:
        """Run until every line has ended or the run was stopped; `stopped` then tells why."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            for lane in self._lanes:
                tasks.start_soon(self._feed, lane)

    def stop(self, reason: str, *, at_once: bool = False) -> None:
        """Begin no more calls and withdraw those that wait; `at_once` gives up those that are out, too."""
        self.stopped = self.stopped or reason
        for flight in tuple(self._flights):
            # what waits in a thread can't be withdrawn: it goes, and is then waited for
            if at_once or (flight.waiting and not self._sender.sync):
                flight.scope.cancel()
        self._wake_all()

    @property
    def waiting(self) -> int:
        return sum(lane.waiting for lane in self._lanes)

    @property
    def out(self) -> int:
        return sum(lane.out for lane in self._lanes)

    def outage_s(self, now_s: float) -> float | None:
        """Tell how long the server has been out of reach."""
        return None if self._outage_since_s is None else now_s - self._outage_since_s

    # beginning

    async def _feed(self, lane: Lane) -> None:
        lane.limited = self._is_limited(lane.model)
        while self.stopped is None:
            lane.changed = anyio.Event()
            if self._begin_one(lane):
                continue
            if not lane.busy and lane.empty:
                await self._end(lane)
                return
            await self._wait_for_change(lane)

    def _begin_one(self, lane: Lane) -> bool:
        now_s = anyio.current_time()
        if not self._has_room(lane, now_s) or (load := lane.take(now_s)) is None:
            return False
        if self._packer is not None:
            load = self._packer.fill(load, lane, now_s)
        if (reserved := self._reserve(lane, load)) is None:
            return False
        flight = _Flight(lane, load, reserved)
        self._flights.add(flight)
        assert self._tasks is not None
        self._tasks.start_soon(self._fly, flight)
        return True

    def _has_room(self, lane: Lane, now_s: float) -> bool:
        if self._outage_since_s is not None and (self._flights or now_s < self._probe_at_s):
            return False
        if lane.waiting >= self._ahead or len(self._flights) >= self._settings.max_in_flight:
            return False
        return lane.limited or lane.busy < lane.window.size

    def _reserve(self, lane: Lane, load: Load) -> tuple[int, float] | None:
        """Hold what the call may use; None, and the load is put back, where the budget doesn't allow it (yet)."""
        if not self._budget.bounded:
            return 0, 0.0
        cost = [CallCost(line.body, line.endpoint).cost for line in load.lines]
        usage = Usage(sum(one.input_tokens for one in cost), sum(one.output_tokens for one in cost))
        price = self._prices.of(lane.model)
        reserved = usage.tokens, price.of(usage) if price else 0.0
        if self._budget.reserve(*reserved):
            return reserved
        lane.put_first(load)
        if not self._flights:
            self.stop(f"budget: {self._budget.told()} used, and the next line might exceed it")
        return None

    async def _wait_for_change(self, lane: Lane) -> None:
        times = [
            at_s for at_s in (lane.next_at_s, self._probe_at_s if self._outage_since_s is not None else None) if at_s
        ]
        soonest_s = min((at_s for at_s in times if at_s > anyio.current_time()), default=None)
        with anyio.move_on_at(soonest_s) if soonest_s is not None else anyio.CancelScope():
            await lane.changed.wait()

    # sending

    async def _fly(self, flight: _Flight) -> None:
        lane, load = flight.lane, flight.load
        outcome: Answer | Verdict | None = None
        try:
            try:
                with flight.scope:
                    outcome = await self._send(load.lines[0].endpoint, body_of(load.lines), flight)
            finally:
                filled = lane.busy >= lane.window.size
                flight.landed()
                self._budget.settle(*flight.reserved)
            if outcome is not None:
                self._learn(lane, outcome, filled=filled)
                await self._land(lane, load, outcome)
        except OutputError as error:
            self.stop(str(error), at_once=True)
        finally:
            # only now another may begin in its place: a caller who is slow to take results holds the job back
            self._flights.discard(flight)
            if not self._flights or self._budget.bounded or len(self._flights) + 1 >= self._settings.max_in_flight:
                self._wake_all()
            else:
                lane.wake()

    async def _send(self, endpoint: str, body: dict[str, Any], flight: _Flight) -> Answer | Verdict:
        try:
            answer = await self._sender.send(endpoint, body, flight)
        except openai.OpenAIError as error:
            return judge(error)
        if answer.value is None:
            failure = Failure("not_json", "the server's answer is not JSON")
            return Verdict("again", failure, answer.status_code, answer.request_id, answer.raw)
        return answer

    def _learn(self, lane: Lane, outcome: Answer | Verdict, *, filled: bool) -> None:
        """Draw from an outcome what it says of the server, whatever it says of the line."""
        now_s = anyio.current_time()
        if isinstance(outcome, Verdict) and outcome.what == "unreachable":
            self._begin_outage(outcome, now_s)
            return
        self._reached = True
        if self._outage_since_s is not None and not (
            isinstance(outcome, Verdict) and outcome.failure.code == "timeout"
        ):
            self._outage_since_s = None
            self._wake_all()
        if isinstance(outcome, Answer):
            lane.answered = True
            if not lane.limited and lane.window.landed(now_s, filled=filled):
                lane.limited = self._is_limited(lane.model)
        elif outcome.what == "again":
            lane.window.troubled()

    def _begin_outage(self, verdict: Verdict, now_s: float) -> None:
        if self._outage_since_s is None:
            self._outage_since_s, self._probe_gap_s = now_s, FIRST_PROBE_S
        elif now_s >= self._probe_at_s:
            self._probe_gap_s = min(LONGEST_PROBE_S, 2 * self._probe_gap_s)
        self._probe_at_s = now_s + self._probe_gap_s
        if not self._reached or now_s - self._outage_since_s > self._settings.patience_s:
            self.stop(f"{self._sender.base_url} can't be reached: {verdict.failure.message}")

    # landing

    async def _land(self, lane: Lane, load: Load, outcome: Answer | Verdict) -> None:
        if isinstance(outcome, Answer):
            await self._keep_answer(lane, load, outcome)
        elif outcome.what == "unreachable":
            lane.put_first(load)
        elif outcome.what == "stop":
            lane.put_first(load)
            self.stop(outcome.failure.message)
        elif outcome.what == "again" and load.tries + 1 < self._settings.max_tries:
            load.tries += 1
            lane.put_later(load, anyio.current_time() + max(outcome.wait_s, min(LONGEST_RETRY_S, 2.0**load.tries)))
        elif outcome.what == "failed" and len(load.lines) > 1 and outcome.status_code not in HOPELESS:
            self._split(lane, load)
        elif outcome.what == "failed" and not lane.answered:
            self._doubt(lane, load, outcome)
        else:
            await self._keep_failure(lane, load, outcome)

    async def _keep_answer(self, lane: Lane, load: Load, answer: Answer) -> None:
        await self._keep_doubts(lane)
        if self._packer is not None:
            self._packer.passed(lane, load)
        if len(load.lines) == 1:
            await self._keep(lane, load, 0, answer)
            return
        parts = unpack(load.lines, answer.value or {})
        if parts is None:
            self._split(lane, load)
            return
        for i, (raw, value) in enumerate(parts):
            await self._keep(lane, load, i, replace(answer, raw=raw, value=value))

    async def _keep_failure(self, lane: Lane, load: Load, verdict: Verdict) -> None:
        for i in range(len(load.lines)):
            await self._keep(lane, load, i, verdict)

    async def _keep_doubts(self, lane: Lane) -> None:
        doubts, lane.doubts = lane.doubts, []
        for doubted, verdict in doubts:
            await self._keep_failure(lane, doubted, verdict)

    def _split(self, lane: Lane, load: Load) -> None:
        assert self._packer is not None
        lane.put_first(*self._packer.split(load))

    def _doubt(self, lane: Lane, load: Load, verdict: Verdict) -> None:
        """Hold a failure back while nothing was ever answered here: with enough alike, the lines aren't to blame."""
        lane.doubts.append((load, verdict))
        alike = sum(1 for _, other in lane.doubts if other.failure.code == verdict.failure.code)
        if alike >= (DOUBTS if verdict.status_code in HOPELESS else MANY_DOUBTS):
            status = f"{verdict.status_code} " if verdict.status_code else ""
            calls = f"the first {alike} calls to {lane.key[0]} for {lane.model}"
            self.stop(f"{calls} were all refused: {status}{verdict.failure.message}")

    async def _keep(self, lane: Lane, load: Load, i: int, outcome: Answer | Verdict) -> None:
        line = load.lines[i]
        result = Result(
            line=line.number,
            custom_id=line.custom_id,
            endpoint=line.endpoint,
            status_code=outcome.status_code,
            request_id=outcome.request_id,
            raw=outcome.raw,
            error=outcome.failure if isinstance(outcome, Verdict) else None,
            attempts=load.earlier[i] + load.attempts,
            digest=line.digest,
        )
        if isinstance(outcome, Answer):
            result.__dict__["body"] = outcome.value  # parsed already
        price = self._prices.of(lane.model)
        cost = price.of(result.usage) if price else 0.0
        self._budget.use(result.usage, cost)
        await self._record(result, cost)

    async def _end(self, lane: Lane) -> None:
        """Write down the failures that were held in doubt: the lane is through, so there will be no more."""
        try:
            await self._keep_doubts(lane)
        except OutputError as error:
            self.stop(str(error), at_once=True)

    def _wake_all(self) -> None:
        for lane in self._lanes:
            lane.wake()
