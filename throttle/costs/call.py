"""One call's cost: a view of its body that computes what is asked for, once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from throttle.costs import charges, endpoints
from throttle.costs.chat import chat_input
from throttle.costs.cost import Cost
from throttle.costs.counter import TokenCounter, counter_for, utf8_length
from throttle.costs.generations import Generation, generation_of
from throttle.costs.output import output_tokens
from throttle.costs.prompts import prompt_count, prompts_input
from throttle.costs.reading import as_items, as_mapping, as_text, positive
from throttle.costs.responses import responses_input
from throttle.costs.vocabulary import vocabulary_of

__all__ = ["CallCost", "estimate"]

_HEAVY_BYTES: Final = 16_384
"""Text beyond this takes longer to count than about a millisecond."""


def estimate(body: Mapping[str, Any], endpoint: str = "/chat/completions") -> Cost:
    """Estimate what a call costs, in the tokens that the API will report as usage.

    Never raises, whatever the body holds: what has a wrong type counts as the text it is, or as nothing. The body is
    only read.
    """
    return CallCost(body, endpoint).cost


class CallCost:
    """What one call costs and what a server books of it. Computes on first look and keeps the result; nothing of the
    body is changed.

    `expected_output` is how many tokens an answer (one choice) is expected to have where the body names no maximum;
    `model` the model to count for where the body's own name doesn't tell (an Azure deployment).
    """

    def __init__(
        self,
        body: Mapping[str, Any],
        endpoint: str = "/chat/completions",
        expected_output: int | None = None,
        *,
        model: str | None = None,
    ) -> None:
        self._body = as_mapping(body)
        self.endpoint = endpoints.normalise(endpoint)
        self.expected_output = expected_output
        asked = self._body.get("model")
        self.model: str | None = asked if isinstance(asked, str) and asked else endpoints.deployment_of(endpoint)
        self._counted_as = model or self.model or ""

    @cached_property
    def text_bytes(self) -> int:
        """The UTF-8 bytes of the text that goes in: of messages, items, prompts."""
        return sum(map(utf8_length, _texts(self._body, self.endpoint)))

    @property
    def heavy(self) -> bool:
        """Whether counting may take longer than about a millisecond, so that an event loop had better not do it itself.
        """
        return self.text_bytes > _HEAVY_BYTES

    @cached_property
    def input_tokens(self) -> int:
        """The tokens of everything that goes in."""
        body, counter = self._body, self._counter
        if self.endpoint == endpoints.CHAT:
            return chat_input(body, self._generation, counter)
        if self.endpoint == endpoints.RESPONSES:
            return responses_input(body, self._generation, counter)
        if self.endpoint == endpoints.COMPLETIONS:
            return prompts_input(body.get("prompt"), counter) + prompts_input(body.get("suffix"), counter)
        if self.endpoint in (endpoints.EMBEDDINGS, endpoints.MODERATIONS):
            return prompts_input(body.get("input"), counter)
        return 0

    @cached_property
    def output_tokens(self) -> int:
        """The tokens that come out: the maximum asked for, or else what is expected, of all choices."""
        prompts = prompt_count(self._body.get("prompt")) if self.endpoint == endpoints.COMPLETIONS else 1
        return output_tokens(
            self._body, self.endpoint, prompts=prompts, reasons=self._generation.reasons, expected=self.expected_output
        )

    @cached_property
    def cost(self) -> Cost:
        """What the API will report as usage."""
        return Cost(1, self.input_tokens, self.output_tokens, self._images)

    def booked(self, charge: str) -> int:
        """Return the tokens that a server books of this call under a charge model, one of `CHARGES`.

        Raises `ValueError` for another.
        """
        if charge not in charges.CHARGES:
            raise ValueError(f"no charge model {charge!r}; there are: {', '.join(charges.CHARGES)}")
        if charge == "characters":
            return self._characters
        if charge == "input":
            return self.input_tokens
        return self.cost.tokens

    @property
    def _characters(self) -> int:
        if self.endpoint == endpoints.CHAT:
            return -(-self.text_bytes // 4) + len(as_items(self._body.get("messages"))) + 1
        if self.endpoint == endpoints.COMPLETIONS:
            return -(-self.text_bytes // 4) + 1
        return self.text_bytes // 4

    @property
    def _images(self) -> int:
        if not self.endpoint.startswith("/images/"):
            return 0
        return positive(self._body.get("n")) or 1

    @cached_property
    def _generation(self) -> Generation:
        return generation_of(self._counted_as)

    @property
    def _counter(self) -> TokenCounter:
        if not self._counted_as and self.endpoint == endpoints.EMBEDDINGS:
            return counter_for("cl100k_base")
        return counter_for(vocabulary_of(self._counted_as))


def _texts(body: Mapping[str, Any], endpoint: str) -> list[str]:
    """Collect the texts that servers which book by characters look at."""
    if endpoint == endpoints.CHAT:
        return [
            text for message in as_items(body.get("messages")) for text in _contents(as_mapping(message).get("content"))
        ]
    if endpoint == endpoints.RESPONSES:
        given = body.get("input")
        texts = [as_text(body.get("instructions"))]
        if isinstance(given, str):
            return [*texts, given]
        return texts + [text for item in as_items(given) for text in _contents(as_mapping(item).get("content"))]
    return _contents(body.get("prompt" if endpoint == endpoints.COMPLETIONS else "input"))


def _contents(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [part if isinstance(part, str) else as_text(as_mapping(part).get("text")) for part in as_items(content)]
