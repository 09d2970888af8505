"""What a wrapped client leaves behind: nothing that has to wait for the garbage collector."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import throttle
from tests.jobs.support import echo
from tests.wire.calls import CHAT
from tests.wire.driving import done, each, entered, run
from tests.wire.pieces import answer_in_pieces, client_of, events

WHOLE = json.dumps(echo(dict(CHAT))).encode()
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
STREAM = events(CHUNK | {"choices": [{"index": 0, "delta": {"content": "sea"}}]}, "[DONE]")


async def read_stream(client: Any) -> Any:
    stream = await done(client.chat.completions.create(**CHAT, stream=True))
    async for _ in each(stream):
        pass
    return stream.response


async def read_whole(client: Any) -> Any:
    async with entered(client.chat.completions.with_streaming_response.create(**CHAT)) as answer:
        await done(answer.parse())
    return answer.http_response


async def read_in_pieces(client: Any) -> Any:
    async with entered(client.chat.completions.with_streaming_response.create(**CHAT)) as answer:
        async for _ in each(answer.iter_bytes()):
            pass
    return answer.http_response


async def left_unread(client: Any) -> Any:
    async with entered(client.chat.completions.with_streaming_response.create(**CHAT)) as answer:
        return answer.http_response


def respond(request: Any) -> Any:
    if json.loads(request.content).get("stream"):
        return answer_in_pieces(STREAM)
    return answer_in_pieces([WHOLE], kind="application/json")


async def is_left(way: Any, client: Any) -> bool:
    """Tell whether the response is still there once nobody holds it any more."""
    return weakref.ref(await way(client))() is not None


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("way", [read_stream, read_whole, read_in_pieces, left_unread], ids=lambda way: way.__name__)
@pytest.mark.parametrize("runtime", ["sync", "asyncio"])
def test_a_response_goes_with_its_last_reference_as_it_does_without_a_limiter(runtime: str, way: Any) -> None:
    async def main() -> tuple[bool, bool]:
        client = client_of(runtime, respond)
        wrapped = throttle.wrap(client, limiter=throttle.Limiter({"rpm": 6000, "tpm": 600_000}))
        return await is_left(way, client), await is_left(way, wrapped)

    plain, wrapped = run(runtime, main)
    assert wrapped == plain
