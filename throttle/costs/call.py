"""One call's cost: a view of its body that computes what is asked for, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from throttle.costs import charges, endpoints
from throttle.costs.chat import chat_input
from throttle.costs.cost import Cost
from throttle.costs.counter import TokenCounter, bounding_counter, counter_for, counter_is_ready
from throttle.costs.generations import Generation, generation_of
from throttle.costs.output import choices_of, expected_output, explicit_maximum
from throttle.costs.parts import content_bytes, image_tokens_in, images_in, texts_of
from throttle.costs.prompts import prompt_bytes, prompt_count, prompt_tokens
from throttle.costs.reading import as_items, as_mapping, as_text, bytes_within, positive
from throttle.costs.responses import responses_input
from throttle.costs.tools import definitions_are_known
from throttle.costs.vocabulary import vocabulary_of

__all__ = ["CallCost", "estimate"]

_HEAVY: Final = 16_384
"""Characters that take about a millisecond to count."""

_TOOL: Final = 400
"""Characters supposed of a tool's definition."""

_PROMPTS: Final = {
    endpoints.COMPLETIONS: ("prompt", "suffix"),
    endpoints.EDITS: ("input", "instruction"),
    endpoints.EMBEDDINGS: ("input",),
    endpoints.MODERATIONS: ("input",),
}
"""Endpoints that take plain prompts, and where their bodies have them."""

_CONVERSATIONS: Final = (endpoints.CHAT, endpoints.RESPONSES)
_COUNTED: Final = frozenset((*_CONVERSATIONS, *_PROMPTS))
"""Endpoints whose calls are booked tokens."""


def estimate(body: Mapping[str, Any], endpoint: str = "/chat/completions", *, model: str | None = None) -> Cost:
    """Estimate what a call costs, in the tokens that the API will report as usage.

    `model` is the model to count for where the body's own name doesn't tell: that of an Azure deployment, an alias.

    Raises nothing, whatever the body holds: what has a wrong type counts as the text it is, or as nothing. The body is
    only read. What can't be seen in it (earlier turns that the server keeps, hosted tools, what a URL leads to) counts
    as `docs/estimates.md` tells.
    """
    return CallCost(body, endpoint, model=model).cost


