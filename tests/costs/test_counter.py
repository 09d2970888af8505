"""Counting in pieces and from memory gives what counting at once gives."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from throttle.costs import CallCost, encoding_for
from throttle.costs import counter as counter_module
from throttle.costs.counter import ByteCounter, TokenCounter, counter_for, pieces, utf8_length

PROSE = "It was the best of times, it was the worst of times: 1,775 of them.\n\nSo don't  worry… “really”! " * 400
CHINESE = "今天天气很好，我们去公园散步吧。你觉得怎么样？" * 1500


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4", "text-davinci-003"])
@pytest.mark.parametrize("text", [PROSE, CHINESE, PROSE.replace(" ", "\n")], ids=["prose", "chinese", "lines"])
def test_a_text_counted_in_pieces_has_the_tokens_it_has_in_one(model: str, text: str) -> None:
    encode = encoding_for(model).encode_ordinary
    assert len(text) > 20_000
    assert sum(len(encode(piece)) for piece in pieces(text, 1000)) == len(encode(text))
    assert TokenCounter(encode).count(text) == len(encode(text))


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(), max_size=400), st.integers(1, 50))
def test_pieces_are_the_text_and_none_is_too_long(text: str, size: int) -> None:
    cut = list(pieces(text, size))
    assert "".join(cut) == text
    assert all(0 < len(piece) <= size for piece in cut) or text == ""


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(), max_size=400))
def test_bytes_are_never_fewer_than_tokens(text: str) -> None:
    assert ByteCounter().count(text) == utf8_length(text) >= counter_for("o200k_base").count(text)
    assert utf8_length(text) >= counter_for("cl100k_base").count(text)


def test_what_was_counted_is_not_counted_again() -> None:
    asked: list[str] = []

    def encode(text: str) -> Sequence[int]:
        asked.append(text)
        return list(text.encode())

    counter = TokenCounter(encode)
    for _ in range(3):
        assert counter.count("abc") == 3
        assert counter.total(["abc", "de"]) == 5
    assert asked == ["abc", "de"]
    assert counter.knows("abc")
    assert not counter.knows("never seen")


def test_the_memory_is_bounded_and_keeps_what_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter_module, "_REMEMBERED", 10)
    asked: list[str] = []

    def encode(text: str) -> Sequence[int]:
        asked.append(text)
        return list(text.encode())

    counter = TokenCounter(encode)
    for turn in range(1000):
        assert counter.count("used") == 4
        counter.count(f"once {turn}")
    assert asked.count("used") == 1
    assert len(counter._younger) + len(counter._older) <= 20


def test_the_memory_holds_no_text() -> None:
    counter = TokenCounter(encoding_for("gpt-4o").encode_ordinary)
    counter.count("a secret")
    assert all(type(key) is int and type(value) is int for key, value in counter._younger.items())


def test_a_text_beyond_the_memory_is_counted_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter_module, "_HASHED", 100)
    counter = TokenCounter(encoding_for("gpt-4o").encode_ordinary)
    assert counter.count(PROSE) == counter.total([PROSE]) == len(encoding_for("gpt-4o").encode_ordinary(PROSE))
    assert counter._younger == {}
    assert utf8_length(CHINESE) == len(CHINESE.encode())


def test_a_panic_is_a_bound_and_an_interrupt_is_an_interrupt() -> None:
    class Panic(BaseException):
        pass

    Panic.__module__ = "pyo3_runtime"

    def panic(text: str) -> Sequence[int]:
        raise Panic

    def interrupt(text: str) -> Sequence[int]:
        raise KeyboardInterrupt

    assert TokenCounter(panic).count("äö") == 4
    with pytest.raises(KeyboardInterrupt):
        TokenCounter(interrupt).count("a")


def test_a_long_new_text_is_heavy_and_a_known_one_is_not() -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": PROSE + "heavy"}]}
    assert CallCost(body).heavy
    call = CallCost(body)
    assert call.input_tokens > 0
    assert not call.heavy
    assert not CallCost(body).heavy
    assert not CallCost({"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}).heavy
    assert CallCost({"model": "text-embedding-3-small", "input": [CHINESE]}, "/embeddings").heavy


def test_many_new_tools_are_heavy() -> None:
    tools = [{"type": "function", "function": {"name": f"f{n}", "description": "heavy"}} for n in range(100)]
    body = {"model": "gpt-4o", "messages": [], "tools": tools}
    assert CallCost(body).heavy
    assert CallCost(body).input_tokens > 100
    assert not CallCost(body).heavy
