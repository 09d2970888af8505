"""What a wrapped client does when the server refuses, at the SDK's own hooks, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

import throttle
from tests.core.virtual import VirtualLoop, run_virtually
from tests.refusals.wire import MESSAGES, MODEL, Wire, sdk_client
from throttle import Retry

QUIET = Retry(jitter=0)
LIMITS = {"rpm": 600, "tpm": 600_000}
AZURE_DAY = (
    "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-02-01 have exceeded token "
    "rate limit of your current OpenAI S0 pricing tier. Please retry after 86400 seconds."
)


def play(
    scene: Callable[[Wire, AsyncOpenAI], Awaitable[Any]],
    faults: list[dict[str, Any]],
    *,
    max_retries: int = 0,
    limits: Any = LIMITS,
    retry: Any = QUIET,
    **settings: Any,
) -> Wire:
    """Play a scene with a wrapped client and a server that fails as told; returns the wire with its record."""

    async def main(loop: VirtualLoop) -> Wire:
        wire = Wire(loop, **{"limits": limits, "faults": faults, "latency_s": 0.5, **settings})
        limiter = throttle.Limiter(limits, clock=loop.now_us)
        client = throttle.wrap(sdk_client(wire, max_retries=max_retries), limiter=limiter, retry=retry)
        await scene(wire, client)
        return wire

    return run_virtually(main)


async def ask(client: AsyncOpenAI, **changes: Any) -> Any:
    return await client.chat.completions.create(**{"model": MODEL, "messages": MESSAGES, **changes})


async def ask_many(client: AsyncOpenAI, count: int) -> list[Any]:
    return await asyncio.gather(*(ask(client) for _ in range(count)), return_exceptions=True)


def refusal(message: str, code: str | None = "rate_limit_exceeded", **changes: Any) -> dict[str, Any]:
    return {"kind": "status", "status": 429, "code": code, "message": message, "charged": False} | changes


def gaps(wire: Wire) -> list[float]:
    sent = wire.sent_at()
    return [later - earlier for earlier, later in pairwise(sent)]


# overload


@pytest.mark.parametrize("kind", ["503", "slow_down", "engine_overloaded", "plain"])
def test_an_overload_pauses_the_pool_though_the_sdk_alone_sends_the_call_again(kind: str) -> None:
    async def scene(wire: Wire, client: AsyncOpenAI) -> None:
        first = asyncio.ensure_future(ask(client))
        while not wire.calls:
            await asyncio.sleep(0.01)
        limiter = throttle.limiter_of(client)
        await asyncio.sleep(0.1)
        assert 0.7 < limiter.wait_time(MODEL) <= 1.0
        (before,) = limiter.snapshot().pools.values()
        later = await ask_many(client, 20)
        await first
        assert not any(isinstance(answer, BaseException) for answer in later)
        assert before.refused == 0

    wire = play(scene, [{"kind": kind, "times": 1}], max_retries=2)
    assert sorted(wire.statuses()) == [200] * 21 + [503]
    assert min(gaps(wire)[:1]) >= 0.9


def test_an_overload_that_does_not_end_is_probed_slowly_by_one_call_at_a_time() -> None:
    async def scene(wire: Wire, client: AsyncOpenAI) -> None:
        answers = await ask_many(client, 30)
        assert not any(isinstance(answer, BaseException) for answer in answers)

    wire = play(scene, [refusal("Slow down", "slow_down", between_s=(0, 60))])
    probes = [call.at_s for call in wire.calls if call.status == 429]
    together = [at for at in probes if at < 1]
    slow = [at for at in probes if at >= 1]
    assert len(together) <= 30
    assert len(slow) <= 6  # after 1, 2, 4, 8, 16 and 32 seconds
    assert all(later - earlier > 1.9 for earlier, later in pairwise(slow))
    recovered = [call.at_s for call in wire.calls if call.status == 200]
    assert sum(at < recovered[0] + 0.4 for at in recovered) == 1  # the others wait for the first one's answer


@pytest.mark.parametrize("kind", ["503", "html", "plain"])
def test_errors_without_headers_say_nothing_of_the_levels(kind: str) -> None:
    async def scene(wire: Wire, client: AsyncOpenAI) -> None:
        for _ in range(6):
            with pytest.raises(openai.InternalServerError):
                await ask(client)
        (pool,) = throttle.limiter_of(client).snapshot().pools.values()
        assert "blind" not in [meter.mode for meter in pool.meters.values()]  # type: ignore[union-attr]

    play(scene, [{"kind": kind}])


def test_an_attempt_that_the_sdk_repeats_keeps_its_place() -> None:
    async def scene(wire: Wire, client: AsyncOpenAI) -> None:
        async def named(name: str) -> None:
            await ask(client, user=name)
            done.append(name)

        done: list[str] = []
        first = asyncio.ensure_future(named("first"))
        while not wire.calls:
            await asyncio.sleep(0.01)
        await asyncio.gather(first, *(named(f"later {i}") for i in range(30)))
        assert done.index("first") < 6

    fault = {"kind": "500", "calls": [1], "charged": False}
    play(scene, [fault], max_retries=2, limits={"rpm": 60}, start="empty")


# refusals without a time, or with one that can't be right


def test_after_a_refusal_without_a_time_the_pool_is_silent_then_probes() -> None:
    async def scene(wire: Wire, client: AsyncOpenAI) -> None:
        answers = await ask_many(client, 10)
        assert not any(isinstance(answer, BaseException) for answer in answers)

    wire = play(scene, [refusal("Too many requests", None, between_s=(0, 6))], headers="none")
    assert [round(gap) for gap in gaps(wire)[:3]] == [1, 2, 4]
    assert wire.statuses()[:4] == [429, 429, 429, 200]
    assert wire.sent_at()[4] > wire.sent_at()[3] + 0.5  # when the probe was answered


def test_a_day_told_for_a_limit_by_the_minute_is_not_waited_for() -> None:
    async def scene(wire: Wire, client: AsyncOpenAI) -> None:
        await ask_many(client, 5)

    wire = play(scene, [refusal(AZURE_DAY, "429", between_s=(0, 150))], headers="azure")
    assert wire.statuses()[-5:] == [200] * 5
    later = [call.at_s for call in wire.calls if call.at_s > 5]
    assert [round(at / 60) for at in later[:3]] == [1, 2, 3]
    assert later[3] > later[2] + 0.4


def test_a_hint_that_is_followed_in_vain_is_followed_by_growing_pauses() -> None:
    async def scene(wire: Wire, client: AsyncOpenAI) -> None:
        await ask(client)

    wire = play(scene, [refusal("Please try again in 100ms.", between_s=(0, 40))])
    assert wire.statuses()[-1] == 200
    assert len(wire.calls) <= 9
    assert [round(gap) for gap in gaps(wire)] == [0, 1, 2, 4, 8, 16, 32][: len(gaps(wire))]


def test_no_herd_when_the_pause_ends() -> None:
    async def scene(wire: Wire, client: AsyncOpenAI) -> None:
        await ask_many(client, 200)

    wire = play(scene, [refusal("Please try again in 20s.", calls=[1])], limits={"rpm": 600}, start="empty")
    back = [call.at_s for call in wire.calls if call.at_s > 15]
    assert back[0] >= 20
    assert max(sum(at <= other < at + 1 for other in back) for at in back) < 120
    assert wire.statuses().count(429) <= 2


# what the header says of it, and what the policy allows


@pytest.mark.parametrize(("said", "sent"), [("false", 1), ("true", 2)])
def test_the_servers_own_word_on_retrying_is_heeded(said: str, sent: int) -> None:
    async def scene(wire: Wire, client: AsyncOpenAI) -> None:
        receive = wire.service.receive

        def with_word(*args: Any, **kwargs: Any) -> Any:
            reply = receive(*args, **kwargs)
            reply.headers.append(("x-should-retry", said))
            return reply

        wire.service.receive = with_word  # type: ignore[method-assign]
        if said == "false":
            with pytest.raises(openai.RateLimitError):
                await ask(client)
        else:
            await ask(client)

    assert len(play(scene, [refusal("Please try again in 1s.", times=1)]).calls) == sent


def test_what_exceeds_the_bucket_teaches_the_limit_and_is_refused_here_the_next_time() -> None:
    async def scene(wire: Wire, client: AsyncOpenAI) -> None:
        body = {"messages": [{"role": "user", "content": "word " * 4000}]}
        with pytest.raises(openai.RateLimitError, match="too large"):
            await ask(client, **body)
        (pool,) = throttle.limiter_of(client).snapshot().pools.values()
        assert (pool.meters["tpm"].limit, pool.meters["tpm"].origin) == (3000, "server")
        with pytest.raises(throttle.RequestTooLarge):
            await ask(client, **body)

    told = (
        "Request too large for gpt-4o-mini in organization org-x on tokens per min (TPM): Limit 3000, Requested 5002."
    )
    assert len(play(scene, [refusal(told, times=1)]).calls) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_is_sent_more_often_than_its_policy_allows(stream: bool) -> None:
    async def scene(wire: Wire, client: AsyncOpenAI) -> None:
        answers = await asyncio.gather(*(ask(client, stream=stream) for _ in range(4)), return_exceptions=True)
        assert all(isinstance(answer, openai.RateLimitError) for answer in answers)

    wire = play(scene, [refusal("Please try again in 10ms.")], retry=Retry(attempts=3, jitter=0))
    assert len(wire.calls) == 12


def test_without_a_policy_a_refusal_pauses_the_pool_and_the_sdk_alone_sends_again() -> None:
    async def scene(wire: Wire, client: AsyncOpenAI) -> None:
        with pytest.raises(openai.RateLimitError):
            await ask(client)
        assert throttle.limiter_of(client).wait_time(MODEL) > 1

    wire = play(scene, [refusal("Please try again in 3s.")], retry=None, max_retries=1)
    assert len(wire.calls) == 2
    assert gaps(wire)[0] >= 3


def test_a_generators_content_can_not_be_sent_twice_and_is_not() -> None:
    async def scene(wire: Wire, client: AsyncOpenAI) -> None:
        async def pieces() -> Any:
            yield b'{"model": "gpt-4o-mini", '
            yield b'"messages": [{"role": "user", "content": "hello"}]}'

        with pytest.raises(openai.RateLimitError):
            await client.post(
                "/chat/completions",
                cast_to=object,
                content=pieces(),
                options={"headers": {"content-type": "application/json"}},
            )

    assert len(play(scene, [refusal("Please try again in 1s.", times=1)]).calls) == 1


# streams


@pytest.mark.parametrize(
    ("code", "message", "least_s"),
    [("rate_limit_exceeded", "Please try again in 30s.", 29), ("engine_overloaded", "overloaded", 0.5)],
)
@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_an_error_inside_a_stream_pauses_the_pool_and_is_not_repeated(
    endpoint: str, code: str, message: str, least_s: float
) -> None:
    async def scene(wire: Wire, client: AsyncOpenAI) -> None:
        if endpoint == "chat":
            with pytest.raises(openai.APIError):
                async for _ in await ask(client, stream=True):
                    pass
        else:
            async for _ in await client.responses.create(model=MODEL, input="hello", stream=True):
                pass
        limiter = throttle.limiter_of(client)
        assert limiter.wait_time(MODEL) > least_s
        (pool,) = limiter.snapshot().pools.values()
        assert pool.under_way == 0

    assert len(play(scene, [{"kind": "error_in_stream", "code": code, "message": message}]).calls) == 1
