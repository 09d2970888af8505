"""Input tokens of a chat completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from throttle.costs.counter import TokenCounter
from throttle.costs.formats import format_tokens, schema_of
from throttle.costs.generations import Generation
from throttle.costs.parts import arguments_tokens, content_tokens, text_of
from throttle.costs.reading import as_items, as_mapping, as_text, parsed_json, written
from throttle.costs.tools import chosen_function, definitions_tokens

__all__ = ["chat_input", "message_tokens"]

_ROLES: Final = frozenset(("system", "user", "assistant", "developer", "tool", "function"))
"""Roles that are one token in every vocabulary."""

_SPOKEN: Final = frozenset(("system", "user", "assistant", "developer"))
"""Roles of messages that are no more than a role and a content."""

_SYSTEM: Final = ("system", "developer")

_TAIL: Final = 64
"""Characters at the end of a text that decide how it merges with what follows."""


def chat_input(body: Mapping[str, Any], generation: Generation, counter: TokenCounter) -> int:
    """Return the input tokens of a body of `/chat/completions`."""
    messages = as_items(body.get("messages"))
    form = schema_of(body.get("response_format"))
    sections = []
    tokens = generation.lead
    each_answer = 0
    if body.get("tools") or body.get("functions"):
        definitions = definitions_tokens(body, generation, counter, chat=True)
        if definitions:
            sections.append(definitions)
            tokens += generation.chat_tools + _choice_tokens(body, generation, counter)
    if form:
        # Where it can't be anything else, each answer begins with the format's name.
        each_answer = 0 if sections else generation.chat_format + counter.count(as_text(form.get("name")))
        sections.append(format_tokens(form, counter))
    tokens += each_answer + _messages_tokens(messages, generation, counter, each_answer)
    return tokens + _sections_tokens(sections, messages, generation, counter) if sections else tokens


def _messages_tokens(messages: Sequence[Any], generation: Generation, counter: TokenCounter, each_answer: int) -> int:
    """Return the tokens of all messages; those that are no more than a role and a text, as nearly all are, in
    a hurry.
    """
    contents: list[str] = []
    answers = 0
    for message in messages:
        if type(message) is not dict or len(message) != 2:
            break
        content, role = message.get("content"), message.get("role")
        if type(content) is not str or type(role) is not str or role not in _SPOKEN:
            break
        contents.append(content)
        if role == "assistant":
            answers += 1
    tokens = counter.total(contents) + len(contents) * (generation.per_message + 1)
    tokens += answers * (generation.per_past_answer + each_answer)
    if len(contents) < len(messages):
        tokens += _Conversation(generation, counter, each_answer).tokens(messages[len(contents) :])
    return tokens


def _sections_tokens(
    sections: Sequence[int], messages: Sequence[Any], generation: Generation, counter: TokenCounter
) -> int:
    """Return the tokens of sections added to the first system message, or to one made for them."""
    tokens = sum(sections) + len(sections) - 1
    for message in map(as_mapping, messages):
        if message.get("role") in _SYSTEM:
            return tokens + generation.chat_heading + _break_tokens(text_of(message.get("content")), counter)
    return tokens + generation.per_message + 1


def _break_tokens(text: str, counter: TokenCounter) -> int:
    """Return what a blank line and a heading after a text add, the heading itself left out: the blank line
    may merge.
    """
    tail = text[-_TAIL:]
    return counter.count(tail + "\n\n#") - counter.count(tail) - 1


def _choice_tokens(body: Mapping[str, Any], generation: Generation, counter: TokenCounter) -> int:
    if body.get("tool_choice", body.get("function_call")) == "none":
        return 1
    chosen = chosen_function(body) if generation.choice_named else ""
    return 7 + counter.count(chosen) if chosen else 0


def message_tokens(message: Mapping[str, Any], generation: Generation, counter: TokenCounter) -> int:
    """Return the tokens of one message without calls: its frame, its role, its content, its name."""
    content = message.get("content")
    tokens = counter.count(content) if isinstance(content, str) else content_tokens(content, generation, counter)
    role = as_text(message.get("role"))
    tokens += generation.per_message + (1 if role in _ROLES else counter.count(role))
    if role == "assistant":
        tokens += generation.per_past_answer + counter.count(as_text(message.get("refusal")))
    if "name" in message:
        name = as_text(message["name"])
        tokens += 1 + counter.count(name) if name and name != role else bool(name)
    return tokens


class _Conversation:
    """Counts messages one after another; calls of tools and their results belong together.

    One call is written with its name, and its result with the name once more; several at once are one call of
    `multi_tool_use.parallel`, whose results are one JSON list. That list and the arguments are written anew by the
    server, as Python's `json` does: so their own blanks don't count. (Recordings of 2024 to 2026: 165 of 166 to the
    token.)
    """

    def __init__(self, generation: Generation, counter: TokenCounter, each_answer: int) -> None:
        self._generation = generation
        self._counter = counter
        self._each_answer = each_answer
        self._names: dict[str, str] = {}
        self._results: list[str] | None = None

    def tokens(self, messages: Sequence[Any]) -> int:
        """Return the tokens of all messages."""
        tokens = 0
        for message in messages:
            tokens += self._message_tokens(message if isinstance(message, dict) else as_mapping(message))
        return tokens + self._results_tokens()

    def _message_tokens(self, message: Mapping[str, Any]) -> int:
        role = message.get("role")
        if role == "tool" or role == "function":
            return self._result_tokens(message)
        tokens = self._results_tokens()
        if role == "assistant":
            return tokens + self._answer_tokens(message)
        return tokens + message_tokens(message, self._generation, self._counter)

    def _answer_tokens(self, message: Mapping[str, Any]) -> int:
        calls = [as_mapping(call) for call in as_items(message.get("tool_calls"))]
        if not calls and message.get("function_call"):
            calls = [{"function": message["function_call"]}]
        tokens = 0
        if not calls or message.get("content"):
            tokens = message_tokens(message, self._generation, self._counter) + self._each_answer
        if not calls:
            return tokens
        return tokens + (self._call_tokens(calls[0]) if len(calls) == 1 else self._calls_tokens(calls))

    def _call_tokens(self, call: Mapping[str, Any]) -> int:
        name, arguments = _name_and_arguments(call)
        self._names[as_text(call.get("id"))] = name
        return self._generation.chat_call + self._counter.count(name) + arguments_tokens(arguments, self._counter)

    def _calls_tokens(self, calls: Sequence[Mapping[str, Any]]) -> int:
        self._results = []
        uses = [_name_and_arguments(call) for call in calls]
        count = self._counter
        return self._generation.chat_parallel + count.derived(hash(tuple(uses)), lambda: count.count(_parallel(uses)))

    def _result_tokens(self, message: Mapping[str, Any]) -> int:
        content = message.get("content")
        if self._results is not None:
            self._results.append(text_of(content))
            return 0
        name = as_text(message.get("name")) or self._names.get(as_text(message.get("tool_call_id")), "")
        return self._counter.count(f"functions.{name}") + content_tokens(content, self._generation, self._counter)

    def _results_tokens(self) -> int:
        results, self._results = self._results, None
        if not results:
            return 0
        count = self._counter
        return count.derived(
            hash(tuple(results)),
            lambda: count.count(written([parsed_json(each)[0] for each in results], spaced=True, ascii_only=True)),
        )


def _name_and_arguments(call: Mapping[str, Any]) -> tuple[str, str]:
    function = as_mapping(call.get("function")) or as_mapping(call.get("custom"))
    return as_text(function.get("name")), as_text(function.get("arguments", function.get("input")))


def _parallel(uses: Sequence[tuple[str, str]]) -> str:
    calls = [{"recipient_name": f"functions.{name}", "parameters": parsed_json(said)[0]} for name, said in uses]
    return written({"tool_uses": calls})
