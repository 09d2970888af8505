"""The simulator over real HTTP, as the openai SDK sees it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from throttle.simulator import Admission, Judge, Simulator, embedding_of, in_thread, one_pool, running

HELLO: Any = [{"role": "user", "content": "hello there"}]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with in_thread(limits={"rpm": 100_000, "tpm": 10_000_000}) as running:
        yield running


@pytest.fixture
def client(simulator: Simulator) -> Iterator[OpenAI]:
    with OpenAI(base_url=simulator.base_url, api_key="any", max_retries=0) as made:
        yield made


@pytest.fixture
def small() -> Iterator[Callable[..., tuple[Simulator, OpenAI]]]:
    """Start a simulator with settings of the test's own, and a client for it."""
    stops: list[Callable[[], object]] = []

    def start(**settings: Any) -> tuple[Simulator, OpenAI]:
        context = in_thread(**settings)
        simulator = context.__enter__()
        client = OpenAI(base_url=simulator.base_url, api_key="any", max_retries=0)
        stops.extend([lambda: context.__exit__(None, None, None), client.close])
        return simulator, client

    yield start
    for stop in reversed(stops):
        stop()


def test_a_chat_completion_has_its_usage_and_the_headers(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO, max_tokens=5, n=2)
    completion = raw.parse()
    assert [choice.index for choice in completion.choices] == [0, 1]
    assert {choice.finish_reason for choice in completion.choices} == {"length"}
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (9, 10)
    assert completion._request_id == raw.headers["x-request-id"]
    assert raw.headers["x-ratelimit-limit-tokens"] == "10000000"
    assert int(raw.headers["openai-processing-ms"]) >= 0


def test_a_stream_of_chunks_tells_its_usage_when_asked(client: OpenAI) -> None:
    options: Any = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o", messages=HELLO, max_tokens=4, stream=True, stream_options=options
        )
    )
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert len(said.split()) == 4
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 4
    without = list(client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True))
    assert all(chunk.usage is None for chunk in without)


class Place(BaseModel):
    name: str
    population: int
    tags: list[str]
    near: Place | None


def test_structured_answers_fit_their_schema(client: OpenAI) -> None:
    parsed = client.chat.completions.parse(model="gpt-4o", messages=HELLO, response_format=Place)
    assert isinstance(parsed.choices[0].message.parsed, Place)
    answer = client.responses.parse(model="gpt-4o", input="hello", text_format=Place)
    assert isinstance(answer.output_parsed, Place)


def test_a_tool_that_must_be_called_is_called(client: OpenAI) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    whole = client.chat.completions.create(model="gpt-4o", messages=HELLO, tools=tools, tool_choice="required")
    (call,) = whole.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"city": "word"}
    assert whole.choices[0].finish_reason == "tool_calls"
    with client.chat.completions.stream(
        model="gpt-4o", messages=HELLO, tools=tools, tool_choice={"type": "function", "function": {"name": "weather"}}
    ) as stream:
        final = stream.get_final_completion()
    (called,) = final.choices[0].message.tool_calls or []
    assert called.function.name == "weather"
    tool: Any = {"type": "function", "name": "weather", "parameters": parameters}
    answer = client.responses.create(model="gpt-4o", input="hi", tools=[tool], tool_choice="required")
    assert answer.output[0].type == "function_call"


def test_a_response_whole_or_streamed_is_the_same(client: OpenAI) -> None:
    whole = client.responses.create(model="gpt-4o", input="hello there", instructions="be brief", max_output_tokens=3)
    assert whole.status == "incomplete"
    assert whole.usage is not None
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (15, 3)
    with client.responses.stream(model="gpt-4o", input="hello there") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert len(final.output_text.split()) == 16


