"""A server that is a function, and whose answers come in pieces: a response isn't closed before it was read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import openai

from tests.jobs.support import httpx

__all__ = ["answer_in_pieces", "client_of", "events"]


class _Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):  # type: ignore[misc]
    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    def close(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


def events(*told: Any) -> list[bytes]:
    """Write the events of a stream."""
    lines = [told if isinstance(told, str) else json.dumps(told) for told in told]
    return [f"data: {line}\n\n".encode() for line in lines]


def answer_in_pieces(pieces: Iterable[bytes], status: int = 200, kind: str = "text/event-stream") -> Any:
    """Make the response whose body comes so."""
    return httpx.Response(status, headers={"content-type": kind}, stream=_Pieces(pieces))


def client_of(runtime: str, answer: Callable[[Any], Any], **options: Any) -> Any:
    """Make a client of the SDK, for a runtime, whose requests the function answers."""
    kind, http_kind = (openai.OpenAI, httpx.Client) if runtime == "sync" else (openai.AsyncOpenAI, httpx.AsyncClient)
    http_client = http_kind(transport=httpx.MockTransport(answer))
    return kind(api_key="k", base_url="http://a.test/v1", http_client=http_client, max_retries=0, **options)
