"""A refusal that comes inside a stream is a refusal: counted, paused for, and not charged where it came first."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

import throttle
from tests.wire.driving import done, each, run
from tests.wire.pieces import answer_in_pieces, client_of, events
from throttle import Retry
from throttle.pool import PoolSnapshot

MODEL = "gpt-4o-mini"
CHARGED = 5000
LIMITS = {"rpd": 1000, "tpd": 1_000_000, "max_in_flight": 10}
RATE = {"code": "rate_limit_exceeded", "message": "Rate limit reached for gpt-4o-mini. Please try again in 30s."}
EXACT = RATE | {
    "message": "Rate limit reached for gpt-4o-mini in organization org-x on tokens per day (TPD): Limit 1000000, "
    "Used 999000, Requested 2000. Please try again in 1m26.4s."
}
OVERLOADED = {"code": "engine_overloaded", "message": "The engine is currently overloaded."}
BROKEN = {"code": "server_error", "message": "The server had an error while processing your request."}


def chunk(text: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [choice]}


def failed(error: dict[str, Any] | str) -> dict[str, Any]:
    return {"type": "response.failed", "sequence_number": 1, "response": {"id": "r", "error": error, "usage": None}}


async def chat(client: Any) -> None:
    """Read a stream to its end, which is an error."""
    stream = await done(client.chat.completions.create(model=MODEL, messages=[], stream=True))
    with pytest.raises(openai.APIError):
        async for _ in each(stream):
            pass


async def responses(client: Any) -> None:
    """Read a stream to its end, whose last event tells the error."""
    stream = await done(client.responses.create(model=MODEL, input="hello", stream=True))
    async for _ in each(stream):
        pass


async def left_at_failure(client: Any) -> None:
    """Close a stream when the event has come that tells the error."""
    stream = await done(client.responses.create(model=MODEL, input="hello", stream=True))
    async for event in each(stream):
        if event.type == "response.failed":
            await done(stream.close())
            break


async def refused(client: Any) -> None:
    """Be refused before there is a stream."""
    with pytest.raises(openai.RateLimitError):
        await done(client.chat.completions.create(model=MODEL, messages=[], stream=True))


def play(runtime: str, way: Any, error: dict[str, Any] | str, *, begun: str = "") -> tuple[PoolSnapshot, float]:
    """Make one call that ends in an error, after so much text; returns its pool, and for how long that pauses."""

    def answer(request: Any) -> Any:
        if way is refused:
            return answer_in_pieces([json.dumps({"error": error}).encode()], 429, "application/json")
        if way is chat:
            return answer_in_pieces(events(chunk(begun), {"error": error}))
        delta = {"type": "response.output_text.delta", "sequence_number": 0, "delta": begun}
        return answer_in_pieces(events(delta, failed(error), "[DONE]"))

    limiter = throttle.Limiter(LIMITS)

    async def main() -> None:
        client = throttle.wrap(client_of(runtime, answer), limiter=limiter, retry=Retry(attempts=1, jitter=0))
        with throttle.options(tokens=CHARGED):
            await way(client)

    run(runtime, main)
    (pool,) = limiter.snapshot().pools.values()
    return pool, limiter.wait_time(MODEL)


def levels(pool: PoolSnapshot) -> dict[str, float]:
    return {name: meter.level for name, meter in pool.meters.items()}


@pytest.mark.parametrize("error", [RATE, EXACT], ids=["no level", "exact"])
@pytest.mark.parametrize("way", [chat, responses, left_at_failure], ids=lambda way: way.__name__)
@pytest.mark.parametrize("runtime", ["sync", "asyncio"])
def test_a_refusal_that_comes_first_in_a_stream_is_as_one_that_comes_in_its_place(
    runtime: str, way: Any, error: dict[str, Any]
) -> None:
    expected, expected_wait_s = play(runtime, refused, error)
    pool, wait_s = play(runtime, way, error)
    assert (pool.refused, pool.under_way) == (expected.refused, expected.under_way) == (1, 0)
    assert wait_s == pytest.approx(expected_wait_s, abs=0.5)
    assert wait_s > 29
    assert levels(pool) == pytest.approx(levels(expected), abs=100)


@pytest.mark.parametrize("way", [chat, responses, left_at_failure], ids=lambda way: way.__name__)
def test_a_refusal_after_a_part_of_the_answer_is_counted_and_that_call_stays_charged(way: Any) -> None:
    pool, wait_s = play("sync", way, RATE, begun="the sea")
    assert (pool.refused, pool.under_way) == (1, 0)
    assert wait_s > 29
    assert levels(pool) == pytest.approx({"rpd": 999, "tpd": 1_000_000 - CHARGED, "max_in_flight": 10}, abs=100)


def test_an_overload_inside_a_stream_pauses_the_pool_and_is_no_refusal_for_the_rate() -> None:
    pool, wait_s = play("sync", chat, OVERLOADED)
    assert (pool.refused, pool.under_way) == (0, 0)
    assert wait_s > 0.5


@pytest.mark.parametrize("way", [chat, responses], ids=lambda way: way.__name__)
def test_any_other_error_inside_a_stream_is_no_refusal(way: Any) -> None:
    pool, wait_s = play("sync", way, BROKEN)
    assert (pool.refused, pool.under_way, wait_s) == (0, 0, 0)


def test_an_error_inside_a_stream_that_is_a_bare_text_is_read_too() -> None:
    pool, _ = play("sync", chat, "Rate limit exceeded")
    assert (pool.refused, pool.under_way) == (1, 0)
