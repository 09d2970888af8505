"""Input tokens of endpoints that take plain prompts: legacy completions, edits, embeddings, moderations."""

from __future__ import annotations

from typing import Any

from throttle.costs.counter import TokenCounter
from throttle.costs.reading import as_items, as_mapping, as_text

__all__ = ["prompt_count", "prompts_input"]


def prompts_input(prompt: Any, counter: TokenCounter) -> int:
    """Return the tokens of a prompt: a string, a list of strings, token numbers, or a list of lists of them."""
    if isinstance(prompt, str):
        return counter.count(prompt)
    tokens = 0
    for item in as_items(prompt):
        if isinstance(item, str):
            tokens += counter.count(item)
        elif isinstance(item, int):
            tokens += 1
        elif isinstance(item, list | tuple):
            tokens += len(item)
        else:
            tokens += counter.count(as_text(as_mapping(item).get("text")))
    return tokens


def prompt_count(prompt: Any) -> int:
    """Return how many prompts a legacy completion answers: at least one."""
    items = as_items(prompt)
    if not items or isinstance(items[0], int):
        return 1
    return len(items)
