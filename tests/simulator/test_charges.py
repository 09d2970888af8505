from __future__ import annotations

from typing import Any

import pytest

from throttle.simulator.charges import CHARGES, book
from throttle.simulator.words import words

SYSTEM = {"role": "system", "content": "be brief"}
USER = {"role": "user", "content": "hello there"}
CHAT = {"messages": [SYSTEM, USER], "max_tokens": 50, "n": 3}  # 3 + 2 * (3 + 1 + 2) = 15 tokens, 19 bytes


@pytest.mark.parametrize(
    ("endpoint", "body", "charge", "tokens"),
    [
        ("chat/completions", CHAT, "characters", 5 + 2 + 1),
        ("chat/completions", CHAT, "input", 15),
        ("chat/completions", CHAT, "maximum", 15 + 150),
        ("chat/completions", {**CHAT, "max_completion_tokens": 7}, "maximum", 15 + 21),
        ("chat/completions", {"messages": [USER]}, "maximum", 9 + 16),
        ("chat/completions", CHAT, "usage", 15 + 150),
        ("chat/completions", {"messages": [USER]}, "usage", 9 + 217),
        ("completions", {"prompt": "hello there"}, "usage", 2 + 16),
        ("responses", {"input": "hello there", "max_output_tokens": 9}, "usage", 9 + 217),
        ("responses", {"input": "hello there", "max_output_tokens": 9}, "characters", 2),
        ("responses", {"input": "hello there"}, "input", 9 + 19),
        ("responses", {"input": "hello there", "max_output_tokens": 9}, "maximum", 9 + 9),
        ("completions", {"prompt": "hello there"}, "characters", 3 + 1),
        ("completions", {"prompt": ["hello", "there"], "n": 2, "best_of": 3}, "maximum", 2 + 2 * 3 * 16),
        ("completions", {"prompt": [[1, 2], [3]]}, "input", 3),
        ("completions", {"prompt": [1, 2, 3]}, "characters", 3 + 1),
        ("embeddings", {"input": ["hello", "there"]}, "characters", 2),
        ("embeddings", {"input": ["hello", "there"]}, "usage", 2),
        ("embeddings", {"input": [[1, 2, 3], [4]]}, "characters", 4),
        ("moderations", {"input": "hello there"}, "characters", 2),
        ("images/generations", {"prompt": "a cat", "n": 2}, "characters", 0),
        ("audio/speech", {"input": "hello"}, "maximum", 0),
    ],
)
def test_each_charge_model_books_what_it_says(endpoint: str, body: dict[str, Any], charge: str, tokens: int) -> None:
    assert book(endpoint, body, "gpt-4o", charge=charge).tokens == tokens


def test_images_are_booked_one_by_one() -> None:
    assert book("images/generations", {"n": 3}, "gpt-image-1").images == 3
    assert book("images/edits", {"n": "3"}, "gpt-image-1").images == 3
    assert book("images/generations", {}, "gpt-image-1").images == 1


@pytest.mark.parametrize("charge", CHARGES)
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": None},
        {"messages": "text"},
        {"messages": [1, None, {"role": 3, "content": 4}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 3}, "x", None]}], "n": "two"},
        {"messages": [{"role": "user", "content": "<|endoftext|>" + " " * 100_000 + "\ud800"}], "max_tokens": -1},
    ],
)
def test_no_body_is_too_strange(charge: str, body: dict[str, Any]) -> None:
    for endpoint in ("chat/completions", "responses", "completions", "embeddings", "moderations"):
        booking = book(endpoint, body, "gpt-4o", charge=charge)
        assert booking.tokens >= 0


def test_a_long_text_is_counted_like_a_short_one() -> None:
    text = "".join(words(50_000))
    assert book("embeddings", {"input": text}, "text-embedding-3-small", charge="input").tokens == 50_000