def test_legacy_completions_number_their_choices_by_prompt_and_n(
    small: Callable[..., tuple[Simulator, OpenAI]],
) -> None:
    _, client = small(echo=True)
    answer = client.completions.create(model="gpt-3.5-turbo-instruct", prompt=["one", "two", "three"], n=2)
    assert [(choice.index, choice.text) for choice in answer.choices] == [
        (0, "one"),
        (1, "one"),
        (2, "two"),
        (3, "two"),
        (4, "three"),
        (5, "three"),
    ]
    assert client.completions.create(model="gpt-3.5-turbo-instruct", prompt=[1, 2, 3]).usage.prompt_tokens == 3  # type: ignore[union-attr]
    streamed = list(client.completions.create(model="gpt-3.5-turbo-instruct", prompt=["a", "b"], stream=True))
    assert {chunk.choices[0].index for chunk in streamed} == {0, 1}


@pytest.mark.parametrize(
    "asked", [{}, {"encoding_format": "float"}]
)  # the SDK asks for base64 by default, and decodes it
def test_embeddings_of_texts_and_of_tokens(client: OpenAI, asked: dict[str, Any]) -> None:
    answer = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"], dimensions=256, **asked)
    assert [each.index for each in answer.data] == [0, 1]
    assert answer.data[1].embedding == pytest.approx(embedding_of("two", 256).tolist())
    assert client.embeddings.create(model="text-embedding-3-small", input=[[1, 2], [3]]).usage.prompt_tokens == 3
    assert len(client.embeddings.create(model="text-embedding-3-large", input="one").data[0].embedding) == 3072


def test_models_are_listed(client: OpenAI) -> None:
    assert "gpt-4o" in {model.id for model in client.models.list()}
    assert client.models.retrieve("gpt-4o").id == "gpt-4o"


def test_a_refusal_is_the_sdks_rate_limit_error(small: Callable[..., tuple[Simulator, OpenAI]]) -> None:
    simulator, client = small(limits={"rpm": 1, "tpm": 1000}, retry_after=True)
    client.chat.completions.create(model="gpt-4o", messages=HELLO)
    with pytest.raises(
        openai.RateLimitError, match=r"requests per min \(RPM\): Limit 1, Used 1, Requested 1\. Please"
    ) as caught:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    headers = caught.value.response.headers
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert 30_000 < int(headers["retry-after-ms"]) <= 60_000
    assert int(headers["retry-after"]) == -(-int(headers["retry-after-ms"]) // 1000)
    with pytest.raises(openai.RateLimitError, match="Request too large for gpt-4o"):
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "x" * 4000}])
    summary = simulator.summary()
    assert (summary.calls, summary.admitted, summary.refused) == (3, 1, 2)
    assert summary.by_refused == {"rpm": 1, "tpm": 1}
    assert summary.by_status == {"200": 1, "429": 2}
    first, second, third = simulator.calls()
    assert (first.admitted, first.charge, first.levels) == (True, {"requests": 1, "tokens": 5}, {"rpm": 1, "tpm": 1000})
    assert (second.refused_by, second.status) == ("rpm", 429)
    assert (third.refused_by, third.told_s) == ("tpm", None)
    assert simulator.calls(after=2)[0].number == 3


def test_no_retry_after_unless_asked_for(small: Callable[..., tuple[Simulator, OpenAI]]) -> None:
    _, client = small(limits={"rpm": 1})
    client.chat.completions.create(model="gpt-4o", messages=HELLO)
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert "retry-after" not in caught.value.response.headers


def test_mistakes_get_the_apis_own_answers(small: Callable[..., tuple[Simulator, OpenAI]]) -> None:
    simulator, client = small(limits={"gpt-4o": {"rpm": 100, "tpm": 10_000}}, keys=["any"])
    with pytest.raises(openai.NotFoundError, match="The model `gpt-9` does not exist"):
        client.chat.completions.create(model="gpt-9", messages=HELLO)
    with pytest.raises(openai.AuthenticationError, match="Incorrect API key provided"):
        client.with_options(api_key="sk-wrong").chat.completions.create(model="gpt-4o", messages=HELLO)
    with pytest.raises(openai.BadRequestError, match="empty array") as caught:
        client.chat.completions.create(model="gpt-4o", messages=[])
    assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "99"
    with pytest.raises(openai.NotFoundError, match="Invalid URL"):
        client.post("/nonsense", body={}, cast_to=object)
    assert [call.status for call in simulator.calls()] == [404, 401, 400, 404]


