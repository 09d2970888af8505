"""A call that has to wait: what is fetched and built after the wait, and how it ends if it can't go."""

from __future__ import annotations

import threading
from typing import Any, Final

import openai
import pytest
from openai._models import FinalRequestOptions

import throttle
from tests.wire.calls import CHAT, Call, chat, constructor_of
from tests.wire.cells import Ledger
from tests.wire.driving import done, run
from tests.wire.scene import Scene
from tests.wire.stacks import STACKS, Stack, make_client, why_not

OWN: Final = [stack for stack in STACKS if why_not(stack, "own") is None]

ONE_AT_A_TIME: Final = {"max_in_flight": 1, "tpm": 1_000_000}


def call_behind(scene: Scene, stack: Stack, call: Call, limiter: Ledger, before_release: Any) -> Any:
    """Make a call while another one holds the only place; do something before that one ends."""

    async def main() -> Any:
        client = make_client(constructor_of(call, scene, is_async=stack.is_async), stack, "own", "", [])
        try:
            return await call.act(throttle.wrap(client, limiter=limiter), scene)
        finally:
            await done(client.close())

    permit = limiter.acquire("gpt-4o-mini")
    permit.__enter__()
    results: list[Any] = []
    caller = threading.Thread(target=lambda: results.append(run(stack.runtime, main)))
    caller.start()
    try:
        while not limiter.snapshot().pools["default"].waiting:
            assert caller.is_alive()
        before_release()
    finally:
        permit.close()
        caller.join()
    return results[0]


@pytest.mark.parametrize(
    ("kind", "option", "header"),
    [("OpenAI", "api_key", "authorization"), ("AzureOpenAI", "azure_ad_token_provider", "authorization")],
)
@pytest.mark.parametrize("stack", OWN, ids=lambda stack: stack.name)
def test_a_key_from_a_callable_is_fetched_after_the_wait(
    stack: Stack, kind: str, option: str, header: str, scene: Scene
) -> None:
    scene.begin()
    limiter = Ledger(ONE_AT_A_TIME)

    def while_it_waits() -> None:
        assert scene.keys_given == 0
        scene.keys_given = 41

    call = Call("create", chat, kind=kind, options={option: "callable"})
    call_behind(scene, stack, call, limiter, while_it_waits)
    (request,) = scene.gateway.take()
    assert request.header(header) == "Bearer sk-fresh-42"
    assert limiter.leaks == []


@pytest.mark.parametrize("stack", OWN, ids=lambda stack: stack.name)
def test_waiting_does_not_count_against_the_clients_timeout(stack: Stack, scene: Scene) -> None:
    scene.begin()
    pause = threading.Event()
    call = Call("create", chat, options={"timeout": 0.4, "max_retries": 0})
    answer = call_behind(scene, stack, call, Ledger(ONE_AT_A_TIME), lambda: pause.wait(0.6))
    assert answer.choices


@pytest.mark.parametrize("stack", OWN, ids=lambda stack: stack.name)
@pytest.mark.parametrize(
    ("limits", "options", "expected"),
    [
        ({"rpm": 1, "tpm": 1_000_000}, {"max_wait": 0}, throttle.WaitTimeout),
        ({"rpm": 10, "tpm": 10}, {}, throttle.RequestTooLarge),
    ],
    ids=["WaitTimeout", "RequestTooLarge"],
)
def test_our_errors_come_out_as_themselves_and_at_once(
    stack: Stack, limits: Any, options: Any, expected: type[Exception], scene: Scene
) -> None:
    scene.begin()
    limiter = Ledger(limits)
    call = Call("create", chat)

    async def main() -> None:
        client = make_client(constructor_of(call, scene, is_async=stack.is_async), stack, "own", "", [])
        wrapped = throttle.wrap(client, limiter=limiter)
        try:
            if expected is throttle.WaitTimeout:
                await chat(wrapped, scene)
            with throttle.options(**options), pytest.raises(expected) as caught:
                await chat(wrapped, scene)
            assert isinstance(caught.value, openai.OpenAIError)
            assert caught.value.__cause__ is None
        finally:
            await done(client.close())

    run(stack.runtime, main)
    assert len(scene.gateway.take()) == limiter.charged <= 1
    assert limiter.leaks == []


def test_many_threads_that_copy_the_client_for_each_request_are_charged_once_each(scene: Scene) -> None:
    scene.begin()
    limiter = Ledger()
    client = throttle.wrap(openai.OpenAI(base_url=scene.base_url, api_key="any"), limiter=limiter)

    def work() -> None:
        for _ in range(5):
            copied = client.with_options(http_client=client._client, max_retries=0)
            copied.post("/chat/completions", body=dict(CHAT), cast_to=object)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    assert len(scene.gateway.take()) == limiter.charged == 30
    assert limiter.leaks == []


def test_calls_go_on_when_headers_tell_of_a_limit_that_nobody_knew(scene: Scene) -> None:
    scene.begin({"limits": {"rpd": 10_000, "tpm": 1_000_000}, "headers": "openai"})
    limiter = Ledger({"rpm": 600, "tpm": 1_000_000})
    client = throttle.wrap(openai.OpenAI(base_url=scene.base_url, api_key="any"), limiter=limiter)
    for _ in range(3):
        assert client.chat.completions.create(**CHAT).choices
    client.close()
    assert limiter.charged == 3
    assert "rpd" in limiter.snapshot().pools["default"].meters


@pytest.mark.parametrize("stack", OWN, ids=lambda stack: stack.name)
def test_options_prepared_outside_of_a_call_as_for_websockets_wait_for_nothing(stack: Stack, scene: Scene) -> None:
    limiter = Ledger(ONE_AT_A_TIME)
    call = Call("websocket", chat)

    async def main() -> Any:
        client = make_client(constructor_of(call, scene, is_async=stack.is_async), stack, "own", "", [])
        options = FinalRequestOptions(method="get", url="/realtime")
        with limiter.acquire("gpt-4o-mini"):
            prepared = await done(throttle.wrap(client, limiter=limiter)._prepare_options(options))
        await done(client.close())
        return prepared

    assert run(stack.runtime, main).url == "/realtime"
    assert limiter.charged == 1
