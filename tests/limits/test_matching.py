"""From a model's name to its family."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from throttle.limits.matching import Names, Pattern, bases_of, remembered

NAMES = Names(
    (name, name)
    for name in (
        "gpt-4o",
        "gpt-4o-mini",
        "gpt-4o*",
        "gpt-4o-audio-preview",
        "gpt-4o-audio-preview-2025-*",
        "gpt-4",
        "gpt-4-0314",
        "gpt-4-*-preview",
        "curie",
        "text-?a-*",
        "text-*",
        "*-moderation",
        "*",
    )
)


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gpt-4o-something", "gpt-4o*"),
        ("gpt-4o-audio-preview-2024-12-17", "gpt-4o-audio-preview"),
        ("gpt-4o-audio-preview-2025-06-03", "gpt-4o-audio-preview-2025-*"),
        ("gpt-4-0613", "gpt-4"),
        ("gpt-4-0314", "gpt-4-0314"),
        ("gpt-4-1106-preview", "gpt-4-*-preview"),
        ("ft:gpt-4o:acme:support:9abc", "gpt-4o"),
        ("ft:gpt-4o-mini-2024-07-18:acme::9abc", "gpt-4o-mini"),
        ("ft:gpt-4o-mini-2024-07-18:acme::9abc:ckpt-step-90", "gpt-4o-mini"),
        ("ft:gpt-4o-something:acme::9abc", "gpt-4o*"),
        ("curie:ft-acme-2023-01-01-00-00-00", "curie"),
        ("text-ba-1", "text-?a-*"),
        ("text-other", "text-*"),
        ("omni-moderation", "*-moderation"),
        ("GPT-4o", "*"),
        ("ft:unheard-of:acme::9abc", "*"),
        ("", "*"),
        ("-2024-08-06", "*"),
        ("ft:", "*"),
    ],
)
def test_the_exact_name_counts_first_then_the_most_specific_pattern_then_what_it_was_made_of(
    model: str, found: str
) -> None:
    assert NAMES.find(model) == found


def test_a_name_that_nothing_matches_is_not_found() -> None:
    assert Names([("gpt-4o", 1), ("gpt-5*", 2)]).find("claude") is None


def test_the_order_of_patterns_does_not_matter() -> None:
    texts = ["*", "gpt-*", "gpt-4*", "gpt-4o-*", "gpt-4?-*"]
    assert Names((text, text) for text in texts).find("gpt-4o-x") == "gpt-4o-*"
    assert Names((text, text) for text in reversed(texts)).find("gpt-4o-x") == "gpt-4o-*"


def test_dots_and_brackets_in_a_pattern_are_themselves() -> None:
    names = Names([("gpt-4.1*", 1), ("a[bc]*", 2)])
    assert names.find("gpt-4.1-mini") == 1
    assert names.find("gpt-401-mini") is None
    assert names.find("a[bc]d") == 2
    assert names.find("abd") is None


@pytest.mark.parametrize(
    ("model", "bases"),
    [
        ("gpt-4o", []),
        ("gpt-4o-2024-08-06", ["gpt-4o"]),
        ("gpt-4-0613", ["gpt-4"]),
        ("model-20240806", ["model"]),
        ("gpt-4-32k", []),
        ("ft:gpt-4o-2024-08-06:o::i", ["gpt-4o-2024-08-06", "gpt-4o"]),
        ("davinci:ft-o-2023-01-01-00-00-00", ["davinci"]),
    ],
)
def test_bases_are_given_nearest_first(model: str, bases: list[str]) -> None:
    assert [base for base in bases_of(model) if ":" not in base] == bases


@pytest.mark.parametrize(
    ("one", "two", "covers", "meets"),
    [
        ("a*", "ab*", True, True),
        ("ab*", "a*", False, True),
        ("a*c", "ab?c", True, True),
        ("a?", "a*", False, True),
        ("a*", "b*", False, False),
        ("*a", "b*", False, True),
        ("*", "*", True, True),
        ("a*b*c", "a*c", False, True),
        ("a??", "a?", False, False),
        ("x", "x", True, True),
        ("*-mini", "gpt-*-mini", True, True),
    ],
)
def test_patterns_know_what_they_have_in_common(one: str, two: str, covers: bool, meets: bool) -> None:
    assert Pattern(one).covers(Pattern(two)) is covers
    assert Pattern(one).meets(Pattern(two)) is meets
    assert Pattern(two).meets(Pattern(one)) is meets


TEXTS = st.text("ab*?", max_size=6)
WORDS = st.text("ab", max_size=6)


@given(TEXTS, TEXTS, WORDS)
def test_a_name_that_both_match_means_that_they_meet_and_covering_means_matching(one: str, two: str, word: str) -> None:
    a, b = Pattern(one), Pattern(two)
    in_one, in_two = (bool(pattern.compiled().fullmatch(word)) for pattern in (a, b))
    if in_one and in_two:
        assert a.meets(b)
    if in_two and a.covers(b):
        assert in_one


@given(TEXTS, WORDS)
def test_a_pattern_matches_as_one_would_by_hand(text: str, word: str) -> None:
    def by_hand(pattern: str, name: str) -> bool:
        if not pattern:
            return not name
        if pattern[0] == "*":
            return any(by_hand(pattern[1:], name[i:]) for i in range(len(name) + 1))
        return bool(name) and pattern[0] in ("?", name[0]) and by_hand(pattern[1:], name[1:])

    assert bool(Pattern(text).compiled().fullmatch(word)) is by_hand(text, word)
    assert isinstance(Pattern(text).compiled(), re.Pattern)


def test_what_was_found_is_remembered_and_forgotten_where_names_have_no_end() -> None:
    asked: list[str] = []

    def find(name: str) -> str:
        asked.append(name)
        return name

    recall = remembered(find, most=2)
    assert [recall(name) for name in "aabba"] == list("aabba")
    assert asked == ["a", "b"]
    recall("c")
    recall("a")
    assert asked == ["a", "b", "c", "a"]
