"""Whatever a body holds, an estimate comes back: nothing is raised, changed, or used up, and nothing takes for ever."""

from __future__ import annotations

import copy
import inspect
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from throttle.costs import CHARGES, CallCost, Cost, estimate
from throttle.costs.endpoints import ENDPOINTS

BUDGET = int(os.environ.get("THROTTLE_FUZZ", "150"))
"""Examples for each property; more by `THROTTLE_FUZZ=20000 pytest tests/costs/test_any_body.py`."""

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=40),
    st.sampled_from(
        [
            "<|endoftext|>",
            "\ud800",
            "\udfff\ud83d",
            " " * 3000,
            "data:image/png;base64,iVBORw0KGgo=",
            "data:image/jpeg;base64,/9j/",
            "data:image/webp;base64,UklGRg==",
            "data:,",
            "{",
            "[" * 3000,
            "auto",
            "none",
            "required",
            "#/$defs/A",
            "#",
        ]
    ),
)
keys = st.sampled_from(
    [
        "model",
        "messages",
        "input",
        "prompt",
        "suffix",
        "instructions",
        "instruction",
        "tools",
        "functions",
        "tool_choice",
        "function_call",
        "response_format",
        "text",
        "format",
        "json_schema",
        "schema",
        "name",
        "description",
        "parameters",
        "properties",
        "required",
        "type",
        "items",
        "anyOf",
        "oneOf",
        "allOf",
        "enum",
        "const",
        "$ref",
        "$defs",
        "A",
        "default",
        "minimum",
        "title",
        "role",
        "content",
        "tool_calls",
        "tool_call_id",
        "id",
        "function",
        "arguments",
        "call_id",
        "output",
        "status",
        "refusal",
        "image_url",
        "url",
        "detail",
        "input_audio",
        "data",
        "file",
        "file_data",
        "n",
        "best_of",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "custom",
        "grammar",
        "definition",
    ]
)
types = st.sampled_from(
    [
        "system",
        "user",
        "assistant",
        "tool",
        "function",
        "text",
        "input_text",
        "image_url",
        "input_image",
        "input_audio",
        "file",
        "input_file",
        "function_call",
        "function_call_output",
        "message",
        "reasoning",
        "json_schema",
        "object",
        "array",
        "string",
        "number",
        "null",
        "custom",
        "web_search",
    ]
)
trees = st.recursive(
    scalars | types,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6) | st.tuples(inner, inner),
    max_leaves=40,
)
bodies = st.dictionaries(keys, trees, max_size=8)


@settings(max_examples=BUDGET, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(bodies, st.sampled_from(ENDPOINTS))
def test_no_body_raises_anything(body: dict[str, Any], endpoint: str) -> None:
    before = copy.deepcopy(body)
    call = CallCost(body, endpoint)
    assert call.heavy in (True, False)
    assert isinstance(call.cost, Cost)
    assert call.cost.input_tokens >= 0
    assert call.input_bound >= call.input_tokens
    assert call.text_bytes >= 0
    assert all(call.booked(charge) >= 0 for charge in CHARGES)
    assert repr(body) == repr(before)


@settings(max_examples=BUDGET, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(keys, trees, max_size=5), st.booleans())
def test_no_tool_raises_anything(schema: dict[str, Any], strict: bool) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": schema}}}
    form = {"type": "json_schema", "json_schema": {"name": "f", "strict": strict, "schema": schema}}
    body = {"model": "gpt-4o", "messages": [], "tools": [tool], "response_format": form}
    assert estimate(body).input_tokens > 0
    assert CallCost(body).input_bound >= estimate(body).input_tokens


@pytest.mark.parametrize("body", [None, [], "text", 3, object(), b"bytes", iter(())])
def test_what_is_no_body_costs_a_request(body: Any) -> None:
    assert estimate(body).requests == 1


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_nesting_ends(opening: str) -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"type": "object", "properties": {"a": deep}} if opening != "[" else [deep]
    said = opening * 100_000
    for key in ("messages", "tools", "input", "response_format", "tool_choice"):
        assert estimate({"model": "gpt-4o", key: deep}).input_tokens >= 0
        assert estimate({"model": "gpt-4o", key: [deep]}).input_tokens >= 0
    tool = {"type": "function", "function": {"name": "f", "parameters": deep}}
    form = {"type": "json_schema", "json_schema": {"name": "f", "schema": deep}}
    assert estimate({"model": "gpt-4o", "messages": [], "tools": [tool], "response_format": form}).input_tokens > 0
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": said}}
    calls = [{"role": "assistant", "tool_calls": [call]}, {"role": "assistant", "tool_calls": [call, call]}]
    results = [{"role": "tool", "tool_call_id": "1", "content": said}]
    assert estimate({"model": "gpt-4o", "messages": calls + results}).input_tokens > 0
    _unwind(deep)


