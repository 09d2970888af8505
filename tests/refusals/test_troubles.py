"""A server that refuses for reasons of its own, in virtual time: every call is answered in the end, none is sent more
often than its policy allows, and the pool is back at its rate soon after. Run with `-s` to see how soon.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

import throttle
from tests.core.virtual import VirtualLoop, run_virtually
from tests.refusals.wire import MESSAGES, MODEL, Wire, sdk_client
from throttle import Retry

LIMITS = {"rpm": 180, "tpm": 60_000}
RATE = LIMITS["rpm"] / 60
WINDOW_S = 10
SLOW_DOWN = {
    "kind": "status",
    "status": 429,
    "code": "slow_down",
    "message": "Slow down: your request rate grew too fast.",
    "charged": False,
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens at the server, from when to when, and how much of the limit is there afterwards."""

    settings: dict[str, Any]
    begins_s: float
    ends_s: float
    recovers_within_s: float
    left: float = 1.0
    max_retries: int = 2


TROUBLES = {
    "another program's burst": Trouble(
        {"others": {"pattern": "steady", "rpm": 6000, "tokens": 20, "begin_s": 20, "end_s": 50}}, 20, 50, 30
    ),
    "another program's burst, and no headers": Trouble(
        {"headers": "none", "others": {"pattern": "steady", "rpm": 6000, "tokens": 20, "begin_s": 20, "end_s": 50}},
        20,
        50,
        40,
    ),
    "a halved limit": Trouble({"changes": [{"at_s": 20, "limits": {"rpm": 90, "tpm": 60_000}}]}, 20, 20, 15, left=0.5),
    "a halved limit, and no headers": Trouble(
        {"headers": "none", "changes": [{"at_s": 20, "limits": {"rpm": 90, "tpm": 60_000}}]}, 20, 20, 45, left=0.5
    ),
    "an overload of a minute": Trouble({"faults": [{**SLOW_DOWN, "between_s": (20, 80)}]}, 20, 80, 70),
    "an overload of a minute, as 503": Trouble(
        {"faults": [{"kind": "slow_down", "between_s": (20, 80)}]}, 20, 80, 70, max_retries=10
    ),
    "a server that refuses one in ten": Trouble(
        {"faults": [{**SLOW_DOWN, "code": "rate_limit_exceeded", "rate": 0.1, "between_s": (20, 80)}]}, 20, 80, 15
    ),
}


def play(trouble: Trouble, policy: Retry, calls: int = 360, workers: int = 32) -> tuple[Wire, list[Any]]:
    async def main(loop: VirtualLoop) -> tuple[Wire, list[Any]]:
        settings = {"limits": LIMITS, "start": "empty", "latency_s": (0.3, 1.2), "keep_bodies": True, "seed": 3}
        wire = Wire(loop, **{**settings, **trouble.settings})
        limiter = throttle.Limiter(LIMITS, clock=loop.now_us)
        client = throttle.wrap(sdk_client(wire, max_retries=trouble.max_retries), limiter=limiter, retry=policy)
        numbers = iter(range(calls))
        ended: list[Any] = []

        async def work() -> None:
            for number in numbers:
                try:
                    ended.append(await client.chat.completions.create(model=MODEL, messages=MESSAGES, user=str(number)))
                except Exception as error:
                    ended.append(error)

        await asyncio.gather(*(work() for _ in range(workers)))
        (pool,) = limiter.snapshot().pools.values()
        assert (pool.waiting, pool.under_way) == (0, 0)
        return wire, ended

    return run_virtually(main)


def recovered_after_s(wire: Wire, trouble: Trouble) -> float:
    """Tell how long after the trouble the calls of ten seconds are nine tenths of what the limit lets through."""
    good = [call.at_s for call in wire.calls if call.status == 200]
    wanted = 0.9 * trouble.left * RATE * WINDOW_S
    for at in good:
        if at >= trouble.ends_s and sum(at <= other < at + WINDOW_S for other in good) >= wanted:
            return float(at - trouble.ends_s)
    return float("inf")


@pytest.mark.parametrize("name", TROUBLES)
def test_every_call_is_answered_within_its_policy_and_the_pool_recovers(name: str) -> None:
    trouble, policy = TROUBLES[name], Retry()
    wire, ended = play(trouble, policy)
    attempts = Counter(json.loads(call.body)["user"] for call in wire.calls)
    back_s = recovered_after_s(wire, trouble)
    refused = sum(call.status != 200 for call in wire.calls)
    print(
        f"\n{name}: {len(wire.calls)} attempts, {refused} refused, at most {max(attempts.values())} of one call, "
        f"back at the rate after {back_s:.1f} s"
    )
    assert not [end for end in ended if isinstance(end, Exception)]
    assert max(attempts.values()) <= max(policy.attempts, trouble.max_retries + 1)
    assert back_s <= trouble.recovers_within_s
