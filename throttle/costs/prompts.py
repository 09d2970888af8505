"""Plain prompts: of legacy completions, edits, embeddings, moderations."""

from __future__ import annotations

from typing import Any

from throttle.costs.counter import TokenCounter, utf8_length
from throttle.costs.reading import as_items, as_mapping, as_text

__all__ = ["prompt_bytes", "prompt_count", "prompt_tokens"]


def prompt_tokens(prompt: Any, counter: TokenCounter) -> int:
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


def prompt_bytes(prompt: Any) -> int:
    """Return the UTF-8 bytes of a prompt, where a token given as a number counts four."""
    if isinstance(prompt, str):
        return utf8_length(prompt)
    size = 0
    for item in as_items(prompt):
        if isinstance(item, str):
            size += utf8_length(item)
        elif isinstance(item, int):
            size += 4
        elif isinstance(item, list | tuple):
            size += 4 * len(item)
        else:
            size += utf8_length(as_text(as_mapping(item).get("text")))
    return size


def prompt_count(prompt: Any) -> int:
    """Return how many prompts a legacy completion answers: at least one."""
    items = as_items(prompt)
    return 1 if not items or isinstance(items[0], int) else len(items)
