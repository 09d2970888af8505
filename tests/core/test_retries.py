"""What becomes of a call that the server refuses all the same: real HTTP, and a server that is told to refuse."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

import throttle
from tests.core.virtual import VirtualLoop, run_virtually
from throttle import Retry
from throttle.costs import CallCost
from throttle.feedback.refusals import Refusal
from throttle.simulator import Simulator, in_thread

LIMITS = {"rpm": 60_000, "tpm": 6_000_000}
MESSAGES: Any = [{"role": "user", "content": "hello"}]


def refusal(**changes: Any) -> dict[str, Any]:
    """A refusal by script, for the requests meter, to come back in 20 ms."""
    message = (
        "Rate limit reached for gpt-4o-mini in organization org-x on requests per min (RPM): Limit 60000, Used 60000, "
        "Requested 20. Please try again in 20ms."
    )
    return {
        "kind": "status",
        "status": 429,
        "code": "rate_limit_exceeded",
        "message": message,
        "charged": False,
    } | changes


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Simulator]:
    with in_thread(limits=LIMITS) as server:
        yield server


@pytest.fixture
def server(shared_server: Simulator) -> Simulator:
    shared_server.reset(limits=LIMITS, start="full", faults=[], errors="openai")
    return shared_server


def wrap(server: Simulator, max_retries: int = 2, **options: Any) -> OpenAI:
    client = OpenAI(base_url=server.base_url, api_key="sk-test", max_retries=max_retries)
    return throttle.wrap(client, limiter=throttle.Limiter(LIMITS), **options)


def ask(client: OpenAI) -> None:
    client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)


def attempts(server: Simulator) -> list[int]:
    return [call.status for call in server.calls()]


def assert_nothing_is_left(client: OpenAI | AsyncOpenAI, refused: int) -> None:
    (pool,) = throttle.limiter_of(client).snapshot().pools.values()
    assert (pool.waiting, pool.under_way, pool.refused) == (0, 0, refused)


def test_a_refused_call_is_sent_again_by_us_alone(server: Simulator) -> None:
    server.control(faults=[refusal(times=3)])
    client = wrap(server, max_retries=0, retry=Retry(initial_s=0.01))
    ask(client)
    assert attempts(server) == [429, 429, 429, 200]
    assert_nothing_is_left(client, refused=3)


def test_refusals_and_the_sdks_own_retries_do_not_multiply(server: Simulator) -> None:
    server.control(faults=[refusal(), {"kind": "500"}])
    client = wrap(server, max_retries=2, retry=Retry(attempts=4, initial_s=0.01))
    with pytest.raises(openai.RateLimitError):
        ask(client)
    assert attempts(server) == [429] * 4
    assert_nothing_is_left(client, refused=4)


def test_other_errors_are_the_sdks_alone(server: Simulator) -> None:
    server.control(faults=[{"kind": "503"}])
    client = wrap(server, max_retries=1)
    with pytest.raises(openai.InternalServerError):
        ask(client)
    assert attempts(server) == [503, 503]
    assert_nothing_is_left(client, refused=0)


def test_without_a_policy_the_sdk_treats_refusals_as_it_always_does(server: Simulator) -> None:
    server.control(faults=[refusal()])
    client = wrap(server, max_retries=1, retry=None)
    with pytest.raises(openai.RateLimitError):
        ask(client)
    assert attempts(server) == [429, 429]
    assert_nothing_is_left(client, refused=2)


def test_a_list_of_delays_bounds_the_attempts(server: Simulator) -> None:
    server.control(faults=[refusal()])
    client = wrap(server, retry=[0.010, 0.015, 0.050])
    with pytest.raises(openai.RateLimitError, match="Rate limit reached"):
        ask(client)
    assert attempts(server) == [429] * 4


def test_a_policy_for_some_calls_only(server: Simulator) -> None:
    server.control(faults=[refusal()])
    client = wrap(server)
    with throttle.options(retry=Retry(attempts=1)), pytest.raises(openai.RateLimitError):
        ask(client)
    with throttle.options(retry=None), pytest.raises(openai.RateLimitError):
        ask(client.with_options(max_retries=0))
    assert attempts(server) == [429, 429]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "quota"},
        refusal(
            message="Request too large for gpt-4o-mini in organization org-x on tokens per min (TPM): Limit 10, "
            "Requested 99. "
            "The input or output tokens must be reduced in order to run successfully."
        ),
    ],
)
def test_what_can_never_go_is_sent_once_and_charged_nothing(server: Simulator, fault: dict[str, Any]) -> None:
    server.control(faults=[fault])
    client = wrap(server)
    with pytest.raises(openai.RateLimitError):
        ask(client)
    assert attempts(server) == [429]
    (pool,) = throttle.limiter_of(client).snapshot().pools.values()
    assert (pool.under_way, pool.admitted) == (0, 0)


def test_an_overload_is_no_matter_of_our_level(server: Simulator) -> None:
    server.control(faults=[refusal(code="slow_down", message="Slow down", times=1)])
    client = wrap(server, retry=Retry(initial_s=0.01, errors=("overloaded",)))
    ask(client)
    assert attempts(server) == [429, 200]
    assert_nothing_is_left(client, refused=0)


def test_a_policy_narrows_which_refusals_are_sent_again(server: Simulator) -> None:
    server.control(faults=[refusal()])
    with pytest.raises(openai.RateLimitError):
        ask(wrap(server, retry=Retry(errors="overloaded")))
    assert attempts(server) == [429]


def test_max_wait_counts_the_waits_of_all_attempts(server: Simulator) -> None:
    server.control(faults=[refusal(message="Rate limit reached. Please try again in 9s.", code="rate_limit_exceeded")])
    client = wrap(server)
    with (
        throttle.options(max_wait=5),
        pytest.raises(
            throttle.WaitTimeout, match=r"may wait 4\.9\d* s at most.*held by a pause that the server asked for"
        ),
    ):
        ask(client)
    assert attempts(server) == [429]


def test_other_pools_are_not_touched_by_a_pause() -> None:
    limits = {
        "version": 1,
        "families": {"one": {"models": ["gpt-4o"]}, "two": {"models": ["gpt-4o-mini"]}},
        "tiers": {"tier-1": {"one": {"rpm": 6000}, "two": {"rpm": 6000}}},
    }
    with in_thread(
        limits={"rpm": 6000}, faults=[refusal(model="gpt-4o", message="Please try again in 30s.")]
    ) as server:
        client = throttle.wrap(
            OpenAI(base_url=server.base_url, api_key="sk-test", max_retries=0),
            limiter=throttle.Limiter(limits),
            retry=Retry(attempts=1),
        )
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        limiter = throttle.limiter_of(client)
        assert limiter.wait_time("gpt-4o") > 20
        ask(client)
        assert limiter.wait_time("gpt-4o-mini") < 1


def test_async_calls_are_sent_again_and_streams_too(server: Simulator) -> None:
    async def main() -> None:
        server.control(faults=[refusal(times=2)])
        async with AsyncOpenAI(base_url=server.base_url, api_key="sk-test", max_retries=0) as plain:
            client = throttle.wrap(plain, limiter=throttle.Limiter(LIMITS))
            stream = await client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, stream=True)
            assert [chunk async for chunk in stream]
            assert attempts(server) == [429, 429, 200]
            assert_nothing_is_left(client, refused=2)

    asyncio.run(main())


class _Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize(("file", "sent"), [(io.BytesIO(b"RIFF" * 50), [429, 200]), (_Unseekable(b"RIFF" * 50), [429])])
def test_a_file_is_wound_back_and_what_can_not_be_sent_twice_is_not(
    server: Simulator, file: io.BytesIO, sent: list[int]
) -> None:
    server.control(faults=[refusal(times=1)])
    client = wrap(server)
    try:
        client.audio.transcriptions.create(model="whisper-1", file=("sound.wav", file))
    except openai.RateLimitError:
        assert sent == [429]
    assert attempts(server) == sent


def test_the_refused_call_goes_first_when_the_pause_ends() -> None:
    cost = CallCost({"model": "m", "input": "x"}, "/embeddings")

    async def main(loop: VirtualLoop) -> list[tuple[str, float]]:
        limiter = throttle.Limiter({"rpm": 600}, clock=loop.now_us)
        went: list[tuple[str, float]] = []

        async def call(name: str, again: throttle.Permit | None = None) -> throttle.Permit:
            permit = await limiter.permit_for("", "api.openai.com", cost, again=again)
            went.append((name, loop.time()))
            return permit

        refused = await call("refused")
        refused.refused(Refusal(kind="rate", retry=True, unit="requests", wait_s=5.0), Retry(jitter=0))
        others = [asyncio.ensure_future(call(f"later {i}")) for i in range(3)]
        await asyncio.sleep(1)
        await asyncio.gather(call("again", again=refused), *others)
        return went[1:]

    went = run_virtually(main)
    assert [name for name, _ in went] == ["again", "later 0", "later 1", "later 2"]
    assert all(at_s >= 5 for _, at_s in went)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"attempts": 0}, "attempts=0"),
        ({"base": 0.5}, "base=0.5"),
        ({"errors": ("quota",)}, "only rate, overloaded"),
        ({"delays_s": (-1.0,)}, "0 or more"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Retry(**values)


def test_delays_grow_to_the_maximum_and_are_only_ever_lengthened() -> None:
    policy = Retry(initial_s=1, base=2, maximum_s=8, jitter=0.5)
    for attempt, least in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (500, 8)]:
        assert all(least <= policy.delay_s(attempt, None) <= 1.5 * least for _ in range(20))
    assert all(5 <= policy.delay_s(1, 5.0) <= 5.1 for _ in range(20))
    assert Retry(delays_s=(0.1, 0.2), jitter=0).delay_s(2, 0.05) == 0.2
