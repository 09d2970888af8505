"""How calls are spread in time, and what the person who waits is told: a wrapped client in virtual time."""

from __future__ import annotations

import asyncio
import gc
import json
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionChunk

import throttle
from tests.core.virtual import VirtualLoop, run_virtually
from tests.refusals.wire import MESSAGES, MODEL, Wire, sdk_client
from throttle.outcome import Tally
from throttle.pool import Pool, Ticket
from throttle.simulator import running

TWENTY = {"rpm": 20}


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


def sent_by(wire: Wire, user: str) -> list[float]:
    return [call.at_s for call in wire.calls if json.loads(call.body)["user"] == user]


def test_smooth_pacing_sends_twenty_a_minute_three_seconds_apart_from_a_full_bucket_too() -> None:
    async def main(loop: VirtualLoop) -> Wire:
        wire = Wire(loop, limits=TWENTY, latency_s=(0.2, 1.0))
        limiter = throttle.Limiter(TWENTY, pacing="smooth", clock=loop.now_us)
        client = throttle.wrap(sdk_client(wire), limiter=limiter)
        await asyncio.gather(
            *(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True) for _ in range(30))
        )
        return wire

    wire = run_virtually(main)
    assert wire.statuses() == [200] * 30
    assert min(gaps(wire.sent_at())) > 2.5
    assert wire.sent_at()[-1] < 29 * 3.0 * 1.15


def test_a_delay_is_drawn_for_each_call_of_a_user_and_holds_nobody_else_up() -> None:
    async def main(loop: VirtualLoop) -> Wire:
        wire = Wire(loop, limits={"rpm": 6000}, latency_s=0.1, keep_bodies=True)
        client = throttle.wrap(sdk_client(wire), limiter=throttle.Limiter({"rpm": 6000}, clock=loop.now_us))

        async def ask(user: str) -> None:
            with throttle.options(delay=(3, 6), key=user):
                await client.chat.completions.create(model=MODEL, messages=MESSAGES, user=user)

        await asyncio.gather(*(ask("ann") for _ in range(8)), ask("bob"), *(ask("cleo") for _ in range(3)))
        return wire

    wire = run_virtually(main)
    apart = gaps(sent_by(wire, "ann"))
    assert len(apart) == 7
    assert all(2.95 <= gap <= 6.05 for gap in apart)
    assert len({round(gap, 3) for gap in apart}) > 4
    assert sent_by(wire, "bob")[0] < 1
    assert sent_by(wire, "cleo")[0] < 1


def test_a_delay_comes_before_the_first_attempt_only() -> None:
    fault = {"kind": "status", "status": 429, "code": "rate_limit_exceeded", "charged": False, "times": 2}

    async def main(loop: VirtualLoop) -> Wire:
        wire = Wire(loop, limits={"rpm": 6000}, faults=[{**fault, "message": "Please try again in 100ms."}])
        client = throttle.wrap(sdk_client(wire), limiter=throttle.Limiter({"rpm": 6000}, clock=loop.now_us))
        with throttle.options(delay=30):
            await client.chat.completions.create(model=MODEL, messages=MESSAGES)
        return wire

    sent = run_virtually(main).sent_at()
    assert sent[0] >= 30
    assert max(gaps(sent)) < 3


def test_the_person_who_waits_is_told_the_truth() -> None:
    async def main(loop: VirtualLoop) -> list[tuple[float, float]]:
        wire = Wire(loop, limits={"rpm": 60}, latency_s=0.3)
        limiter = throttle.Limiter({"rpm": 60}, clock=loop.now_us)
        client = throttle.wrap(sdk_client(wire), limiter=limiter)
        told: list[tuple[float, float]] = []

        async def ask() -> None:
            foretold_s, begun_s = limiter.wait_time(MODEL), loop.time()
            await client.chat.completions.create(model=MODEL, messages=MESSAGES)
            told.append((foretold_s, loop.time() - begun_s - 0.32))

        tasks = [asyncio.ensure_future(ask()) for _ in range(65)]
        await asyncio.sleep(5)
        tasks += [asyncio.ensure_future(ask()) for _ in range(30)]
        await asyncio.gather(*tasks)
        return told[65:]

    for foretold_s, waited_s in run_virtually(main):
        assert foretold_s == pytest.approx(waited_s, rel=0.1, abs=1.5)


