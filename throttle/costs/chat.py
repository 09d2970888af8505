"""Input tokens of a chat completion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from throttle.costs.counter import TokenCounter
from throttle.costs.generations import Generation
from throttle.costs.reading import as_items, as_mapping, as_text

__all__ = ["chat_input"]


def chat_input(body: Mapping[str, Any], generation: Generation, counter: TokenCounter) -> int:
    """Return the input tokens of a body of `/chat/completions`."""
    return generation.lead + sum(message_tokens(each, generation, counter) for each in as_items(body.get("messages")))


def message_tokens(message: Any, generation: Generation, counter: TokenCounter) -> int:
    """Return the tokens of one message: its frame, its role, its content, its name."""
    if not isinstance(message, dict):
        message = as_mapping(message)
    content = message.get("content")
    if isinstance(content, str):
        tokens = counter.count(content)
    else:
        tokens = sum(part_tokens(part, counter) for part in as_items(content))
    role = message.get("role")
    tokens += generation.per_message + counter.count(as_text(role))
    if role == "assistant":
        tokens += generation.per_past_answer
    if "name" in message:
        tokens += 1 + counter.count(as_text(message["name"]))
    return tokens


def part_tokens(part: Any, counter: TokenCounter) -> int:
    """Return the tokens of one part of a content list."""
    if isinstance(part, str):
        return counter.count(part)
    part = as_mapping(part)
    return counter.count(as_text(part.get("text"))) + counter.count(as_text(part.get("refusal")))
