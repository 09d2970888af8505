"""Sending one request through the SDK, so that its answer comes back byte for byte.

Works on any client, wrapped or not, sync or async. A copy of it is made, which stays throttled on the same limiter, and
on the copy the SDK's `_prepare_request` is watched: it is called for every attempt, after all waiting, right before the
attempt is sent.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Protocol

import anyio
import anyio.from_thread
import anyio.to_thread
from openai import AsyncOpenAI, OpenAI

__all__ = ["Answer", "AnyClient", "Flight", "Sender"]

AnyClient = OpenAI | AsyncOpenAI

RAW_RESPONSE: Final = {"X-Stainless-Raw-Response": "true"}
"""How the SDK's `with_raw_response` says that the caller wants the response itself and not a model."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer: its status, id, and body without line feeds (in JSON these only stand between tokens)."""

    status_code: int
    request_id: str | None
    raw: bytes
    value: dict[str, Any] | None


class Flight(Protocol):
    """What hears of each attempt of a call, always in the thread of the event loop."""

    def went(self) -> None:
        """Learn that an attempt is sent now: it isn't waiting for the limiter any more."""


_FLIGHT: ContextVar[Flight] = ContextVar("flight")


class Sender:
    """Sends bodies to endpoints through one client."""

    def __init__(self, client: AnyClient, *, threads: int = 64) -> None:
        """Make a sender; the client itself is left as it is.

        Args:
            client: wrapped or not.
            threads: how many calls of a sync client are out at once.
        """
        self.sync = isinstance(client, OpenAI)
        self._client = _watched_copy(client, _watched if self.sync else _watched_async)
        self.base_url = str(client.base_url)
        self._threads = threads
        self._limiter: anyio.CapacityLimiter | None = None

    async def send(self, endpoint: str, body: dict[str, Any], flight: Flight) -> Answer:
        """Send one request and read its answer.

        Raises:
            OpenAIError: whatever the SDK raises once its retries are spent.
        """
        token = _FLIGHT.set(flight)
        try:
            if self.sync:
                response = await anyio.to_thread.run_sync(self._post, endpoint, body, limiter=self._capacity())
            else:
                response = await self._post(endpoint, body)
        finally:
            _FLIGHT.reset(token)
        http = response.http_response
        return Answer(
            http.status_code,
            http.headers.get("x-request-id"),
            http.content.translate(None, b"\r\n"),
            _read(http.content),
        )

    def _post(self, endpoint: str, body: dict[str, Any]) -> Any:
        return self._client.post(endpoint, body=body, cast_to=object, options={"headers": RAW_RESPONSE})

    def _capacity(self) -> anyio.CapacityLimiter:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._threads)
        return self._limiter


def _watched_copy(client: Any, watched: Callable[[Any], Any]) -> Any:
    copied = copy.copy(client)
    copied._prepare_request = watched(copied._prepare_request)
    return copied


def _watched(prepare: Callable[[Any], None]) -> Callable[[Any], None]:
    def prepare_request(request: Any) -> None:
        prepare(request)
        anyio.from_thread.run_sync(_FLIGHT.get().went)

    return prepare_request


def _watched_async(prepare: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def prepare_request(request: Any) -> None:
        await prepare(request)
        _FLIGHT.get().went()

    return prepare_request


def _read(content: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
