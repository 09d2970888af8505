"""The ASGI application: requests from the wire to the service, its replies to the wire, and the control endpoint.

The path of a call is bare ASGI; the control endpoint, where time doesn't matter, is made of Starlette's pieces.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from fractions import Fraction
from time import monotonic_ns, time
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from throttle.simulator.errors import SettingsError
from throttle.simulator.record import Call
from throttle.simulator.reply import Reply
from throttle.simulator.service import Service

__all__ = ["CONTROL", "Application"]

CONTROL = "/_throttle"
NANOSECONDS = 10**9
SETTLE_S = 0.05


class Application:
    """Serve one `Service`. The instant of a request is that at which its last byte arrived, by the monotonic clock.

    `on_done` is told every call when its answer has ended; `drop` ends the connection of a request, by a reset or not.
    """

    def __init__(self, service: Service, on_done: Callable[[Call], None] | None = None) -> None:
        self.service = service
        self.drop: Callable[[Scope, bool], None] | None = None
        self._on_done = on_done
        self._began_ns = monotonic_ns()
        self._control = Starlette(routes=self._routes())

    def now(self) -> Fraction:
        """Tell the time, in seconds since the service began."""
        return Fraction(monotonic_ns() - self._began_ns, NANOSECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"].startswith(CONTROL):
            await self._control(scope, receive, send)
            return
        body = await _whole_body(receive)
        if body is None:
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode("latin-1")
        reply = self.service.receive(self.now(), scope["method"], scope["path"], headers, body, query)
        try:
            await self._send(reply, scope, receive, send)
        finally:
            self.service.finish(self.now(), reply)
            if self._on_done is not None:
                self._on_done(reply.call)

    async def _send(self, reply: Reply, scope: Scope, receive: Receive, send: Send) -> None:
        if reply.ending == "hang":
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await self._wait_until(reply, reply.first_s)
        if reply.ending != "whole":
            await self._send_part(reply, scope, send)
        elif reply.events is not None:
            await self._send_events(reply, send)
        else:
            later = self.service.finish(self.now(), reply)
            limits = later if reply.sampled_late else reply.limit_headers
            length = [("content-length", str(len(reply.body)))]
            await send(_head(reply.status, [*reply.headers, *limits, *length]))
            await send({"type": "http.response.body", "body": reply.body})

    async def _send_part(self, reply: Reply, scope: Scope, send: Send) -> None:
        """Send what is kept of a reply, and end the connection."""
        whole = b"".join(reply.events) if reply.events is not None else reply.body
        kept = whole[: int(len(whole) * reply.kept)]
        if reply.kept:
            length = [] if reply.events is not None else [("content-length", str(len(whole)))]
            await send(_head(reply.status, [*reply.headers, *reply.limit_headers, *length]))
            await send({"type": "http.response.body", "body": kept, "more_body": True})
            await asyncio.sleep(SETTLE_S)  # or a reset would overtake what was sent
        if self.drop is not None:
            self.drop(scope, reply.ending == "reset")
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def _send_events(self, reply: Reply, send: Send) -> None:
        """Send a stream: its events evenly over the time it takes, or all at once where it takes none."""
        events = reply.events or (b"",)
        await send(_head(reply.status, [*reply.headers, *reply.limit_headers]))
        span_s = reply.whole_s - reply.first_s
        if span_s <= 0:
            self.service.finish(self.now(), reply)
            await send({"type": "http.response.body", "body": b"".join(events)})
            return
        for index, event in enumerate(events):
            await self._wait_until(reply, reply.first_s + span_s * index / max(1, len(events) - 1))
            last = index == len(events) - 1
            if last:
                self.service.finish(self.now(), reply)
            await send({"type": "http.response.body", "body": event, "more_body": not last})

    async def _wait_until(self, reply: Reply, after_s: float) -> None:
        wait_s = reply.call.at_s + after_s - float(self.now())
        if after_s and wait_s > 0:
            await asyncio.sleep(wait_s)

    def _routes(self) -> list[Route]:
        def route(path: str, method: str, act: Callable[[Request], Awaitable[Any]]) -> Route:
            async def endpoint(request: Request) -> Response:
                try:
                    return JSONResponse(await act(request))
                except (SettingsError, ValueError) as wrong:
                    return JSONResponse({"error": str(wrong)}, status_code=400)

            return Route(CONTROL + path, endpoint, methods=[method])

        return [
            route("/summary", "GET", self._summary),
            route("/calls", "GET", self._calls),
            route("/settings", "GET", self._settings),
            route("/settings", "POST", self._change),
            route("/mark", "POST", self._mark),
            route("/reset", "POST", self._reset),
        ]

    async def _summary(self, request: Request) -> Any:
        return self.service.summary(self.now()).plain()

    async def _calls(self, request: Request) -> Any:
        after = int(request.query_params.get("after", "0"))
        return [call.plain() for call in self.service.record.since(after)]

    async def _settings(self, request: Request) -> Any:
        return self.service.settings.plain()

    async def _change(self, request: Request) -> Any:
        self.service.change(self.now(), **await _values(request))
        return self.service.settings.plain()

    async def _mark(self, request: Request) -> Any:
        self.service.mark()
        return {}

    async def _reset(self, request: Request) -> Any:
        self.service.reset(**await _values(request))
        self._began_ns, self.service.wall_s = monotonic_ns(), time()
        return self.service.settings.plain()


async def _values(request: Request) -> dict[str, Any]:
    """Read the body of a control request: an object of settings, or nothing."""
    raw = await request.body()
    values = json.loads(raw) if raw.strip() else {}
    if not isinstance(values, dict):
        raise SettingsError("give the settings to change as a JSON object")
    return values


async def _whole_body(receive: Receive) -> bytes | None:
    """Read a request to its last byte; None if the client went away before."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        whole: bytes = message.get("body", b"")
        return whole
    pieces = []
    while message["type"] == "http.request":
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)
        message = await receive()
    return None


def _head(status: int, headers: Iterable[tuple[str, str]]) -> dict[str, Any]:
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
    }
