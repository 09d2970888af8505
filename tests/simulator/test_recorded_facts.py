"""The judge's arithmetic against recorded answers: every figure must come out exactly as the real server printed it."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest

from tests.simulator import recorded
from throttle.simulator import Judge, Refusal, Service, Settings, read_limits
from throttle.simulator.charges import book
from throttle.simulator.headers import openai_headers
from throttle.simulator.refusals import rate_limit_error
from throttle.simulator.words import words

PERIODS = {60: "m", 86_400: "d", 2_592_000: "month"}


def judge_at(unit: str, limit: int, window_s: int, level: Fraction) -> Judge:
    limits = read_limits({"meter": {"limit": limit, "window_s": window_s, "unit": unit}})
    return Judge(limits, start=level / limit)


def printed(judge: Judge, unit: str) -> tuple[int, int, str]:
    headers = dict(openai_headers(judge.standings(0, ["default"])))
    name = unit.replace("_", "-")
    limit, remaining, reset = (headers[f"x-ratelimit-{what}-{name}"] for what in ("limit", "remaining", "reset"))
    return int(limit), int(remaining), reset


@pytest.mark.parametrize(("unit", "limit", "remaining", "reset", "window_s", "repo", "day"), recorded.HEADERS)
def test_headers_of_whole_levels_come_out_as_recorded(
    unit: str, limit: int, remaining: int, reset: str, window_s: int, repo: str, day: str
) -> None:
    judge = judge_at(unit, limit, window_s, Fraction(remaining))
    assert printed(judge, unit) == (limit, remaining, reset)


@pytest.mark.parametrize(
    ("unit", "limit", "remaining", "reset", "reset_ms", "window_s", "repo", "day"), recorded.HIDDEN_FRACTIONS
)
def test_headers_of_levels_between_whole_ones_come_out_as_recorded(
    unit: str, limit: int, remaining: int, reset: str, reset_ms: int, window_s: int, repo: str, day: str
) -> None:
    level = limit - Fraction(reset_ms, 1000) * limit / window_s
    assert printed(judge_at(unit, limit, window_s, level), unit) == (limit, remaining, reset)


@pytest.mark.parametrize(
    ("meter", "window_s", "model", "limit", "used", "requested", "wait", "source"), recorded.REFUSALS
)
def test_refusals_say_what_recorded_ones_said(
    meter: str, window_s: int, model: str, limit: int, used: int, requested: int, wait: str, source: str
) -> None:
    limits = read_limits({model: {meter: {"limit": limit, "window_s": window_s}}})
    judge = Judge(limits, start=Fraction(limit - used, limit))
    unit = "tokens" if meter.startswith("t") else "requests"
    refusal = judge.arrive(0, {unit: requested}, [model])
    assert isinstance(refusal, Refusal)
    told = rate_limit_error(refusal, model, "org-XXXX")["error"]
    name = {"tpm": "tokens per min (TPM)", "rpd": "requests per day (RPD)"}[meter]
    assert told == {
        "message": f"Rate limit reached for {model} in organization org-XXXX on {name}: Limit {limit}, Used {used}, "
        f"Requested {requested}. Please try again in {wait}. "
        "Visit https://platform.openai.com/account/rate-limits to learn more.",
        "type": unit,
        "param": None,
        "code": "rate_limit_exceeded",
    }


@pytest.mark.parametrize(("model", "pool", "limit", "requested", "source"), recorded.TOO_LARGE)
def test_a_call_larger_than_its_bucket_is_told_what_recorded_ones_were(
    model: str, pool: str, limit: int, requested: int, source: str
) -> None:
    judge = Judge(read_limits({pool: {"tpm": limit}}))
    refusal = judge.arrive(0, {"tokens": requested}, [pool])
    assert isinstance(refusal, Refusal)
    assert refusal.too_large
    told = rate_limit_error(refusal, model, "org-XXXX")["error"]["message"]
    named = f" (for limit {pool})" if pool != model else ""
    assert told == (
        f"Request too large for {model}{named} in organization org-XXXX on tokens per min (TPM): Limit {limit}, "
        f"Requested {requested}. The input or output tokens must be reduced in order to run successfully. "
        "Visit https://platform.openai.com/account/rate-limits to learn more."
    )


def chat(characters: int, messages: int, images: int = 0, **more: Any) -> dict[str, Any]:
    """Make a chat of so many characters, in so many messages, with so many images in the last."""
    sizes = [characters - (messages - 1), *([1] * (messages - 1))]
    told: list[dict[str, Any]] = [{"role": "user", "content": "x" * size} for size in sizes]
    if images:
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
        told[-1]["content"] = [{"type": "text", "text": told[-1]["content"]}, *([picture] * images)]
    return {"messages": told, **more}


@pytest.mark.parametrize(
    ("endpoint", "characters", "messages", "images", "charged", "repo", "day"), recorded.CHARACTER_CHARGES
)
def test_the_characters_charge_is_what_recorded_calls_were_charged(
    endpoint: str, characters: int, messages: int, images: int, charged: int, repo: str, day: str
) -> None:
    body = {"input": "x" * characters} if endpoint == "embeddings" else chat(characters, messages, images)
    assert book(endpoint, body, "gpt-4o", charge="characters").tokens == charged


@pytest.mark.parametrize(("characters", "messages", "n", "charged", "repo", "day"), recorded.MAXIMUM_CHARGES)
def test_the_maximum_charge_by_characters_is_what_chats_were_charged_until_march_2025(
    characters: int, messages: int, n: int, charged: int, repo: str, day: str
) -> None:
    body = chat(characters, messages, n=n)
    assert book("chat/completions", body, "gpt-4", charge="maximum", maximum_of="characters").tokens == charged


def response(input_tokens: int, **more: Any) -> dict[str, Any]:
    """Make a body of the Responses API with exactly so many input tokens, whatever its tools count."""
    return {"model": "gpt-4o", "input": "".join(words(input_tokens - 7)), **more}


@pytest.mark.parametrize(("input_tokens", "tools", "charged", "repo", "day"), recorded.RESPONSE_CHARGES)
def test_the_input_charge_of_responses_is_what_recorded_ones_were_charged(
    input_tokens: int, tools: bool, charged: int, repo: str, day: str
) -> None:
    body = response(input_tokens)
    booking = book("responses", body, "gpt-4o", charge="input")
    assert booking.input_tokens == input_tokens
    if tools:
        with_tools = book("responses", {**body, "tools": [{"type": "function", "name": "f"}]}, "gpt-4o", charge="input")
        assert with_tools.tokens - with_tools.input_tokens == charged - input_tokens
    else:
        assert booking.tokens == charged


@pytest.mark.parametrize(
    ("limit", "input_tokens", "output_tokens", "remaining", "reset", "repo", "day"), recorded.SETTLED
)
def test_settled_usage_shows_in_the_headers_of_a_finished_answer_as_recorded(
    limit: int, input_tokens: int, output_tokens: int, remaining: int, reset: str, repo: str, day: str
) -> None:
    """What was reserved has flowed in again by then; only what the output exceeds the allowance by is missing."""
    settings = Settings.of(
        limits={"rpm": 10_000, "tpm": limit}, charge="usage", sampled="completion", output_tokens=output_tokens
    )
    service = Service(settings)
    body = {**response(input_tokens + 1), "model": "gpt-5"}  # a model that reasons has a lead of one token less
    reply = service.receive(
        Fraction(0), "POST", "/v1/responses", {"authorization": "Bearer k"}, json.dumps(body).encode()
    )
    assert reply.call.input_tokens == input_tokens
    headers = dict(service.finish(Fraction(10), reply))
    assert headers["x-ratelimit-remaining-tokens"] == str(remaining)
    assert headers["x-ratelimit-reset-tokens"] == reset
