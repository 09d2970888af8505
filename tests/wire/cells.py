"""One cell of the matrix: the same call by a plain client and by a wrapped one, and what differs."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import openai

import throttle
from tests.wire.calls import Call, constructor_of
from tests.wire.driving import done, run
from tests.wire.scene import Scene
from tests.wire.stacks import Hole, Stack, make_client
from tests.wire.tap import Seen
from throttle.costs import CallCost, default_charge

__all__ = ["Cell", "Ledger", "Outcome", "differences_of", "plain_error", "plain_value"]

LOOKS: Final = 50

AMPLE: Final = {"rpm": 1_000_000, "tpm": 1_000_000_000}


class Ledger(throttle.Limiter):
    """A limiter that keeps a list of what the calls of a wrapped client were to be charged, in tokens."""

    def __init__(self, limits: Mapping[str, Any] | None = None) -> None:
        super().__init__(limits or AMPLE, pacing="burst")
        self.asked: list[float] = []

    def permit_for(self, *args: Any, **kwargs: Any) -> throttle.Permit:
        permit = super().permit_for(*args, **kwargs)
        self.asked.append(float(permit.amounts[permit.pool.units.index("tokens")]))
        return permit

    @property
    def charged(self) -> int:
        """How many calls were let through and not taken back."""
        return sum(pool.admitted for pool in self.snapshot().pools.values())

    @property
    def leaks(self) -> list[str]:
        """What is still waiting or under way, one line for each pool."""
        return [
            f"pool {pool.name} has {pool.waiting} waiting and {pool.under_way} under way"
            for pool in self.snapshot().pools.values()
            if pool.waiting or pool.under_way
        ]

    def leaks_at_last(self) -> list[str]:
        """The same once garbage was collected: a stream that was left early ends with it."""
        for _ in range(LOOKS):
            if not self.leaks:
                break
            gc.collect()  # which does nothing where another thread has begun to
            time.sleep(0.01)
        return self.leaks


@dataclass(frozen=True, slots=True)
class Cell:
    """One place in the matrix."""

    stack: Stack
    setup: str
    call: Call

    @property
    def name(self) -> str:
        return f"{self.stack.name} / {self.setup} / {self.call.name}"

    @property
    def by_proxy(self) -> bool:
        return self.setup in ("proxy", "environment")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call: for the program, and on the wire."""

    result: Any
    requests: list[Seen]
    through_proxy: list[Seen]
    passes: list[str]


def differences_of(cell: Cell, scene: Scene) -> list[str]:
    """Play a cell and tell what is not as it should be, one line each.

    Raises:
        Hole: there is no such cell.
    """
    limiter = Ledger()
    passes: list[str] = []

    async def main() -> tuple[Outcome, Outcome]:
        kind = constructor_of(cell.call, scene, is_async=cell.stack.is_async)
        client = make_client(kind, cell.stack, cell.setup, scene.proxy.url, passes)
        try:
            plain = await _play(cell.call, client, scene, passes)
            if (missing := _missing(plain)) is not None:
                raise Hole(f"openai {openai.__version__}: {missing}")
            wrapped = await _play(cell.call, throttle.wrap(client, limiter=limiter, retry=None), scene, passes)
        finally:
            await done(client.close())
        return plain, wrapped

    plain, wrapped = run(cell.stack.runtime, main)
    return [*_compare(plain, wrapped), *_check(cell, wrapped), *_check_charges(cell, wrapped, limiter)]


async def _play(call: Call, client: Any, scene: Scene, passes: list[str]) -> Outcome:
    scene.begin(call.server)
    passes.clear()
    try:
        result: Any = plain_value(await call.act(client, scene))
    except Exception as error:
        result = plain_error(error)
    return Outcome(result, scene.gateway.take(), scene.proxy.take(), list(passes))


def plain_value(value: Any) -> Any:
    """Give a result as plain values that can be compared, its type and request id included."""
    if hasattr(value, "model_dump"):
        request_id = getattr(value, "_request_id", None)
        return type(value).__name__, request_id, value.model_dump()
    if isinstance(value, list | tuple):
        return [plain_value(each) for each in value]
    return value


def plain_error(error: BaseException) -> Any:
    """Give an error as plain values: type, text, what it was raised from, and what the SDK notes on it."""
    noted = {name: getattr(error, name, None) for name in ("status_code", "body", "code", "param", "request_id")}
    cause, context = error.__cause__, error.__context__
    return {
        "type": type(error).__qualname__,
        "text": str(error),
        "cause": None if cause is None else (type(cause).__qualname__, str(cause)),
        "context": None if context is None else type(context).__qualname__,
        **noted,
    }


def _missing(plain: Outcome) -> str | None:
    """Tell what this version of the SDK lacks for the call; None where it has all."""
    told = plain.result
    if not isinstance(told, dict) or told.get("type") not in ("AttributeError", "TypeError"):
        return None
    text: str = told["text"]
    return text if "has no attribute" in text or "unexpected keyword argument" in text else None


def _compare(plain: Outcome, wrapped: Outcome) -> list[str]:
    found = []
    if plain.result != wrapped.result:
        found.append(f"the answer: {wrapped.result!r}, not {plain.result!r}")
    for place, left, right in (
        ("on the wire", plain.requests, wrapped.requests),
        ("at the proxy", plain.through_proxy, wrapped.through_proxy),
    ):
        if [each.settled for each in left] != [each.settled for each in right]:
            found.append(f"{place}: {[each.settled for each in right]}, not {[each.settled for each in left]}")
    if plain.passes != wrapped.passes:
        found.append(f"through the transport: {wrapped.passes}, not {plain.passes}")
    return found


def _check(cell: Cell, outcome: Outcome) -> list[str]:
    """Check that the call was what it is meant to be, so that no cell passes by doing nothing."""
    found = []
    if len(outcome.requests) != cell.call.sent:
        found.append(f"{len(outcome.requests)} requests came, not {cell.call.sent}: {outcome.result!r}")
    if cell.call.sent and bool(outcome.through_proxy) != cell.by_proxy:
        found.append(f"{len(outcome.through_proxy)} requests went through the proxy")
    if cell.call.sent and bool(outcome.passes) != (cell.setup in ("mounts", "transport")):
        found.append(f"{len(outcome.passes)} requests went through the transport")
    return found


def _check_charges(cell: Cell, outcome: Outcome, limiter: Ledger) -> list[str]:
    found = []
    charges = cell.call.charges(by_proxy=cell.by_proxy)
    if limiter.charged != charges:
        found.append(f"{limiter.charged} attempts were charged, not {charges}")
    tokens = _tokens_of(outcome.requests)
    if tokens is not None and len(limiter.asked) == charges == cell.call.sent and limiter.asked != tokens:
        found.append(f"{limiter.asked} tokens were charged, not {tokens}")
    return found + limiter.leaks_at_last()


def _tokens_of(requests: list[Seen]) -> list[int] | None:
    """Count what the bodies on the wire cost; None where they are no JSON."""
    tokens = []
    for request in requests:
        try:
            body = json.loads(request.body)
        except ValueError:
            return None
        cost = CallCost(body, request.path)
        tokens.append(cost.booked(default_charge("127.0.0.1", cost.endpoint, cost.model or "")))
    return tokens