USAGE_BOOKED = {
    "version": 1,
    "families": {"all": {"models": ["*"], "charge": "usage"}},
    "tiers": {"tier-1": {"all": {"rpm": 600, "tpm": 10_000}}},
}


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What permits are settled to."""
    amounts: list[float] = []
    settle = Pool.settle

    def noting(self: Pool, now_us: int, ticket: Ticket, unit: str, amount: float) -> None:
        amounts.append(amount)
        settle(self, now_us, ticket, unit, amount)

    monkeypatch.setattr(Pool, "settle", noting)
    return amounts


@pytest.mark.parametrize("how", ["break", "close", "read"])
@pytest.mark.parametrize("include_usage", [True, False])
def test_a_stream_is_settled_however_it_ends(how: str, include_usage: bool, settled: list[float]) -> None:
    estimate = throttle.estimate({"model": MODEL, "messages": MESSAGES})

    async def main(loop: VirtualLoop) -> None:
        wire = Wire(loop, limits={"rpm": 600, "tpm": 10_000}, charge="usage", output_tokens=8, latency_s=0.2)
        limiter = throttle.Limiter(USAGE_BOOKED, clock=loop.now_us)
        client = throttle.wrap(sdk_client(wire), limiter=limiter)
        more: Any = {"stream_options": {"include_usage": True}} if include_usage else {}
        stream = await client.chat.completions.create(
            model=MODEL, messages=MESSAGES, max_tokens=4000, stream=True, **more
        )
        async for chunk in stream:
            if how != "read" and chunk.choices and chunk.choices[0].delta.content:
                break
        if how == "close":
            await stream.close()
        del stream
        for _ in range(3):  # the SDK's generator ends, and then the one inside it
            gc.collect()
            await asyncio.sleep(0.1)
        (pool,) = limiter.snapshot().pools.values()
        assert pool.under_way == 0
        (tokens,) = settled
        output_tokens = tokens - estimate.input_tokens
        assert output_tokens == 8 if include_usage and how == "read" else 0 < output_tokens <= 16

    run_virtually(main)


def test_a_stream_that_is_collected_while_its_limiter_is_at_work_does_not_wait_for_it(settled: list[float]) -> None:
    async def main(loop: VirtualLoop) -> None:
        wire = Wire(loop, limits={"rpm": 600, "tpm": 10_000}, charge="usage", output_tokens=8, latency_s=0.2)
        limiter = throttle.Limiter(USAGE_BOOKED, clock=loop.now_us)
        client = throttle.wrap(sdk_client(wire), limiter=limiter)
        stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        chunks = aiter(stream)
        while not (await anext(chunks)).choices[0].delta.content:
            pass
        with limiter._lock:
            del stream, chunks
            for _ in range(3):
                gc.collect()
                await asyncio.sleep(0.1)
            assert settled == []
        limiter.snapshot()
        assert len(settled) == 1

    run_virtually(main)


@pytest.mark.parametrize("how", ["parse", "text", "json", "by pieces", "unread"])
def test_an_answer_that_is_read_later_is_settled_if_it_is_read_as_a_whole(how: str, settled: list[float]) -> None:
    with (
        running(limits={"rpm": 600, "tpm": 10_000}, charge="usage", output_tokens=8) as server,
        OpenAI(base_url=server.base_url, api_key="sk-test") as client,
    ):
        limiter = throttle.Limiter(USAGE_BOOKED)
        completions = throttle.wrap(client, limiter=limiter).chat.completions
        with completions.with_streaming_response.create(model=MODEL, messages=MESSAGES) as response:
            assert limiter.snapshot().pools["all"].under_way == 1
            if how == "by pieces":
                assert [*response.iter_bytes()]
            elif how != "unread":
                assert getattr(response, how)()
        assert limiter.snapshot().pools["all"].under_way == 0
    used = throttle.estimate({"model": MODEL, "messages": MESSAGES}).input_tokens + 8
    assert settled == ([] if how in ("by pieces", "unread") else [used])


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "twelve bytes"},
        {"refusal": "twelve bytes"},
        {"tool_calls": [{"index": 0, "function": {"name": "name", "arguments": "12345678"}}]},
    ],
)
def test_whatever_text_a_stream_brings_is_counted_where_it_tells_no_usage(delta: Any) -> None:
    tally = Tally()
    told = {"id": "x", "created": 1, "model": MODEL, "object": "chat.completion.chunk"}
    choices = [{"index": 0, "delta": delta, "finish_reason": None}]
    tally.see(ChatCompletionChunk.model_validate({**told, "choices": choices}))
    assert tally.outcome(10).tokens == 10 + 12 // 4


@pytest.mark.parametrize(
    ("kind", "tokens"),
    [
        ("response.output_text.delta", 13),
        ("response.function_call_arguments.delta", 13),
        ("response.refusal.delta", 13),
        ("response.audio.delta", None),
    ],
)
def test_so_is_that_of_the_events_of_a_response(kind: str, tokens: int | None) -> None:
    tally = Tally()
    tally.see(SimpleNamespace(type=kind, delta="twelve bytes"))
    assert tally.outcome(10).tokens == tokens
