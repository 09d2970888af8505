"""Tokens of tool definitions and of the choice among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from throttle.costs.counter import TokenCounter
from throttle.costs.generations import Generation
from throttle.costs.reading import as_items, as_mapping, as_text, fingerprint, plain
from throttle.costs.typescript import namespace

__all__ = ["chosen_function", "definitions_are_known", "definitions_tokens", "hosted_tokens"]

_HEADING: Final = "# Tools\n\n## functions\n\n"

_CUSTOM: Final = 66
_CUSTOM_IN_CHAT: Final = 76
"""A custom tool besides its name, description and grammar (one recording each, August 2025)."""


_HOSTED: Final = {"web_search_preview": 294, "web_search": 322, "shell": 237}
"""Hosted tools that cost the same each time (web search: gpt-4o and gpt-4.1, May 2025 to August 2026; shell: gpt-5.4).

What they find isn't in it, and what others (files, code, MCP, …) tell the model can't be seen: it counts as nothing.
"""


def definitions_tokens(body: Mapping[str, Any], generation: Generation, counter: TokenCounter, *, chat: bool) -> int:
    """Return the tokens of all definitions with their heading, or 0 where there are none.

    `chat` tells chat from the Responses API, which doesn't repeat comments (`Dialect.repeats`). Hosted tools are not
    among them.
    """
    tools = as_items(body.get("tools")) or as_items(body.get("functions"))
    if not tools:
        return 0
    return counter.derived(_key(tools, generation, chat), lambda: _tokens(plain(tools), generation, counter, chat))


def hosted_tokens(body: Mapping[str, Any]) -> int:
    """Return the tokens of tools that run at the server, as far as they are known."""
    kinds = (as_mapping(tool).get("type") for tool in as_items(body.get("tools")))
    return sum(_HOSTED.get(kind, 0) for kind in kinds if isinstance(kind, str))


def definitions_are_known(tools: Any, generation: Generation, counter: TokenCounter, *, chat: bool) -> bool:
    """Tell whether the count of these tools is remembered."""
    return counter.knows_derived(_key(tools, generation, chat))


def _key(tools: Any, generation: Generation, chat: bool) -> int:
    return hash((fingerprint(tools), generation.dialect, chat))


def _tokens(tools: Sequence[Any], generation: Generation, counter: TokenCounter, chat: bool) -> int:
    tokens = 0
    functions = []
    for tool in map(as_mapping, tools):
        kind = tool.get("type", "function")
        if kind == "custom":
            tokens += _CUSTOM_IN_CHAT if chat else _CUSTOM
            tokens += _custom_tokens(as_mapping(tool.get("custom")) or tool, counter)
        elif kind == "function":
            functions.append(as_mapping(tool.get("function")) or tool)
    if functions:
        # One less than the rendering's own count, with and without a system message before it.
        rendered = namespace(functions, replace(generation.dialect, repeats=chat))
        tokens += counter.count(_HEADING + rendered) - 1
    return tokens


def _custom_tokens(tool: Mapping[str, Any], counter: TokenCounter) -> int:
    form = as_mapping(tool.get("format"))
    grammar = as_mapping(form.get("grammar")) or form
    texts = (tool.get("name"), tool.get("description"), grammar.get("definition"))
    return sum(counter.count(as_text(text)) for text in texts)


def chosen_function(body: Mapping[str, Any]) -> str:
    """Return the name of the one function that `tool_choice` (or `function_call`) demands, or nothing."""
    choice = body.get("tool_choice", body.get("function_call"))
    if isinstance(choice, str):
        return ""
    choice = as_mapping(choice)
    return as_text(as_mapping(choice.get("function")).get("name") or choice.get("name"))
