from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from throttle.jobs.packs import bound_of, deal, in_order, items_of, joined, rest_key, shared_out

EMBEDDINGS, COMPLETIONS, CHAT = "/embeddings", "/completions", "/chat/completions"


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ("one", ["one"]),
        ("", [""]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
        ([], None),
        (["a", 1], None),
        (["a", [1]], None),
        ([[]], None),
        (None, None),
        (5, None),
    ],
)
def test_prompts_are_told_from_one_anothers_and_from_nonsense(value: Any, items: Any) -> None:
    assert items_of(EMBEDDINGS, {"input": value}) == items
    assert items_of(COMPLETIONS, {"prompt": value}) == items
    assert items_of(CHAT, {"messages": value}) is None


def test_bodies_go_together_only_if_all_but_their_prompts_is_alike() -> None:
    key = rest_key(EMBEDDINGS, {"model": "m", "input": "a"})
    assert key == rest_key(EMBEDDINGS, {"input": ["b", "c"], "model": "m"})
    assert key != rest_key(EMBEDDINGS, {"model": "m", "input": "a", "dimensions": 8})
    assert key != rest_key(EMBEDDINGS, {"model": "m", "input": [1, 2]})
    assert rest_key(CHAT, {"model": "m", "messages": []}) is None


def test_prompts_are_joined_in_order() -> None:
    bodies = [{"model": "m", "prompt": "a", "n": 2}, {"model": "m", "prompt": ["b", "c"], "n": 2}]
    assert joined(COMPLETIONS, bodies) == {"model": "m", "prompt": ["a", "b", "c"], "n": 2}


def test_an_embeddings_request_takes_2048_inputs_and_300000_tokens() -> None:
    assert bound_of(EMBEDDINGS, None) == bound_of(EMBEDDINGS, 10_000_000)
    assert (bound_of(EMBEDDINGS, None).items, bound_of(EMBEDDINGS, None).tokens) == (2048, 300_000)
    assert bound_of(EMBEDDINGS, 1000).tokens == 500
    assert bound_of(COMPLETIONS, None).tokens == math.inf


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(1, 3), st.randoms(use_true_random=False))
def test_answers_in_any_order_come_to_the_prompt_they_are_of(counts: list[int], n: int, draw: Any) -> None:
    choices = [
        {"index": prompt * n + k, "text": f"prompt {prompt} choice {k}"}
        for prompt in range(sum(counts))
        for k in range(n)
    ]
    draw.shuffle(choices)
    hands = deal(choices, counts, n)
    assert hands is not None
    prompt = 0
    for hand, count in zip(hands, counts, strict=True):
        assert [choice["index"] for choice in hand] == list(range(count * n))
        expected = [f"prompt {prompt + i} choice {k}" for i in range(count) for k in range(n)]
        assert [choice["text"] for choice in hand] == expected
        prompt += count


@pytest.mark.parametrize("indexes", [[0], [0, 0], [0, 2], [-1, 0], [0, None], [0, 1, 2]])
def test_missing_doubled_and_stray_answers_are_noticed(indexes: list[Any]) -> None:
    assert in_order(indexes, lambda index: index, 2) is None


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=50))
def test_shares_are_whole_and_sum_to_the_total(total: int, weights: list[int]) -> None:
    shares = shared_out(total, [float(weight) for weight in weights])
    assert sum(shares) == total
    assert min(shares) >= 0
    whole = sum(weights)
    if whole:
        assert all(abs(share - total * weight / whole) <= 1 for share, weight in zip(shares, weights, strict=True))
