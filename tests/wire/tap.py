"""A tap on the wire: a relay on loopback that keeps the bytes of every request, in front of a server or as a proxy."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

__all__ = ["MOVED", "Seen", "Tap", "tapping"]

MOVED: Final = b"/moved"
"""What begins so is answered with a redirect to the rest of it."""

UNREACHABLE: Final = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"

PATIENCE_S: Final = 5.0
LARGEST_HEAD: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came over the wire."""

    head: bytes
    body: bytes

    @property
    def path(self) -> str:
        """The path that was asked for, without host and query."""
        target = self.head.split(b" ", 2)[1].decode()
        return re.sub(r"^https?://[^/]+", "", target).split("?", 1)[0]

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode()

    def header(self, name: str) -> str | None:
        """The value of a header, by its name in lower case."""
        for line in self.head.split(b"\r\n")[1:]:
            known, _, value = line.partition(b":")
            if known.decode().lower() == name:
                return value.decode().strip()
        return None

    @property
    def settled(self) -> bytes:
        """The bytes, without what a client draws anew for each request: the boundary between the parts of a form."""
        raw = self.head + self.body
        drawn = re.search(rb"boundary=([^\r\n;]+)", self.head)
        return raw.replace(drawn[1], b"BOUNDARY") if drawn else raw


class Tap:
    """A relay to the server at `target`, or a forward proxy where there is none."""

    def __init__(self, target: int | None = None) -> None:
        self._target = target
        self._seen: list[Seen] = []
        self._open: set[asyncio.Task[None]] = set()
        self._idle = threading.Event()
        self._idle.set()
        self._lock = threading.Lock()
        self.port = 0

    @property
    def url(self) -> str:
        """The address of the tap itself."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def count(self) -> int:
        """How many requests came since they were last taken."""
        return len(self._seen)

    def take(self) -> list[Seen]:
        """Give the requests that came since the last time."""
        with self._lock:
            seen, self._seen = self._seen, []
        return seen

    def wait_until_idle(self) -> None:
        """Wait until every connection has ended, so that all that was ever sent has been seen."""
        if not self._idle.wait(PATIENCE_S):
            raise TimeoutError("a connection to the tap is still open")

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=LARGEST_HEAD, backlog=256)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self._idle.clear()
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._relay(reader, writer)
        finally:
            writer.close()
            self._open.discard(task)
            if not self._open:
                self._idle.set()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        pump: asyncio.Task[None] | None = None
        try:
            while True:
                request = await _read_request(reader)
                with self._lock:
                    self._seen.append(request)
                if self._target is not None and request.path.startswith(MOVED.decode()):
                    writer.write(_redirect(request))
                    continue
                if upstream is None:
                    try:
                        there, upstream = await asyncio.open_connection("127.0.0.1", self._port_for(request))
                    except ConnectionRefusedError:
                        writer.write(UNREACHABLE)
                        continue
                    pump = asyncio.create_task(_pump(there, writer))
                upstream.write(_origin_form(request))
                await upstream.drain()
        finally:
            if upstream is not None:
                upstream.close()
            if pump is not None:
                pump.cancel()

    def _port_for(self, request: Seen) -> int:
        if self._target is not None:
            return self._target
        asked = re.match(rb"\S+ http://127\.0\.0\.1:(\d+)/", request.head)
        if asked is None:
            raise ConnectionError(f"the proxy was asked for {request.head[:80]!r}")
        return int(asked[1])


async def _read_request(reader: asyncio.StreamReader) -> Seen:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if length:
        return Seen(head, await reader.readexactly(int(length[1])))
    if not re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
        return Seen(head, b"")
    body = b""
    while True:
        size = await reader.readuntil(b"\r\n")
        chunk = await reader.readexactly(int(size, 16) + 2)
        body += size + chunk
        if int(size, 16) == 0:
            return Seen(head, body)


def _origin_form(request: Seen) -> bytes:
    return re.sub(rb"^(\S+) http://[^/]+", rb"\1 ", request.head, count=1) + request.body


def _redirect(request: Seen) -> bytes:
    place = request.path.removeprefix(MOVED.decode())
    return f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what the server sends, a reset included."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionResetError:
        peer = writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return
    writer.close()


@contextmanager
def tapping(target: int | None = None) -> Iterator[Tap]:
    """Run a tap in a thread of its own."""
    tap = Tap(target)
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(tap.serve(ready, stop)), daemon=True)
    thread.start()
    try:
        if not ready.wait(PATIENCE_S):
            raise TimeoutError("the tap did not start")
        yield tap
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)
        loop.close()
