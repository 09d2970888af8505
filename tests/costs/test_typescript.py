"""Tools as the API shows them to its models."""

from __future__ import annotations

from typing import Any

import pytest

from throttle.costs import estimate
from throttle.costs.typescript import Dialect, namespace

WEATHER: dict[str, Any] = {
    "name": "get_current_weather",
    "description": "Get the current weather in a given location",
    "parameters": {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
            "unit": {
                "type": "string",
                "description": "The unit of temperature to return",
                "enum": ["celsius", "fahrenheit"],
            },
        },
        "required": ["location"],
    },
}


def shown(function: dict[str, Any], dialect: Dialect | None = None) -> str:
    return (
        namespace([function], dialect or Dialect())
        .removeprefix("namespace functions {\n\n")
        .removesuffix("\n\n} // namespace functions")
    )


def typed(schema: dict[str, Any], **definitions: Any) -> str:
    parameters = {"type": "object", "properties": {"x": schema}, "required": ["x"], "$defs": definitions}
    return shown({"name": "f", "parameters": parameters}).removeprefix("type f = (_: ").removesuffix(") => any;")


@pytest.mark.parametrize(
    ("model", "tokens"), [("gpt-3.5-turbo", 105), ("gpt-4", 105), ("gpt-4o", 101), ("gpt-4o-mini", 101)]
)
def test_the_cookbooks_example_with_tools(model: str, tokens: int) -> None:
    # openai/openai-cookbook, examples/How_to_count_tokens_with_tiktoken.ipynb, section 7
    messages = [
        {"role": "system", "content": "You are a helpful assistant that can answer to questions about the weather."},
        {"role": "user", "content": "What's the weather like in San Francisco?"},
    ]
    tools = [{"type": "function", "function": WEATHER}]
    assert estimate({"model": model, "messages": messages, "tools": tools}).input_tokens == tokens


def test_a_function_is_a_comment_and_a_type() -> None:
    assert shown(WEATHER) == (
        "// Get the current weather in a given location\n"
        "type get_current_weather = (_: {\n"
        "// The city and state, e.g. San Francisco, CA\n"
        "location: string,\n"
        "// The unit of temperature to return\n"
        'unit?: "celsius" | "fahrenheit",\n'
        "}) => any;"
    )


@pytest.mark.parametrize(
    "parameters", [None, {}, {"type": "object"}, {"type": "object", "properties": {}}, 5, {"properties": []}]
)
def test_a_function_without_parameters_takes_nothing(parameters: Any) -> None:
    assert shown({"name": "f", "parameters": parameters}) == "type f = () => any;"


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"type": "integer"}, "{ x: number }"),
        ({"type": "boolean"}, "{ x: boolean }"),
        ({}, "{ x: any }"),
        ({"type": "object"}, "{ x: object }"),
        ({"type": "array"}, "{ x: any[] }"),
        ({"type": "array", "items": {"type": "string", "description": "one"}}, "{ x: string[] }"),
        ({"type": "array", "items": {"enum": [1, 2]}}, "{ x: (1 | 2)[] }"),
        ({"const": "a"}, '{ x: "a" }'),
        ({"type": ["string", "null"]}, "{ x: string | null }"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "{ x: string | null }"),
        ({"allOf": [{"type": "string"}]}, "{ x: string }"),
        ({"type": "string", "default": "c"}, '{\nx: string, // default: "c"\n}'),
        ({"type": "integer", "minimum": 0, "maximum": 5}, "{\n// minimum: 0, maximum: 5\nx: number,\n}"),
        ({"type": "string", "title": "X", "description": "a\n  b"}, "{\n// X\n// a\n// b\nx: string,\n}"),
        ({"type": "object", "properties": {"y": {"type": "string"}}}, "{ x: { y?: string } }"),
        (
            {"type": ["string", "null"], "description": "d"},
            "{\n// d\nx: \n// d\n | string\n// d\n | null\n,\n}",
        ),
        (
            {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
            "{\nx: \n// format: date\n | string\n | null,\n}",
        ),
        (
            {"type": "array", "items": {"description": "d", "properties": {"y": {"type": "string"}}}},
            "{\nx: Array<\n// d\n{ y?: string }\n>,\n}",
        ),
    ],
)
def test_a_schema_is_a_type(schema: dict[str, Any], written: str) -> None:
    assert typed(schema) == written


def test_a_reference_is_what_it_refers_to_and_what_stands_beside_it_wins() -> None:
    author = {
        "type": "object",
        "description": "An author",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
    }
    assert typed({"$ref": "#/$defs/author"}, author=author) == "{\n// An author\nx: { name: string },\n}"
    assert (
        typed({"$ref": "#/$defs/author", "description": "Who"}, author=author) == "{\n// Who\nx: { name: string },\n}"
    )


@pytest.mark.parametrize("reference", ["#/$defs/none", "other.json#/a", "#", 5])
def test_a_reference_to_nothing_is_anything(reference: Any) -> None:
    assert typed({"$ref": reference}).startswith("{ x: ")


def test_a_schema_that_refers_to_itself_ends() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
    assert typed({"$ref": "#/$defs/node"}, node=node) == "{ x: { next?: any } }"


def test_dialects_differ_in_titles_and_lines() -> None:
    function = {"name": "f", "parameters": {"properties": {"x": {"title": "X", "description": "d", "type": "string"}}}}
    assert shown(function, Dialect(titles=False)) == "type f = (_: {\n// d\nx?: string,\n}) => any;"
    assert shown(function, Dialect(apart=True)) == "type f = (_: {\n// X\n//\n// d\nx?: string,\n}) => any;"
    plain = {"name": "f", "parameters": {"properties": {"x": {"type": "string"}}}}
    assert shown(plain, Dialect(one_line=False)) == "type f = (_: {\nx?: string,\n}) => any;"
