"""What an answer tells of its call once it has been delivered: the tokens it really used, and whether a stream failed.

A stream is watched as the caller reads it: each event is looked at in passing and handed on, nothing is read ahead or
held back.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

__all__ = ["Outcome", "Tally", "outcome_of", "outcome_of_response", "watch", "watch_async"]

UTF8_BYTES_A_TOKEN = 4
"""How many bytes a token of an answer has, roughly: used only for streams that tell no usage (cookbook's rule of
thumb).
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call used, as far as the answer tells: tokens, and the output among them; None where it doesn't."""

    tokens: int | None
    output_tokens: int | None


UNTOLD: Final = Outcome(None, None)


def outcome_of(answer: Any) -> Outcome:
    """Read the usage of an answer that is there as a whole: a model of the SDK, or a raw response whose body has been
    read.
    """
    usage = getattr(answer, "usage", None)
    if usage is None and (response := getattr(answer, "http_response", None)) is not None:
        return outcome_of_response(response)
    return _outcome_of_usage(usage)


def outcome_of_response(response: Any) -> Outcome:
    """Read the usage in the body of a response of the HTTP library, where it has been read as a whole."""
    return _outcome_of_usage(_usage_in(response))


class Tally:
    """Collects what the events of a stream tell, one after another. `is_reading`: the next one is being read."""

    __slots__ = ("_text_bytes", "_usage", "failure", "is_reading")

    def __init__(self) -> None:
        self._usage: Any = None
        self._text_bytes = 0
        self.failure: Any = None
        self.is_reading = False

    @property
    def has_begun(self) -> bool:
        """Whether a part of the answer has come."""
        return self._text_bytes > 0 or self._usage is not None

    def see(self, event: Any) -> None:
        """Look at one event."""
        if (usage := getattr(event, "usage", None)) is not None:
            self._usage = usage
        if (choices := getattr(event, "choices", None)) is not None:
            for choice in choices:
                self._count_choice(choice)
            return
        kind = getattr(event, "type", None)
        if not isinstance(kind, str):
            return
        if kind.endswith(".delta") and "audio" not in kind:
            self._count(getattr(event, "delta", None))
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            response = getattr(event, "response", None)
            self._usage = getattr(response, "usage", None) or self._usage
            self.failure = getattr(response, "error", None)
        elif kind == "error":
            self.failure = event

    def outcome(self, input_tokens: int) -> Outcome:
        """Tell what the call used: as the stream says, or by the text that came where it says nothing."""
        told = self.usage()
        if told.tokens is not None or not self._text_bytes:
            return told
        output_tokens = -(-self._text_bytes // UTF8_BYTES_A_TOKEN)
        return Outcome(input_tokens + output_tokens, output_tokens)

    def usage(self) -> Outcome:
        """Tell what the stream itself says that the call used."""
        return _outcome_of_usage(self._usage)

    def _count_choice(self, choice: Any) -> None:
        delta = getattr(choice, "delta", None)
        for text in (getattr(choice, "text", None), getattr(delta, "content", None), getattr(delta, "refusal", None)):
            self._count(text)
        for called in getattr(delta, "tool_calls", None) or ():
            function = getattr(called, "function", None)
            self._count(getattr(function, "name", None))
            self._count(getattr(function, "arguments", None))

    def _count(self, text: Any) -> None:
        if isinstance(text, str):
            self._text_bytes += len(text.encode("utf-8", "surrogatepass"))


def watch(events: Iterator[Any], tally: Tally, end: Callable[[BaseException | None], None]) -> Iterator[Any]:
    """Hand a stream's events on, and tell when it has ended: read to the end, left early, or broken by an error."""
    failure: BaseException | None = None
    try:
        tally.is_reading = True
        for event in events:
            tally.see(event)
            tally.is_reading = False
            yield event
            tally.is_reading = True
    except Exception as error:
        failure = error
        raise
    finally:
        end(failure)


async def watch_async(
    events: AsyncIterator[Any], tally: Tally, end: Callable[[BaseException | None], None]
) -> AsyncIterator[Any]:
    """Do what `watch` does, in async code."""
    failure: BaseException | None = None
    try:
        tally.is_reading = True
        async for event in events:
            tally.see(event)
            tally.is_reading = False
            yield event
            tally.is_reading = True
    except Exception as error:
        failure = error
        raise
    finally:
        end(failure)


def _outcome_of_usage(usage: Any) -> Outcome:
    if usage is None:
        return UNTOLD
    of = usage.get if isinstance(usage, Mapping) else partial(getattr, usage)
    output_tokens = _whole(of("completion_tokens", None))
    return Outcome(
        _whole(of("total_tokens", None)),
        _whole(of("output_tokens", None)) if output_tokens is None else output_tokens,
    )


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _usage_in(response: Any) -> Any:
    if not response.is_closed or "json" not in response.headers.get("content-type", ""):
        return None
    try:
        body = json.loads(response.content)
    except (ValueError, RuntimeError):  # not JSON after all, or a body that was streamed past us
        return None
    return body.get("usage") if isinstance(body, dict) else None
