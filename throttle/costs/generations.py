"""Which generation a model belongs to, and the figures by which generations differ.

Sources: OpenAI's cookbook ("How to count tokens with tiktoken") for the classic ones; the rest was measured on
recordings that public repositories keep of the API's answers (March 2023 to August 2026), whose `usage` says what was
counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from throttle.costs.vocabulary import base_name

__all__ = ["Generation", "generation_of"]


@dataclass(frozen=True, slots=True)
class Generation:
    """What one generation of models does with a call.

    Attributes:
        name: what it is called here.
        reasons: whether its models think before they answer, in hidden tokens that count as output.
        lead: tokens that every conversation has, whatever is in it.
        per_message: tokens that every message has besides its role and content.
        per_past_answer: tokens that every earlier answer of the assistant has on top.
    """

    name: str
    reasons: bool = False
    lead: int = 3
    per_message: int = 3
    per_past_answer: int = 0


_CLASSIC: Final = Generation("classic")
_O_SERIES: Final = Generation("o-series", reasons=True, lead=2)
_GPT_5: Final = Generation("gpt-5", reasons=True, lead=2, per_past_answer=2)

_GENERATIONS: Final = tuple(
    (re.compile(pattern), generation)
    for pattern, generation in (
        (r"gpt-3\.?5-turbo-0301", Generation("march-2023", per_message=4)),
        (r"gpt-4-0314", Generation("march-2023-gpt-4", lead=2)),
        (r"o\d", _O_SERIES),
        (r"gpt-5[.\d]*-chat", _CLASSIC),
        (r"gpt-[5-9]|codex", _GPT_5),
    )
)
"""Patterns are matched at the start of a name; the first that matches counts, and what matches none is classic."""


@lru_cache(maxsize=4096)
def generation_of(model: str) -> Generation:
    """Return the generation of a model; unknown names count as classic, which most servers that imitate the API follow."""
    name = base_name(model)
    for pattern, generation in _GENERATIONS:
        if pattern.match(name):
            return generation
    return _CLASSIC
