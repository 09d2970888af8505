"""Input tokens of a call of the Responses API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from throttle.costs.chat import message_tokens
from throttle.costs.counter import TokenCounter
from throttle.costs.formats import format_tokens, schema_of
from throttle.costs.generations import Generation
from throttle.costs.parts import arguments_tokens, content_tokens
from throttle.costs.reading import as_items, as_mapping, as_text
from throttle.costs.tools import chosen_function, definitions_tokens, hosted_tokens

__all__ = ["responses_input"]

_CALLS: Final = ("function_call", "custom_tool_call")
_RESULTS: Final = ("function_call_output", "custom_tool_call_output")


def responses_input(body: Mapping[str, Any], generation: Generation, counter: TokenCounter) -> int:
    """Return the input tokens of a body of `/responses`.

    `instructions` is a system message in front, a string `input` one message of the user. What the server keeps
    (`previous_response_id`, `conversation`, stored prompts) and what hosted tools bring can't be seen and counts as
    nothing.
    """
    tokens = generation.lead
    instructions = as_text(body.get("instructions"))
    if instructions:
        tokens += message_tokens({"role": "system", "content": instructions}, generation, counter)
    given = body.get("input")
    if isinstance(given, str):
        tokens += message_tokens({"role": "user", "content": given}, generation, counter)
    else:
        tokens += _items_tokens(as_items(given), generation, counter)
    if body.get("tools"):
        definitions = definitions_tokens(body, generation, counter, chat=False)
        if definitions:
            tokens += definitions + generation.responses_tools + _choice_tokens(body, generation, counter)
        tokens += hosted_tokens(body)
    form = schema_of(as_mapping(body.get("text")).get("format"))
    if form:
        tokens += generation.responses_format + format_tokens(form, counter)
    return tokens


def _choice_tokens(body: Mapping[str, Any], generation: Generation, counter: TokenCounter) -> int:
    if body.get("tool_choice") == "required":
        return generation.responses_required
    chosen = chosen_function(body) if generation.choice_named else ""
    return 7 + counter.count(chosen) if chosen else 0


def _items_tokens(items: Sequence[Any], generation: Generation, counter: TokenCounter) -> int:
    """Return the tokens of input items: messages, calls, results. Reasoning that is sent back counts as nothing."""
    tokens = 0
    names: dict[str, str] = {}
    calls: list[Mapping[str, Any]] = []
    for item in items:
        if not isinstance(item, dict):
            item = as_mapping(item)
        kind = item.get("type")
        if kind in _CALLS:
            names[as_text(item.get("call_id"))] = as_text(item.get("name"))
            calls.append(item)
            continue
        if calls:
            tokens += _calls_tokens(calls, generation, counter)
            calls = []
        if kind in _RESULTS:
            name = names.get(as_text(item.get("call_id")), "")
            tokens += counter.count(f"functions.{name}") + content_tokens(item.get("output"), generation, counter)
        elif kind is None or kind == "message":
            tokens += message_tokens(item, generation, counter)
    return tokens + _calls_tokens(calls, generation, counter)


def _calls_tokens(calls: Sequence[Mapping[str, Any]], generation: Generation, counter: TokenCounter) -> int:
    """Return the tokens of calls made at once, each with the frame of its result."""
    if not calls:
        return 0
    if len(calls) == 1:
        tokens = generation.responses_call + (generation.responses_kept if "status" in calls[0] else 0)
    else:
        once, each = generation.responses_parallel
        tokens = once + each * len(calls)
    for call in calls:
        arguments = as_text(call.get("arguments", call.get("input")))
        tokens += arguments_tokens(arguments, counter) if generation.responses_compact else counter.count(arguments)
        tokens += counter.count(f"functions.{as_text(call.get('name'))}")
    return tokens