def test_an_azure_client_finds_its_deployment(simulator: Simulator) -> None:
    with openai.AzureOpenAI(azure_endpoint=simulator.url, api_key="any", api_version="2024-10-21") as client:
        answer = client.chat.completions.create(model="my-deployment", messages=HELLO)
    assert answer.model == "my-deployment"
    assert simulator.calls()[-1].endpoint == "chat/completions"


async def ask_twice(base_url: str) -> list[str | None]:
    async with AsyncOpenAI(base_url=base_url, api_key="any", max_retries=0) as client:
        whole = await client.chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=2)
        stream = await client.chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=2, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    return [whole.choices[0].message.content, "".join(pieces)]


def test_async_clients_are_served_alike(simulator: Simulator) -> None:
    first, second = asyncio.run(ask_twice(simulator.base_url))
    assert first is not None
    assert second is not None
    assert len(first.split()) == len(second.split()) == 2


def test_control_changes_limits_and_reset_begins_anew(small: Callable[..., tuple[Simulator, OpenAI]]) -> None:
    simulator, client = small(limits={"rpm": 100, "tpm": 1000})
    client.chat.completions.create(model="gpt-4o", messages=HELLO)
    simulator.control(limits={"rpm": 100, "tpm": 9}, output_tokens=1)
    assert simulator.summary().meter("tpm").limit == 9
    assert simulator.settings()["output_tokens"] == 1
    simulator.mark()
    assert simulator.summary().calls == 0
    assert len(simulator.calls()) == 1
    simulator.reset(limits={"rpm": 50}, start="empty")
    assert simulator.calls() == []
    assert simulator.summary().meter("rpm").limit == 50
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)


def test_nothing_of_a_prompt_or_a_key_is_kept_unless_asked_for(small: Callable[..., tuple[Simulator, OpenAI]]) -> None:
    simulator, client = small()
    client.with_options(api_key="sk-secret").chat.completions.create(model="gpt-4o", messages=HELLO)
    told = json.dumps(simulator.calls()[0].plain())
    assert "secret" not in told
    assert "hello" not in told
    simulator.control(keep_bodies=True)
    client.chat.completions.create(model="gpt-4o", messages=HELLO, extra_headers={"x-mine": "yes"})
    call = simulator.calls()[1]
    assert json.loads(call.body or "")["messages"] == HELLO
    assert (call.headers or {})["x-mine"] == "yes"


async def rush(simulator: Simulator, calls: int, workers: int) -> None:
    """Send so many calls from so many workers at once, as fast as they go."""
    async with AsyncOpenAI(base_url=simulator.base_url, api_key="any", max_retries=0) as client:
        numbers = iter(range(calls))

        async def work() -> None:
            for number in numbers:
                prompt = [{"role": "user", "content": "x" * (number % 400)}]
                with suppress(openai.RateLimitError):
                    await client.chat.completions.create(model="gpt-4o", messages=prompt)  # type: ignore[arg-type]

        await asyncio.gather(*(work() for _ in range(workers)))


def test_what_was_decided_under_load_is_decided_again_from_the_record() -> None:
    """Exact live as well: from instants and charges on record the judge comes to every verdict and level again."""
    limits = {"rpm": 600, "tpm": 100_000}
    with running(limits=limits, start=0.1) as simulator:
        asyncio.run(rush(simulator, calls=600, workers=64))
        calls, summary = simulator.calls(), simulator.summary()
    judge = Judge(one_pool(**limits), start=0.1)
    for call in calls:
        at = Fraction(round(call.at_s * 10**9), 10**9)
        verdict = judge.arrive(at, call.charge)
        assert isinstance(verdict, Admission) is call.admitted
        assert {name: float(level) for name, level in verdict.levels.items()} == call.levels
    assert summary.admitted + summary.refused == 600
    assert summary.refused > 0
    assert summary.utilization <= 1