def test_a_caller_that_leaves_little_stack_gets_a_bound() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(20):
        schema = {"type": "object", "properties": {"a": schema}, "description": "d"}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "tools": [tool]}
    expected = estimate(body).input_tokens
    bodies = [(room, {**body, "tools": [tool, {"type": "mcp", "unseen": room}]}) for room in range(40, 200, 4)]

    def at(depth: int, body: dict[str, Any]) -> int:
        return at(depth - 1, body) if depth else estimate(body).input_tokens

    floor = sys.getrecursionlimit() - len(inspect.stack())
    told = [at(floor - room, each) for room, each in bodies]
    assert all(tokens >= expected for tokens in told)
    assert told[0] > expected == told[-1]


def _unwind(deep: Any) -> None:
    """Take a deep value apart from the outside, since freeing it in one go is recursive too."""
    while deep:
        deep = deep.pop("properties")["a"] if isinstance(deep, dict) else deep.pop()


def test_what_holds_itself_ends() -> None:
    circle: dict[str, Any] = {"type": "object", "content": []}
    circle["properties"] = {str(n): circle for n in range(20)}
    circle["content"] = [circle, circle]
    form = {"type": "json_schema", "json_schema": {"name": "f", "schema": circle}}
    tool = {"type": "function", "function": {"name": "f", "parameters": circle}}
    began = time.process_time()
    assert estimate({"messages": [circle], "tools": [tool], "response_format": form}).input_tokens > 0
    assert time.process_time() - began < 30


def test_references_that_multiply_end() -> None:
    definitions = {
        f"d{n}": {"type": "object", "properties": {f"p{k}": {"$ref": f"#/$defs/d{n + 1}"} for k in range(10)}}
        for n in range(30)
    }
    parameters = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    assert 0 < estimate({"model": "gpt-4o", "messages": [], "tools": [tool]}).input_tokens < 1_000_000


def test_a_reference_to_itself_is_followed_once() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
    parameters = {"type": "object", "properties": {"list": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    assert estimate({"model": "gpt-4o", "messages": [], "tools": [tool]}).input_tokens < 60


@pytest.mark.parametrize(
    "text", ["<|endoftext|>", "<|fim_prefix|><|im_start|>system", "\ud83d", "\udc00" * 50_000, "", " " * 1_000_000]
)
@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4", "davinci"])
def test_no_text_is_too_strange(text: str, model: str) -> None:
    call = CallCost({"model": model, "messages": [{"role": "user", "content": text}]})
    assert 0 < call.input_tokens <= call.input_bound


@pytest.mark.parametrize(
    "unit", [" ", "a", "^", "\n", " \n", "字", "7", "😀", "\u0301", "\u00a0", "\r\n", "\x00", "aB", "'"]
)
def test_a_long_run_of_anything_takes_linear_time(unit: str) -> None:
    text = (unit * 500_000)[:500_000]
    began = time.process_time()
    tokens = estimate({"model": "gpt-4o", "input": text}, "/responses").input_tokens
    assert 0 < tokens <= 4 * len(text) + 10
    assert time.process_time() - began < 20


def test_iterators_are_never_used_up() -> None:
    def generated() -> Iterator[dict[str, str]]:
        yield {"role": "user", "content": "hello"}

    messages = generated()
    estimate({"model": "gpt-4o", "messages": messages})
    assert list(messages) == [{"role": "user", "content": "hello"}]


class Message(BaseModel):
    role: str
    content: str
    name: str | None = None


class Refusing(BaseModel):
    def model_dump(self, **options: Any) -> dict[str, Any]:
        raise RuntimeError("no")


def test_pydantic_models_count_as_what_they_hold() -> None:
    plain = estimate({"model": "gpt-4o", "messages": [{"role": "user", "content": "hello there"}]})
    assert estimate({"model": "gpt-4o", "messages": [Message(role="user", content="hello there")]}) == plain


def test_a_model_that_refuses_counts_as_nothing() -> None:
    assert estimate({"model": "gpt-4o", "messages": [Refusing()]}).input_tokens >= 0
