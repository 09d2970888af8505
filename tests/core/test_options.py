"""Options for calls in a context, and what is learned from answers as they are read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

import throttle
from tests.core.virtual import VirtualLoop, run_virtually
from throttle.context import current_options
from throttle.costs import CallCost
from throttle.outcome import Tally, outcome_of, watch
from throttle.simulator import Simulator, in_thread

LIMITS = {"rpm": 60_000, "tpm": 6_000_000}
MESSAGES: Any = [{"role": "user", "content": "Tell me something about the sea"}]


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Simulator]:
    with in_thread(limits=LIMITS, output_tokens=7) as server:
        yield server


@pytest.fixture
def server(shared_server: Simulator) -> Simulator:
    shared_server.reset(limits=LIMITS, start="full", faults=[], charge="usage", output_tokens=7)
    return shared_server


def wrap(server: Simulator, charge: str = "usage") -> OpenAI:
    table = {
        "version": 1,
        "families": {"all": {"models": ["*"], "charge": charge}},
        "tiers": {"tier-1": {"all": LIMITS}},
    }
    client = OpenAI(base_url=server.base_url, api_key="sk-test")
    return throttle.wrap(client, limiter=throttle.Limiter(table))


def charged(client: OpenAI) -> float:
    """What our own books hold against the tokens meter."""
    (pool,) = throttle.limiter_of(client)._routing.gates
    (meter,) = [meter for meter in pool.pool.meters if meter.name == "tpm"]
    ledger = meter.ledger  # type: ignore[attr-defined]
    return float(sum(ledger.totals) - sum(amount for _, _, _, amount, _, _ in ledger.voids))


# options


def test_options_nest_and_end_with_their_block() -> None:
    with throttle.options(max_wait=30):
        with throttle.options(tokens=5, delay=(3, 6)):
            assert (current_options().max_wait, current_options().tokens) == (30, 5)
        assert (current_options().max_wait, current_options().tokens) == (30, None)
    assert current_options().max_wait is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_wait": -1}, r"options\(max_wait=-1\): a number of 0 or more"),
        ({"max_wait": float("nan")}, "max_wait=nan"),
        ({"tokens": "many"}, "tokens='many'"),
        ({"delay": (6, 3)}, r"delay=\(6, 3\)\): seconds, or a pair of them such as \(3, 6\)"),
        ({"delay": -1}, "delay=-1"),
        ({"key": 5}, "key=5"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message), throttle.options(**values):
        pass


def test_an_unknown_option_names_those_that_there_are() -> None:
    with pytest.raises(TypeError, match="no 'max_wiat'; there are: max_wait, tokens, delay, key, retry"):
        throttle.options(max_wiat=3).__enter__()


def test_a_delay_separates_the_calls_of_one_key_and_leaves_others_alone() -> None:
    async def main(loop: VirtualLoop) -> list[tuple[str, float]]:
        limiter = throttle.Limiter({"rpm": 6000}, clock=loop.now_us)
        went: list[tuple[str, float]] = []

        async def call(user: str | None) -> None:
            cost = CallCost({"model": "m", "input": "x"}, "/embeddings")
            await limiter.permit_for("", "api.openai.com", cost, delay_s=3.0, key=user)
            went.append((user or "-", round(loop.time(), 2)))

        for user in ("ann", "bob", "ann", None, "ann", "bob"):
            loop.create_task(call(user))
        await asyncio.sleep(20)
        return went

    went = run_virtually(main)
    assert [round(at) for user, at in went if user == "ann"] == [0, 3, 6]
    assert [round(at) for user, at in went if user == "bob"] == [0, 3]
    assert [round(at) for user, at in went if user == "-"] == [3]


def test_smooth_pacing_spreads_calls_evenly() -> None:
    async def main(loop: VirtualLoop) -> list[float]:
        limiter = throttle.Limiter({"rpm": 20}, pacing="smooth", clock=loop.now_us)
        went: list[float] = []

        async def call() -> None:
            permit = limiter.permit_for("", "api.openai.com", CallCost({"model": "m", "input": "x"}, "/embeddings"))
            async with permit:
                went.append(loop.time())
                level = limiter.snapshot().pools["default"].meters["rpm"].level
                permit.observe(
                    {
                        "x-ratelimit-limit-requests": "20",
                        "x-ratelimit-remaining-requests": str(max(0, int(level))),
                        "x-ratelimit-reset-requests": f"{(20 - max(0, int(level))) * 3}s",
                    }
                )

        for _ in range(12):
            loop.create_task(call())
        await asyncio.sleep(120)
        return went

    gaps = [later - earlier for earlier, later in pairwise(run_virtually(main))]
    assert len(gaps) == 11
    assert all(gap >= 2.9 for gap in gaps[2:])


def test_pacing_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="one of auto, burst, smooth is wanted"):
        throttle.Limiter({"rpm": 1}, pacing="even")  # type: ignore[arg-type]


# what answers tell


def test_what_the_server_books_as_usage_is_settled_to_what_the_answer_used(server: Simulator) -> None:
    client = wrap(server)
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, max_tokens=1000)
    assert answer.usage is not None
    assert charged(client) == answer.usage.total_tokens


def test_a_raw_response_is_settled_too(server: Simulator) -> None:
    client = wrap(server)
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=MESSAGES, max_tokens=1000)
    usage = raw.parse().usage
    assert usage is not None
    assert charged(client) == usage.total_tokens


@pytest.mark.parametrize("include", [True, False])
def test_a_stream_is_settled_by_its_usage_or_by_the_text_that_came(server: Simulator, include: bool) -> None:
    client = wrap(server)
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o-mini",
            messages=MESSAGES,
            max_tokens=1000,
            stream=True,
            stream_options={"include_usage": include},
        )
    )
    usage = [chunk.usage for chunk in chunks if chunk.usage]
    if include:
        assert charged(client) == usage[0].total_tokens
    else:
        assert 13 < charged(client) < 60


def test_a_stream_left_early_is_settled_and_ends_its_permit(server: Simulator) -> None:
    client = wrap(server)
    stream = client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, max_tokens=1000, stream=True)
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            break
    stream.close()
    (pool,) = throttle.limiter_of(client).snapshot().pools.values()
    assert pool.under_way == 0
    assert charged(client) < 60


def test_an_async_stream_is_settled(server: Simulator) -> None:
    async def main() -> None:
        async with AsyncOpenAI(base_url=server.base_url, api_key="sk-test") as plain:
            client = throttle.wrap(plain, limiter=throttle.limiter_of(sync))
            stream = await client.responses.create(model="gpt-4o-mini", input="hello", stream=True)
            usage = [event.response.usage async for event in stream if event.type == "response.completed"]
            assert usage[0] is not None
            assert charged(sync) == usage[0].total_tokens

    sync = wrap(server)
    asyncio.run(main())


def test_what_answers_use_is_expected_of_the_next_ones(server: Simulator) -> None:
    client = wrap(server)
    limiter = throttle.limiter_of(client)
    assert limiter.expected_output("gpt-4o-mini", "/chat/completions") is None
    for _ in range(10):
        client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    assert limiter.expected_output("gpt-4o-mini", "/chat/completions") == 7


def test_an_error_inside_a_stream_pauses_the_pool(server: Simulator) -> None:
    server.control(
        faults=[{"kind": "error_in_stream", "code": "rate_limit_exceeded", "message": "Please try again in 30s."}]
    )
    client = wrap(server)
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, stream=True))
    assert throttle.limiter_of(client).wait_time("gpt-4o-mini") > 20


def test_a_stream_is_handed_on_event_by_event_with_nothing_read_ahead() -> None:
    read: list[int] = []

    def events() -> Iterator[int]:
        for number in range(5):
            read.append(number)
            yield number

    ended: list[BaseException | None] = []
    watched = watch(events(), Tally(), ended.append)
    assert next(watched) == 0
    assert read == [0]
    del watched
    assert ended == [None]


def test_an_answer_without_usage_tells_nothing() -> None:
    assert outcome_of(object()) == outcome_of({"no": "usage"})
    assert outcome_of(object()).tokens is None
