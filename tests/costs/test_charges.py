"""What servers book, against what recorded answers told of a bucket that was full before."""

from __future__ import annotations

from typing import Any

import pytest

from throttle.costs import CHARGES, CallCost, default_charge


def chat(*contents: Any, **more: Any) -> CallCost:
    messages = [{"role": "user", "content": content} for content in contents]
    return CallCost({"model": "gpt-4o-mini", "messages": messages, **more})


def image(url: str = "https://example.test/x.png") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


@pytest.mark.parametrize(
    ("call", "booked"),
    [
        # DataDog/dd-trace-py, traceloop/openllmetry, Mirascope/mirascope, March 2025 to January 2026
        (chat("x" * 16), 6),
        (chat("x" * 36), 11),
        (chat("x" * 17, "x" * 6), 9),
        (chat("x" * 36, max_tokens=500, n=3, tools=[{"type": "function", "function": {"name": "f"}}]), 11),
        (chat([{"type": "text", "text": "x" * 22}, image()]), 773),
        (chat([{"type": "text", "text": "x" * 42}, image("data:image/png;base64,")]), 778),
        (chat([{"type": "text", "text": "x" * 63}, {"type": "file", "file": {"file_id": "f"}}]), 783),
        (chat("字" * 4), 5),
        (chat(), 1),
        (CallCost({"model": "gpt-3.5-turbo-instruct", "prompt": "x" * 43}, "/completions"), 12),
        (CallCost({"model": "gpt-3.5-turbo-instruct", "prompt": [[1, 2], [3]]}, "/completions"), 4),
        (CallCost({"model": "text-embedding-3-small", "input": ["x" * 11, "x" * 12]}, "/embeddings"), 5),
        (CallCost({"model": "text-embedding-3-small", "input": [[7, 7, 8], [9]]}, "/embeddings"), 4),
        (CallCost({"model": "omni-moderation-latest", "input": "x" * 9}, "/moderations"), 2),
    ],
)
def test_openai_books_text_by_its_bytes(call: CallCost, booked: int) -> None:
    assert call.booked("characters") == booked


def response(**more: Any) -> CallCost:
    return CallCost({"model": "gpt-4o", "input": "Say this is a test!", **more}, "/responses")


FUNCTION = {"type": "function", "name": "f", "parameters": {}}


def test_the_responses_api_books_real_input_and_an_allowance() -> None:
    call, with_function = response(), response(tools=[FUNCTION])
    assert call.booked("input") == call.input_tokens + 19
    assert with_function.booked("input") == with_function.input_tokens + 217
    hosted = response(tools=[FUNCTION, {"type": "mcp"}])
    assert hosted.booked("input") == hosted.input_tokens + 19


def test_an_image_in_the_responses_api_is_booked_765_with_the_few_words_around_it() -> None:
    # activeagents/activeagent, Mirascope/mirascope, October 2025 to January 2026: nine of nine
    parts = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": "https://x.test/x.png"},
    ]
    assert response(input=[{"role": "user", "content": parts}]).booked("input") == 765


@pytest.mark.parametrize(
    ("more", "maximum"),
    [
        ({}, 16),
        ({"max_tokens": 100}, 100),
        ({"max_completion_tokens": 30, "max_tokens": 5}, 30),
        ({"n": 3, "max_tokens": 10}, 30),
    ],
)
def test_the_maximum_is_input_and_the_most_output_allowed(more: dict[str, Any], maximum: int) -> None:
    call = chat("hello", **more)
    assert call.booked("maximum") == call.input_tokens + maximum


def test_usage_is_what_answers_are_expected_to_have_but_no_more_than_is_allowed() -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
    call = CallCost(body, expected_output=120)
    assert call.booked("usage") == call.input_tokens + 120
    assert CallCost({**body, "max_tokens": 50}, expected_output=120).booked("usage") == call.input_tokens + 50
    assert CallCost(body).booked("usage") == call.input_tokens + 256


def test_reasoning_in_the_responses_api_holds_at_least_the_allowance() -> None:
    call = CallCost({"model": "gpt-5", "input": "hello", "max_output_tokens": 20}, "/responses")
    assert call.booked("usage") == call.input_tokens + 217


@pytest.mark.parametrize("charge", CHARGES)
@pytest.mark.parametrize("endpoint", ["/audio/transcriptions", "/audio/speech", "/images/generations", "/models"])
def test_endpoints_that_cost_no_tokens_are_booked_none(charge: str, endpoint: str) -> None:
    call = CallCost({"model": "m", "prompt": "a bird", "input": "hello", "n": 2}, endpoint)
    assert call.booked(charge) == 0
    assert call.cost.tokens == 0
    assert call.cost.images == (2 if endpoint == "/images/generations" else 0)


@pytest.mark.parametrize(
    ("host", "endpoint", "model", "charge"),
    [
        ("api.openai.com", "/v1/chat/completions", "gpt-4o", "characters"),
        ("API.OpenAI.com:443", "/v1/chat/completions", "gpt-5", "characters"),
        ("eu.api.openai.com", "/embeddings", "text-embedding-3-small", "characters"),
        ("api.openai.com", "/responses", "gpt-4o", "input"),
        ("api.openai.com", "/responses", "gpt-5-mini", "usage"),
        ("mine.openai.azure.com", "/chat/completions", "gpt-4o", "maximum"),
        ("api.openai.com.example.test", "/chat/completions", "gpt-4o", "usage"),
        ("127.0.0.1:8000", "/chat/completions", "gpt-4o", "usage"),
        ("", "/chat/completions", "", "usage"),
    ],
)
def test_the_charge_follows_from_host_and_endpoint(host: str, endpoint: str, model: str, charge: str) -> None:
    assert default_charge(host, endpoint, model) == charge
