"""Streams reach the program piece by piece, as they come."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import openai
import pytest

import throttle
from tests.wire.calls import CHAT
from tests.wire.cells import Ledger
from tests.wire.driving import done, each, entered, run
from tests.wire.scene import KEY
from tests.wire.stacks import STACKS, Stack, make_client, why_not

PATIENCE_S: Final = 10.0
PIECES: Final = ("the", "sea", "is", "deep")


class HeldServer:
    """Answers one call with a stream, whose next piece it sends only when it is told that the last one came."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._came = threading.Semaphore(0)
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self.stuck = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def came(self) -> None:
        """A piece has reached the program."""
        self._came.release()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(PATIENCE_S)

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            self._read_request(connection)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
                b"Connection: close\r\nx-request-id: req_held\r\n\r\n"
            )
            for piece in PIECES:
                self._send(connection, json.dumps(_chunk(piece)))
                if not self._came.acquire(timeout=PATIENCE_S):
                    self.stuck = True
            self._send(connection, "[DONE]")
            connection.sendall(b"0\r\n\r\n")

    def _read_request(self, connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(65536)

    def _send(self, connection: socket.socket, data: str) -> None:
        event = f"data: {data}\n\n".encode()
        connection.sendall(b"%x\r\n%b\r\n" % (len(event), event))


def _chunk(text: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [choice],
    }


@pytest.fixture
def server() -> Iterator[HeldServer]:
    held = HeldServer()
    yield held
    held.close()


async def plainly(client: Any) -> AsyncIterator[str]:
    async for chunk in each(await done(client.chat.completions.create(**CHAT, stream=True))):
        yield chunk.choices[0].delta.content


async def by_helper(client: Any) -> AsyncIterator[str]:
    async with entered(client.chat.completions.stream(**CHAT)) as stream:
        async for event in each(stream):
            if event.type == "content.delta":
                yield event.delta


async def by_lines(client: Any) -> AsyncIterator[str]:
    async with entered(client.chat.completions.with_streaming_response.create(**CHAT, stream=True)) as answer:
        async for line in each(answer.iter_lines()):
            if line.startswith("data: {"):
                yield json.loads(line[6:])["choices"][0]["delta"]["content"]


async def raw(client: Any) -> AsyncIterator[str]:
    answer = await done(client.chat.completions.with_raw_response.create(**CHAT, stream=True))
    async for chunk in each(await done(answer.parse())):
        yield chunk.choices[0].delta.content


# the SDK leaves its own generators to the garbage collector at the end of a stream
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@pytest.mark.parametrize("way", [plainly, by_helper, by_lines, raw], ids=lambda way: way.__name__)
@pytest.mark.parametrize("stack", [s for s in STACKS if why_not(s, "own") is None], ids=lambda stack: stack.name)
def test_every_piece_of_a_stream_comes_before_the_next_one_is_sent(stack: Stack, way: Any, server: HeldServer) -> None:
    limiter = Ledger()
    kind = openai.AsyncOpenAI if stack.is_async else openai.OpenAI
    under_way = []

    async def main() -> list[str]:
        client = make_client(lambda **more: kind(base_url=server.base_url, api_key=KEY, **more), stack, "own", "", [])
        got = []
        async for piece in way(throttle.wrap(client, limiter=limiter)):
            got.append(piece)
            under_way.append(limiter.snapshot().pools["default"].under_way)
            server.came()
        await done(client.close())
        return got

    assert run(stack.runtime, main) == list(PIECES)
    assert not server.stuck
    assert under_way == [1] * len(PIECES)
    assert limiter.charged == 1
    assert limiter.leaks == []
