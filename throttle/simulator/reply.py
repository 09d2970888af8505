"""What the service decides to send: head, body or events, when, and how it ends."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from throttle.simulator.answers import Answer
from throttle.simulator.judge import Admission
from throttle.simulator.record import Call

__all__ = ["Reply", "answer_reply", "compress", "event_bytes", "json_reply", "reply_with", "trickle"]

GZIP = 31  # zlib's name for gzip's format


@dataclass(slots=True)
class Reply:
    """One reply. `first_s` after the arrival the head goes out, `whole_s` after it the last byte.

    Attributes:
        call: the record of the request.
        body, events: a whole body, or the pieces of a stream.
        ending: `whole`; `hang` (nothing ever comes), `reset` or `close` (the connection ends after `kept` of the body).
        sampled_late: whether the rate-limit headers are those of the end.
        form: the form of the rate-limit headers.
        limit_headers: those of the admission.
        pools, admission, settled_tokens: what the end has to correct.
    """

    call: Call
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    events: Sequence[bytes] | None = None
    first_s: float = 0.0
    whole_s: float = 0.0
    ending: str = "whole"
    kept: float = 0.0
    sampled_late: bool = False
    form: str = "openai"
    limit_headers: list[tuple[str, str]] = field(default_factory=list)
    pools: tuple[str, ...] = ()
    admission: Admission | None = None
    settled_tokens: int | None = None
    generation: int = 0
    finished: bool = False


def reply_with(call: Call, status: int, body: bytes, content_type: str = "application/json") -> Reply:
    """Make a reply of bytes."""
    return Reply(call, status, [("content-type", content_type)], body)


def json_reply(call: Call, status: int, told: Mapping[str, Any]) -> Reply:
    """Make a reply of JSON."""
    return reply_with(call, status, json.dumps(told).encode())


def event_bytes(name: str | None, told: Mapping[str, Any] | str) -> bytes:
    """Write one event of a stream."""
    data = told if isinstance(told, str) else json.dumps(told)
    return (f"event: {name}\ndata: {data}\n\n" if name else f"data: {data}\n\n").encode()


def answer_reply(call: Call, answer: Answer) -> Reply:
    """Make a reply of an answer."""
    if answer.events is not None:
        reply = reply_with(call, 200, b"", answer.content_type)
        reply.events = [event_bytes(name, told) for name, told in answer.events]
        return reply
    body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
    return reply_with(call, 200, body, answer.content_type)


def compress(reply: Reply) -> None:
    """Compress a reply with gzip; a stream piece by piece, so that each can be read when it comes."""
    packer = zlib.compressobj(wbits=GZIP)
    if reply.events is None:
        reply.body = packer.compress(reply.body) + packer.flush()
    else:
        packed = [packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH) for event in reply.events]
        reply.events = [*packed, packer.flush()]
    reply.headers.append(("content-encoding", "gzip"))


def trickle(reply: Reply, seconds: float, pieces: int = 50) -> None:
    """Have the body come in small pieces over `seconds`."""
    whole = b"".join(reply.events) if reply.events is not None else reply.body
    size = max(1, -(-len(whole) // pieces))
    reply.events = [whole[start : start + size] for start in range(0, len(whole), size)]
    reply.body = b""
    reply.whole_s = reply.first_s + seconds
