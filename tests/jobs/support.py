"""What the tests of jobs share: a server that is a function, and job files."""

from __future__ import annotations

import importlib
import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import anyio
from openai import AsyncOpenAI, OpenAI

from tests.wire.stacks import default_library

httpx: Any = importlib.import_module(default_library())
"""The library that the SDK makes its HTTP clients of."""

__all__ = ["Api", "chat_line", "connect_error", "echo", "httpx", "read_jsonl", "refusal", "write_jsonl"]

Answer = tuple[int, Any] | Exception


def chat_line(name: str, content: str = "hi", model: str = "m", **body: Any) -> dict[str, Any]:
    """Make a line of a job."""
    messages = [{"role": "user", "content": content}]
    return {
        "custom_id": name,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": model, "messages": messages, **body},
    }


def write_jsonl(path: Path, lines: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Api:
    """An API that answers by a function of the path and the body; keeps what it was asked.

    The function returns a status and a body, or an exception to be raised in place of an answer; it may be async.
    """

    def __init__(self, answer: Callable[[str, dict[str, Any]], Answer | Awaitable[Answer]] | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.out = 0
        self.most_out = 0
        self._answer = answer or (lambda path, body: (200, echo(body)))

    def client(self, **more: Any) -> AsyncOpenAI:
        http_client = httpx.AsyncClient(transport=httpx.MockTransport(self._handle))
        return AsyncOpenAI(
            api_key="k", base_url="http://api.test/v1", http_client=http_client, **{"max_retries": 0, **more}
        )

    def sync_client(self, **more: Any) -> OpenAI:
        http_client = httpx.Client(transport=httpx.MockTransport(self._handle_sync))
        return OpenAI(api_key="k", base_url="http://api.test/v1", http_client=http_client, **{"max_retries": 0, **more})

    async def _handle(self, request: Any) -> Any:
        self.out += 1
        self.most_out = max(self.most_out, self.out)
        try:
            answer = self._ask(request)
            if isinstance(answer, Awaitable):
                answer = await answer
            else:
                await anyio.sleep(0)
            return self._respond(answer)
        finally:
            self.out -= 1

    def _handle_sync(self, request: Any) -> Any:
        return self._respond(self._ask(request))

    def _ask(self, request: Any) -> Any:
        body = json.loads(request.content)
        self.asked.append((request.url.path, body))
        return self._answer(request.url.path, body)

    def _respond(self, answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        status, body = answer
        headers = {"x-request-id": f"req_{len(self.asked)}"}
        if isinstance(body, bytes):
            return httpx.Response(status, content=body, headers=headers)
        return httpx.Response(status, json=body, headers=headers)

    @property
    def contents(self) -> list[str]:
        """The texts that were asked, in the order in which they came."""
        return [body["messages"][0]["content"] for _, body in self.asked]


def echo(body: dict[str, Any]) -> dict[str, Any]:
    """Answer a chat call with its own text."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": body["model"],
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": body["messages"][0]["content"]},
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


def refusal(message: str = "no good", code: str = "bad") -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": code, "param": None}}


def connect_error() -> Exception:
    error: Exception = httpx.ConnectError("refused")
    return error
