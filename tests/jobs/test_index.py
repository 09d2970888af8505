from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from throttle.jobs.index import Index, Place

Fill = Callable[..., Index]

CHAT = ("/chat/completions", "m")
OTHER = ("/chat/completions", "n")


@pytest.fixture
def filled() -> Iterator[Callable[..., Index]]:
    made: list[Index] = []

    def fill(*names: str) -> Index:
        index = Index()
        made.append(index)
        for number, name in enumerate(names, 1):
            index.add(number, number * 100, 100, CHAT if number % 2 else OTHER, name, bytes([number]) * 8)
        return index

    yield fill
    for index in made:
        index.close()


def test_duplicates_are_told_with_the_line_that_had_the_name_first(filled: Fill) -> None:
    assert list(filled("a", "b", "a", "c", "b", "a").seal()) == [(3, 1), (5, 2), (6, 1)]


def test_lanes_are_walked_apart_and_in_order(filled: Fill) -> None:
    index = filled("a", "b", "c", "d", "e")
    assert list(index.seal()) == []
    assert index.lanes == (CHAT, OTHER)
    assert index.open_after(CHAT, 0, 2) == [Place(1, 100, 100, 0), Place(3, 300, 100, 0)]
    assert index.open_after(CHAT, 3, 2) == [Place(5, 500, 100, 0)]
    assert [place.number for place in index.open_after(OTHER, 0, 9)] == [2, 4]


def test_answered_and_failed_lines_are_not_open(filled: Fill) -> None:
    index = filled("a", "b", "c", "d", "e")
    list(index.seal())
    with index.marking():
        assert index.mark_answered("a", bytes([1]) * 8, 0) is True
        index.mark_failed("c", 4, 17)
    assert [place.number for place in index.open_after(CHAT, 0, 9)] == [5]
    assert (index.answered, index.failed, index.count(), index.count(CHAT)) == (1, 1, 5, 3)


def test_an_answer_to_another_request_of_that_name_is_not_taken(filled: Fill) -> None:
    index = filled("a")
    list(index.seal())
    assert index.mark_answered("a", b"something", 0) is False
    assert index.answered == 0


def test_an_answer_without_a_digest_or_to_nothing_here_is_in_nobodys_way(filled: Fill) -> None:
    index = filled("a", "b")
    list(index.seal())
    assert index.mark_answered("a", None, 0) is True
    assert index.mark_answered("elsewhere", None, 0) is None


def test_a_failure_never_hides_an_answer(filled: Fill) -> None:
    index = filled("a")
    list(index.seal())
    index.mark_answered("a", None, 0)
    index.mark_failed("a", 1, 0)
    assert (index.answered, index.failed) == (1, 0)


def test_failed_lines_open_again_with_their_attempts(filled: Fill) -> None:
    index = filled("a")
    list(index.seal())
    index.mark_failed("a", 4, 0)
    index.reopen_failed()
    assert index.open_after(CHAT, 0, 9) == [Place(1, 100, 100, 4)]


def test_answers_are_found_in_the_order_of_the_input(filled: Fill) -> None:
    index = filled("a", "b", "c")
    list(index.seal())
    for at, name in enumerate(("c", "a", "b")):
        index.mark_answered(name, None, at)
    assert list(index.answers_in_order()) == [1, 2, 0]


def test_nothing_is_left_on_the_disk(filled: Fill) -> None:
    before = set(os.listdir("."))
    index = filled("a", "b")
    list(index.seal())
    index.close()
    assert set(os.listdir(".")) == before
