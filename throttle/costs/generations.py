"""Which generation a model belongs to, and the figures by which generations differ.

Sources: OpenAI's cookbook ("How to count tokens with tiktoken") for messages of the classic ones; everything else was
measured on recordings that public repositories keep of the API's answers (March 2023 to August 2026), whose `usage`
says what was counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from throttle.costs.images import Patches, Tiles
from throttle.costs.typescript import Dialect
from throttle.costs.vocabulary import base_name

__all__ = ["Generation", "generation_of"]


_DIALECT: Final = Dialect()
_TILES: Final = Tiles(85, 170)


@dataclass(frozen=True, slots=True)
class Generation:
    """What one generation of models does with a call; every figure is a number of tokens.

    Attributes:
        name: what it is called here.
        reasons: whether its models think before they answer, in hidden tokens that count as output.
        lead: what every conversation has, whatever is in it.
        per_message: what every message has besides its role and content.
        per_past_answer: what every earlier answer of the assistant has on top.
        chat_tools: what tools have in chat besides their text.
        chat_heading: what tools and schemas have in chat on top where there is a system message.
        chat_call: a call of a tool and its result in chat, besides names, arguments and result.
        chat_parallel: several calls at once in chat, besides their text and that of the results.
        chat_format: a JSON schema in chat, besides its text and name.
        choice_named: whether a `tool_choice` of one function adds its name.
        responses_tools: what tools have in the Responses API besides their text.
        responses_call: a call and its result in the Responses API, besides names, arguments and result.
        responses_kept: a call sent back with its `status`, on top.
        responses_compact: whether arguments are written anew, without blanks.
        responses_parallel: several calls at once in the Responses API: once, and for each.
        responses_format: a JSON schema in the Responses API, besides its text.
        responses_required: what `tool_choice: required` adds in the Responses API.
        responses_image: an image in the Responses API, besides its rule.
        dialect: how its tools are written.
        image: how its images count.
    """

    name: str
    reasons: bool = False
    lead: int = 3
    per_message: int = 3
    per_past_answer: int = 0
    chat_tools: int = 0
    chat_heading: int = 0
    chat_call: int = 12
    chat_parallel: int = 20
    chat_format: int = 2
    choice_named: bool = True
    responses_tools: int = -2
    responses_call: int = 9
    responses_kept: int = 3
    responses_compact: bool = False
    responses_parallel: tuple[int, int] = (0, 9)
    responses_format: int = 1
    responses_required: int = 9
    responses_image: int = 0
    dialect: Dialect = _DIALECT
    image: Tiles | Patches = _TILES


_CLASSIC: Final = Generation("classic")
_O_SERIES: Final = Generation(
    "o-series",
    reasons=True,
    lead=2,
    chat_tools=1,
    chat_heading=3,
    chat_call=17,
    chat_parallel=25,
    chat_format=-1,
    choice_named=False,
    responses_tools=1,
    responses_call=15,
    responses_kept=0,
    responses_parallel=(0, 15),
    responses_format=0,
    responses_required=0,
    image=Tiles(75, 150),
)
_GPT_5: Final = replace(
    _O_SERIES,
    name="gpt-5",
    per_past_answer=2,
    chat_tools=82,
    chat_call=18,
    chat_parallel=26,
    responses_tools=4,
    image=Tiles(70, 140),
)
_GPT_5_4: Final = replace(
    _GPT_5,
    name="gpt-5.4",
    responses_call=18,
    responses_compact=True,
    responses_parallel=(22, 12),
    responses_image=2,
    image=Patches(1.2, budget=2500, original=10_000),
)
_MARCH_2023: Final = replace(_CLASSIC, dialect=Dialect(titles=False, one_line=False))

_GENERATIONS: Final = tuple(
    (re.compile(pattern), generation)
    for pattern, generation in (
        (r"gpt-3\.?5-turbo-0301", replace(_MARCH_2023, name="gpt-3.5-turbo-0301", per_message=4)),
        (r"gpt-4(-32k)?-0314", replace(_MARCH_2023, name="gpt-4-0314", lead=2)),
        (r"gpt-4(-32k)?-0613|gpt-3\.?5-turbo(-16k)?-0613", replace(_MARCH_2023, name="june-2023")),
        (r"gpt-4($|[-_:](?!o))|gpt-3\.?5", replace(_CLASSIC, name="cl100k", dialect=Dialect(apart=True))),
        (r"gpt-4o-mini-search|gpt-4o-search", replace(_CLASSIC, name="search-preview", lead=-4)),
        (r"gpt-4o-mini", replace(_CLASSIC, name="gpt-4o-mini", image=Tiles(2833, 5667))),
        (r"gpt-4\.1-mini", replace(_CLASSIC, name="gpt-4.1-mini", responses_image=2, image=Patches(1.62))),
        (r"gpt-4\.1-nano", replace(_CLASSIC, name="gpt-4.1-nano", responses_image=2, image=Patches(2.46))),
        (r"o4-mini|codex-mini", replace(_O_SERIES, name="o4-mini", image=Patches(1.72))),
        (r"o\d", _O_SERIES),
        (r"computer-use", replace(_CLASSIC, name="computer-use", image=Tiles(65, 129))),
        (r"gpt-5[.\d]*-chat", replace(_CLASSIC, name="gpt-5-chat", image=Tiles(70, 140))),
        (r"gpt-5-mini", replace(_GPT_5, name="gpt-5-mini", image=Patches(1.2))),
        (r"gpt-5-nano", replace(_GPT_5, name="gpt-5-nano", image=Patches(1.5))),
        (r"gpt-5\.[23]", replace(_GPT_5, name="gpt-5.2", image=Patches(1.2))),
        (r"gpt-5(\.1)?($|[-_:])", _GPT_5),
        (r"gpt-5\.\d-(mini|nano)", replace(_GPT_5_4, name="gpt-5.4-mini", image=Patches(1.2))),
        (r"gpt-(5\.|[6-9])", _GPT_5_4),
        (r"codex", _GPT_5),
    )
)
"""Patterns are matched at the start of a name; the first that matches counts, and what matches none is classic."""


@lru_cache(maxsize=4096)
def generation_of(model: str) -> Generation:
    """Return the generation of a model.

    Unknown names count as classic, which most servers that imitate the API follow; `gpt-6` and later as the latest that
    is known.
    """
    name = base_name(model)
    for pattern, generation in _GENERATIONS:
        if pattern.match(name):
            return generation
    return _CLASSIC
