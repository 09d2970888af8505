"""Schemas that an answer must follow, as the API tells its models of them."""

from __future__ import annotations

from typing import Any

import pytest

from throttle.costs import estimate
from throttle.costs.formats import _told, schema_of

POINT = {
    "type": "object",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "properties": {"format": {"type": "integer", "minimum": 0, "default": 3}, "y": {"type": "number"}},
    "required": ["format", "y"],
    "additionalProperties": False,
}


def test_what_constrains_is_not_told_and_names_are_no_keywords() -> None:
    told = _told({"name": "point", "schema": POINT})
    assert told == (
        "# Response Formats\n\n## point\n\n"
        '{"type":"object","properties":{"format":{"type":"integer"},"y":{"type":"number"}}}'
    )


def test_a_description_is_a_comment() -> None:
    assert "## p\n\n// a\n// b\n{" in _told({"name": "p", "description": " a\n  b ", "schema": POINT})


@pytest.mark.parametrize(
    "form",
    [
        None,
        "text",
        {"type": "text"},
        {"type": "json_object"},
        {"type": "json_schema"},
        {"type": "json_schema", "schema": 5},
    ],
)
def test_other_formats_cost_nothing(form: Any) -> None:
    assert schema_of(form) == {}
    messages = [{"role": "user", "content": "hello"}]
    assert estimate({"messages": messages, "response_format": form}) == estimate({"messages": messages})
    assert estimate({"input": "hello", "text": {"format": form}}, "/responses") == estimate(
        {"input": "hello"}, "/responses"
    )


def test_chat_and_responses_write_the_same_schema_elsewhere() -> None:
    inner = {"name": "point", "schema": POINT}
    chat = {
        "response_format": {"type": "json_schema", "json_schema": inner},
        "messages": [{"role": "user", "content": "hello"}],
    }
    response = {"text": {"format": {"type": "json_schema", **inner}}, "input": "hello"}
    assert schema_of(chat["response_format"])["schema"] == schema_of(response["text"]["format"])["schema"] == POINT  # type: ignore[index]
    assert (
        estimate(chat).input_tokens - estimate(response, "/responses").input_tokens == 6
    )  # a system message, the name again, …
