"""What other rooms build on: names, shapes, and the cookbook's own example."""

from __future__ import annotations

from typing import Any

import pytest

from throttle.costs import CHARGES, CallCost, Cost, default_charge, encoding_for, estimate
from throttle.costs.endpoints import normalise

COOKBOOK: list[dict[str, Any]] = [
    {
        "role": "system",
        "content": "You are a helpful, pattern-following assistant that "
        "translates corporate jargon into plain English.",
    },
    {"role": "system", "name": "example_user", "content": "New synergies will help drive top-line growth."},
    {"role": "system", "name": "example_assistant", "content": "Things working well together will increase revenue."},
    {
        "role": "system",
        "name": "example_user",
        "content": "Let's circle back when we have more bandwidth to touch base on "
        "opportunities for increased leverage.",
    },
    {
        "role": "system",
        "name": "example_assistant",
        "content": "Let's talk later when we're less busy about how to do better.",
    },
    {
        "role": "user",
        "content": "This late pivot means we don't have time to boil the ocean for the client deliverable.",
    },
]
"""openai/openai-cookbook, examples/How_to_count_tokens_with_tiktoken.ipynb; so are the counts below."""


@pytest.mark.parametrize(
    ("model", "tokens"),
    [("gpt-3.5-turbo", 129), ("gpt-4", 129), ("gpt-4-0613", 129), ("gpt-4o", 124), ("gpt-4o-mini", 124)],
)
def test_the_cookbook_example_counts_what_the_api_said(model: str, tokens: int) -> None:
    assert estimate({"model": model, "messages": COOKBOOK}).input_tokens == tokens


def test_tokens_are_input_and_output_together() -> None:
    assert Cost(1, 3, 4).tokens == 7


@pytest.mark.parametrize(
    "written",
    [
        "/chat/completions",
        "chat/completions",
        "/v1/chat/completions",
        "https://api.openai.com/v1/chat/completions?x=1",
        "/openai/deployments/my-name/chat/completions?api-version=2024-06-01",
    ],
)
def test_an_endpoint_is_known_however_it_is_written(written: str) -> None:
    assert normalise(written) == "/chat/completions"


def test_legacy_and_chat_completions_are_told_apart() -> None:
    assert normalise("/v1/completions") == "/completions"


def test_a_deployment_in_the_address_stands_for_the_model() -> None:
    assert CallCost({}, "/openai/deployments/my-name/completions").model == "my-name"


def test_output_is_the_maximum_times_choices_and_prompts() -> None:
    body = {"model": "gpt-3.5-turbo-instruct", "prompt": ["a", "b"], "n": 2, "best_of": 3}
    assert estimate(body, "/v1/completions").output_tokens == 16 * 3 * 2
    assert estimate({**body, "max_tokens": 5}, "/v1/completions").output_tokens == 5 * 3 * 2


def test_token_arrays_count_as_they_are() -> None:
    assert estimate({"model": "text-embedding-3-small", "input": [[1, 2, 3], [4]]}, "/v1/embeddings").input_tokens == 4


def test_what_is_booked_depends_on_the_charge() -> None:
    call = CallCost(
        {"model": "gpt-4o", "max_tokens": 100, "messages": [{"role": "user", "content": "Say this is a test!"}]}
    )
    assert call.booked("characters") == 7
    assert call.booked("input") == 13
    assert call.booked("maximum") == 113
    with pytest.raises(ValueError, match="no charge model"):
        call.booked("guess")


def test_the_default_charge_is_one_of_the_known() -> None:
    assert default_charge("api.openai.com", "/v1/chat/completions", "gpt-4o") == "characters"
    assert default_charge("example.test", "/v1/chat/completions", "gpt-4o") in CHARGES


def test_vocabularies_are_tiktokens_own() -> None:
    assert encoding_for("gpt-4o").encode_ordinary("hello world") == [24912, 2375]
    assert encoding_for("gpt-4").encode_ordinary("hello world") == [15339, 1917]
    assert encoding_for("a-model-of-2031") is encoding_for("gpt-4o")
