"""Input tokens of a call of the Responses API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from throttle.costs.chat import message_tokens
from throttle.costs.counter import TokenCounter
from throttle.costs.generations import Generation
from throttle.costs.reading import as_items, as_text

__all__ = ["responses_input"]


def responses_input(body: Mapping[str, Any], generation: Generation, counter: TokenCounter) -> int:
    """Return the input tokens of a body of `/responses`.

    `instructions` is a system message in front, a string `input` one message of the user.
    """
    tokens = generation.lead
    given = body.get("input")
    items = ({"role": "user", "content": given},) if isinstance(given, str) else as_items(given)
    instructions = as_text(body.get("instructions"))
    if instructions:
        tokens += message_tokens({"role": "system", "content": instructions}, generation, counter)
    return tokens + sum(message_tokens(item, generation, counter) for item in items)
