"""How many tokens come out: asked for, learned, or supposed."""

from __future__ import annotations

from typing import Any

import pytest

from throttle.costs import CallCost, estimate
from throttle.costs.history import OutputHistory

HELLO = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("body", "endpoint", "tokens"),
    [
        ({"model": "gpt-4o", "messages": HELLO}, "/chat/completions", 256),
        ({"model": "gpt-4o", "messages": HELLO, "n": 2}, "/chat/completions", 512),
        ({"model": "gpt-5", "messages": HELLO}, "/chat/completions", 1024),
        ({"model": "gpt-4o", "messages": HELLO, "max_tokens": 7, "n": 2}, "/chat/completions", 14),
        ({"model": "gpt-4o", "messages": HELLO, "max_tokens": 7, "max_completion_tokens": 9}, "/chat/completions", 9),
        ({"model": "gpt-4o", "input": "hello", "max_output_tokens": 9, "n": 4}, "/responses", 9),
        ({"model": "gpt-3.5-turbo-instruct", "prompt": "a"}, "/completions", 16),
        (
            {"model": "gpt-3.5-turbo-instruct", "prompt": ["a", "b"], "max_tokens": 3, "best_of": 4, "n": 2},
            "/completions",
            24,
        ),
        ({"model": "gpt-3.5-turbo-instruct", "prompt": [1, 2, 3]}, "/completions", 16),
        ({"model": "gpt-3.5-turbo-instruct", "prompt": [[1], [2]]}, "/completions", 32),
        ({"model": "text-embedding-3-small", "input": "a"}, "/embeddings", 0),
        ({"model": "gpt-4o", "messages": HELLO, "max_tokens": True, "n": -3}, "/chat/completions", 256),
        ({"model": "gpt-4o", "messages": HELLO, "max_tokens": 0}, "/chat/completions", 256),
    ],
)
def test_output_is_what_is_asked_for_or_a_stated_number(body: dict[str, Any], endpoint: str, tokens: int) -> None:
    assert estimate(body, endpoint).output_tokens == tokens


def test_what_answers_used_stands_in_for_the_stated_number() -> None:
    assert CallCost({"model": "gpt-4o", "messages": HELLO, "n": 2}, expected_output=40).cost.output_tokens == 80


def test_a_history_tells_nothing_until_it_has_seen_enough() -> None:
    history = OutputHistory()
    for _ in range(7):
        history.observe("gpt-4o", "/v1/chat/completions", 10)
    assert history.expected("gpt-4o", "/chat/completions") is None
    history.observe("gpt-4o", "/chat/completions", 10)
    assert history.expected("gpt-4o", "/chat/completions") == 10
    assert history.expected("gpt-4o", "/responses") is None


def test_a_history_tells_the_quantile_of_what_was_recent() -> None:
    history = OutputHistory(quantile=0.9, recent=100)
    for tokens in range(1000):
        history.observe("m", "/chat/completions", tokens)
    assert history.expected("m", "/chat/completions") == 990
    history.observe("m", "/chat/completions", 5000)
    assert history.expected("m", "/chat/completions") == 991


def test_of_several_choices_each_has_its_part() -> None:
    history = OutputHistory()
    for _ in range(8):
        history.observe("m", "/chat/completions", 31, choices=3)
    assert history.expected("m", "/chat/completions") == 11


def test_a_history_is_bounded_and_forgets_what_is_unused_longest() -> None:
    history = OutputHistory(keys=3)
    for model in "abcd":
        for _ in range(8):
            history.observe(model, "/responses", 5)
            history.observe("used", "/responses", 5)
    assert history.expected("used", "/responses") == 5
    assert [history.expected(model, "/responses") for model in "abcd"] == [None, None, 5, 5]


@pytest.mark.parametrize("quantile", [0, -1, 1.01])
def test_a_quantile_that_is_none_is_refused(quantile: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        OutputHistory(quantile=quantile)