class CallCost:
    """What one call costs and what a server books of it. Computes on first look and keeps the result.

    Attributes:
        endpoint: where the call goes, one of `ENDPOINTS` or its own path.
        model: what the body names, or else the Azure deployment in the address; None where there is neither.
    """

    __slots__ = ("_body", "_counted_as", "_expects", "_input_tokens", "_text_bytes", "endpoint", "model")

    def __init__(
        self,
        body: Mapping[str, Any],
        endpoint: str = "/chat/completions",
        expected_output: int | Callable[[], int | None] | None = None,
        *,
        model: str | None = None,
    ) -> None:
        """View a body, which is never changed.

        Args:
            body: what is sent.
            endpoint: its path, with or without `/v1`, host, or Azure's deployment.
            expected_output: the tokens one answer is expected to have, as `OutputHistory` tells, or who to ask for it
                once it is needed; by default a stated number.
            model: the model to count for, where the body's own name doesn't tell: that of a deployment, an alias.
        """
        self._body = body if isinstance(body, dict) else as_mapping(body)
        self.endpoint = endpoints.normalise(endpoint)
        self._expects = expected_output
        asked = self._body.get("model")
        self.model: str | None = asked if isinstance(asked, str) and asked else endpoints.deployment_of(endpoint)
        self._counted_as = model or self.model or ""
        self._input_tokens: int | None = None
        self._text_bytes: int | None = None

    @property
    def cost(self) -> Cost:
        """What the API will report as usage."""
        return Cost(1, self.input_tokens, self.output_tokens, self.images)

    @property
    def input_tokens(self) -> int:
        """The tokens of everything that goes in."""
        if self._input_tokens is None:
            self._input_tokens = self._input(counter_for(self._vocabulary))
        return self._input_tokens

    @property
    def input_bound(self) -> int:
        """A number that `input_tokens` is never above, told from bytes without counting any text.

        For calls far from a limit, and for what must not wait.
        """
        return self._input(bounding_counter())

    def _input(self, counter: TokenCounter) -> int:
        try:
            if self.endpoint == endpoints.CHAT:
                return chat_input(self._body, self._generation, counter)
            if self.endpoint == endpoints.RESPONSES:
                return responses_input(self._body, self._generation, counter)
            return sum([prompt_tokens(each, counter) for each in self._prompts])
        except RecursionError:  # the caller left no room on the stack
            return bytes_within(self._body)

    @property
    def output_tokens(self) -> int:
        """The tokens that come out of all answers: the maximum asked for, or else what is expected."""
        each = explicit_maximum(self._body, self.endpoint)
        return self.answers * (self._expected if each is None else each)

    @property
    def images(self) -> int:
        """The images to be generated."""
        return positive(self._body.get("n")) or 1 if self.endpoint.startswith("/images/") else 0

    @property
    def text_bytes(self) -> int:
        """The UTF-8 bytes of the text that goes in, of messages, items or prompts; a token number counts four."""
        if self._text_bytes is None:
            if self.endpoint in _CONVERSATIONS:
                self._text_bytes = sum(map(content_bytes, self._contents()))
            else:
                self._text_bytes = sum(map(prompt_bytes, self._prompts))
        return self._text_bytes

    @property
    def heavy(self) -> bool:
        """Whether counting may take longer than about a millisecond, so that an event loop had better not do it.

        Told from lengths and from what is remembered, in microseconds. True also until the vocabulary was read, which
        takes a third of a second the first time.
        """
        if self._input_tokens is not None:
            return False
        return not counter_is_ready(self._vocabulary) or self._is_long()

    def booked(self, charge: str) -> int:
        """Return the tokens that a server books of this call under a charge model, one of `CHARGES`.

        Raises `ValueError` for another charge.
        """
        if charge not in charges.CHARGES:
            raise ValueError(f"no charge model {charge!r}; there are: {', '.join(charges.CHARGES)}")
        if self.endpoint not in _COUNTED:
            return 0
        if charge == "characters":
            contents = list(self._contents())
            images = sum(images_in(content) for content in contents if not isinstance(content, str))
            return charges.by_characters(self.endpoint, self.text_bytes, messages=len(contents), images=images)
        if charge == "input":
            return self._booked_by_input()
        maximum = explicit_maximum(self._body, self.endpoint)
        if not self._expected:
            return self.input_tokens
        if charge == "maximum":
            return charges.by_maximum(self.input_tokens, answers=self.answers, maximum=maximum)
        return charges.by_usage(
            self.endpoint, self.input_tokens, answers=self.answers, maximum=maximum, expected=self._expected
        )

    def _booked_by_input(self) -> int:
        contents = list(self._contents())
        kinds = {as_text(as_mapping(tool).get("type")) for tool in as_items(self._body.get("tools"))}
        return charges.by_input(
            self.endpoint,
            self.input_tokens,
            images=sum(map(images_in, contents)),
            image_tokens=sum(image_tokens_in(content, self._generation) for content in contents),
            functions=kinds == {"function"},
        )

    @property
    def _generation(self) -> Generation:
        return generation_of(self._counted_as)

    @property
    def _vocabulary(self) -> str:
        vocabulary = vocabulary_of(self._counted_as)
        # No model that embeds reads with the default: a deployment's name that doesn't tell is of one that is known.
        return "cl100k_base" if self.endpoint == endpoints.EMBEDDINGS and vocabulary == "o200k_base" else vocabulary

    @property
    def _expected(self) -> int:
        expected = expected_output(self.endpoint, reasons=self._generation.reasons)
        if callable(self._expects):
            self._expects = self._expects()
        return expected if self._expects is None or not expected else self._expects

    @property
    def answers(self) -> int:
        """How many answers are asked for: prompts times choices."""
        prompts = prompt_count(self._body.get("prompt")) if self.endpoint == endpoints.COMPLETIONS else 1
        return prompts * choices_of(self._body, self.endpoint)

    @property
    def _prompts(self) -> list[Any]:
        return [self._body.get(key) for key in _PROMPTS.get(self.endpoint, ())]

    def _contents(self) -> Iterator[Any]:
        """Yield the content of each message or item."""
        if self.endpoint == endpoints.CHAT:
            items = as_items(self._body.get("messages"))
        elif self.endpoint == endpoints.RESPONSES:
            instructions, given = self._body.get("instructions"), self._body.get("input")
            if instructions:
                yield instructions
            if isinstance(given, str):
                yield given
            items = as_items(given)
        else:
            return
        for item in items:
            yield (item if isinstance(item, dict) else as_mapping(item)).get("content")

    def _is_long(self) -> bool:
        counter = counter_for(self._vocabulary)
        characters = unknown = 0
        for text in self._long_texts():
            characters += len(text)
            if characters > _HEAVY and not counter.knows(text):
                unknown += len(text)
        tools = as_items(self._body.get("tools"))
        if len(tools) * _TOOL > _HEAVY:
            chat = self.endpoint == endpoints.CHAT
            if not definitions_are_known(tools, self._generation, counter, chat=chat):
                return True
        return unknown > _HEAVY

    def _long_texts(self) -> Iterator[str]:
        """Yield what may be long in a body: contents, arguments, results, prompts."""
        if self.endpoint not in _CONVERSATIONS:
            for prompt in self._prompts:
                yield from texts_of(prompt)
            return
        for content in self._contents():
            yield from texts_of(content)
        for item in as_items(self._body.get("messages")) or as_items(self._body.get("input")):
            item = as_mapping(item)
            yield as_text(item.get("arguments"))
            yield from texts_of(item.get("output"))
            for call in as_items(item.get("tool_calls")):
                yield as_text(as_mapping(as_mapping(call).get("function")).get("arguments"))
