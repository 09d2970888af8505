"""A call that is cancelled at any await leaves nothing behind, and is charged if it was handed to the HTTP client."""

from __future__ import annotations

from itertools import count
from typing import Any, Final

import pytest

import throttle
from tests.wire.calls import Call, chat, constructor_of, streamed_chat
from tests.wire.cells import Ledger
from tests.wire.driving import cancelled_at, done, run
from tests.wire.scene import Scene
from tests.wire.stacks import STACKS, Stack, make_client, why_not

LONG: Final[Any] = [{"role": "user", "content": "The sea, and what lies beneath. " * 20_000}]


async def long_chat(client: Any, _: Scene) -> Any:
    """Ask with a prompt that takes so long to count that it isn't done in the event loop."""
    return await client.responses.create(model="gpt-4o-mini", input=LONG)


CALLS: Final = (
    Call("create", chat),
    Call("500, then fine", chat, server={"faults": [{"kind": "500", "calls": [1]}]}),
    Call("stream=True", streamed_chat, server={"latency_s": 0.02}),
    Call("api_key callable", chat, options={"api_key": "callable"}),
    Call("long prompt", long_chat),
)

ASYNC_STACKS: Final = [stack for stack in STACKS if stack.is_async and why_not(stack, "own") is None]

FEWEST_AWAITS, MOST_AWAITS = 4, 200


def noting_sends(client: Any) -> list[Any]:
    """Note each request that is handed to the HTTP client."""
    handed: list[Any] = []
    send = client._client.send

    async def noting(request: Any, **options: Any) -> Any:
        handed.append(request)
        return await send(request, **options)

    client._client.send = noting
    return handed


# the generators of streams that are cut off are left to the garbage collector
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
@pytest.mark.parametrize("stack", ASYNC_STACKS, ids=lambda stack: stack.name)
def test_an_attempt_is_charged_if_and_only_if_it_was_handed_over(stack: Stack, call: Call, scene: Scene) -> None:
    wrong = []

    async def main() -> int:
        client = make_client(constructor_of(call, scene, is_async=True), stack, "own", scene.proxy.url, [])
        handed = noting_sends(client)
        for nth in count():
            assert nth < MOST_AWAITS
            limiter = Ledger()
            wrapped = throttle.wrap(client, limiter=limiter)
            scene.begin(call.server)
            handed.clear()
            reached = await cancelled_at(stack.runtime, nth, call.act(wrapped, scene))
            if limiter.charged != len(handed) or limiter.leaks_at_last():
                wrong.append((nth, len(handed), limiter.charged, limiter.leaks))
            if not reached:
                break
        await done(client.close())
        return nth

    assert run(stack.runtime, main) >= FEWEST_AWAITS
    assert wrong == []


@pytest.mark.parametrize(
    "stack", [s for s in ASYNC_STACKS if s.library == "httpx2"] or ASYNC_STACKS[:2], ids=lambda s: s.name
)
def test_a_call_that_is_cancelled_while_it_waits_is_not_charged_and_lets_the_next_one_go(
    stack: Stack, scene: Scene
) -> None:
    scene.begin()
    limiter = Ledger({"max_in_flight": 1, "tpm": 1_000_000})
    call = Call("create", chat)

    async def main() -> None:
        client = make_client(constructor_of(call, scene, is_async=True), stack, "own", scene.proxy.url, [])
        wrapped = throttle.wrap(client, limiter=limiter)
        async with limiter.acquire("gpt-4o-mini"):
            assert await cancelled_at(stack.runtime, 0, chat(wrapped, scene))
            pool = limiter.snapshot().pools["default"]
            assert (pool.waiting, pool.under_way, pool.admitted) == (0, 1, 1)
        await chat(wrapped, scene)
        await done(client.close())

    run(stack.runtime, main)
    assert limiter.charged == 2
    assert limiter.leaks == []
    assert len(scene.gateway.take()) == 1
