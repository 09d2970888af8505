"""What became of one line of a job, and how that is written down."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from throttle.costs.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, IMAGE_GENERATIONS, MODERATIONS, RESPONSES
from throttle.jobs.usage import Usage, read_usage

if TYPE_CHECKING:
    from openai import BaseModel

__all__ = ["Failure", "Result", "digest_of_id"]

ID_PREFIX: Final = "throttle-"
"""Begins the id of each line of output; the rest is the request's digest, in hex."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a line has no answer: a code to count by, and a sentence."""

    code: str
    message: str


@dataclass(frozen=True)
class Result:
    """What became of one line.

    Attributes:
        line: its number in the input, from 1.
        custom_id: its name.
        endpoint: where it went, without `/v1`.
        status_code: the server's status; None where nothing came back.
        request_id: the server's id of the request, if it sent one.
        raw: the answer's body as it came, without line feeds; empty where nothing came back.
        error: why it failed; None where it was answered.
        attempts: how often it was sent, earlier runs included.
        digest: tells the request from others.
    """

    line: int
    custom_id: str
    endpoint: str
    status_code: int | None
    request_id: str | None
    raw: bytes
    error: Failure | None
    attempts: int
    digest: bytes = field(repr=False)

    @cached_property
    def body(self) -> dict[str, Any] | None:
        """The answer's body, parsed; None where nothing came back or it isn't JSON."""
        try:
            value = json.loads(self.raw)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    @property
    def usage(self) -> Usage:
        return read_usage(self.body) if self.error is None else Usage()

    def parse(self) -> BaseModel:
        """Return the answer as the SDK's own type, as the endpoint's method of the client would.

        Raises:
            ValueError: the line failed.
        """
        if self.error is not None or self.body is None:
            why = self.error.message if self.error is not None else "not JSON"
            raise ValueError(f"line {self.line} ({self.custom_id!r}) has no answer: {why}")
        return _type_of(self.endpoint).construct(**self.body)

    def written(self) -> bytes:
        """Write it as the Batch API does; what failed has its reason, attempts and line besides."""
        parts = [
            f'{{"id":"{ID_PREFIX}{self.digest.hex()}","custom_id":{json.dumps(self.custom_id)},"response":'.encode()
        ]
        if self.status_code is None:
            parts.append(b"null")
        else:
            head = f'{{"status_code":{self.status_code},"request_id":{json.dumps(self.request_id or "")},"body":'
            parts += [head.encode(), self.raw if self.body is not None else _as_text(self.raw), b"}"]
        if self.error is None:
            parts.append(b',"error":null}\n')
        else:
            error = json.dumps({"code": self.error.code, "message": self.error.message})
            parts.append(f',"error":{error},"attempts":{self.attempts},"line":{self.line}}}\n'.encode())
        return b"".join(parts)


def digest_of_id(id: str) -> bytes | None:
    """Return the digest in the id of an output line; None for lines of others, the Batch API's say."""
    try:
        return bytes.fromhex(id.removeprefix(ID_PREFIX)) if id.startswith(ID_PREFIX) else None
    except ValueError:
        return None


def _as_text(raw: bytes) -> bytes:
    return json.dumps(raw.decode(errors="replace")).encode()


def _type_of(endpoint: str) -> type[BaseModel]:
    from openai.types import Completion, CreateEmbeddingResponse, ImagesResponse, ModerationCreateResponse
    from openai.types.chat import ChatCompletion
    from openai.types.responses import Response

    types: dict[str, type[BaseModel]] = {
        CHAT: ChatCompletion,
        RESPONSES: Response,
        COMPLETIONS: Completion,
        EMBEDDINGS: CreateEmbeddingResponse,
        MODERATIONS: ModerationCreateResponse,
        IMAGE_GENERATIONS: ImagesResponse,
    }
    return types.get(endpoint, Completion)
