"""A server in virtual time behind the real SDK: its HTTP client is given a transport whose other end is the simulator.

No socket is opened. The simulator's judge decides, the loop's clock jumps, so an hour of real calls through real
decorators passes in seconds.
"""

from __future__ import annotations

import asyncio
import sys
from fractions import Fraction
from typing import Any

import openai
from openai import AsyncOpenAI
from openai._base_client import get_platform

from tests.core.virtual import VirtualLoop
from throttle.costs import CallCost
from throttle.simulator import Service, Settings

__all__ = ["MESSAGES", "MODEL", "Wire", "sdk_client"]

MODEL = "gpt-4o-mini"
MESSAGES: Any = [{"role": "user", "content": "Tell me something about the sea"}]
THERE_S = 0.02
"""How long a request is on its way."""


class Wire:
    """The transport, and the server at its other end."""

    def __init__(self, loop: VirtualLoop, **settings: Any) -> None:
        self.loop = loop
        self.service = Service(Settings.of(**settings), wall_s=1_800_000_000.0)

    @property
    def now(self) -> Fraction:
        return Fraction(self.loop.now_us(), 10**6)

    @property
    def calls(self) -> list[Any]:
        """The record of every attempt."""
        return list(self.service.record.since(0))

    def statuses(self) -> list[int]:
        return [call.status for call in self.calls]

    def sent_at(self) -> list[float]:
        """When each attempt arrived."""
        return [call.at_s for call in self.calls]

    async def handle_async_request(self, request: Any) -> Any:
        body = await request.aread()
        await asyncio.sleep(THERE_S)
        headers = {name.lower(): value for name, value in request.headers.items()}
        reply = self.service.receive(self.now, request.method, request.url.path, headers, body)
        await asyncio.sleep(reply.whole_s)
        later = self.service.finish(self.now, reply)
        limits = later if reply.sampled_late else reply.limit_headers
        content = b"".join(reply.events) if reply.events is not None else reply.body
        response = sys.modules[type(request).__module__.partition(".")[0]].Response  # httpx or httpx2
        return response(reply.status, headers=[*reply.headers, *limits], content=content, request=request)

    async def aclose(self) -> None:
        pass

    async def __aenter__(self) -> Wire:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass


def sdk_client(wire: Wire, *, base_url: str = "https://api.openai.com/v1", **options: Any) -> AsyncOpenAI:
    """Make a client of the SDK, not wrapped yet, that talks to the server of a wire."""
    transport: Any = wire
    client = AsyncOpenAI(
        base_url=base_url,
        api_key="sk-test",
        http_client=openai.DefaultAsyncHttpxClient(transport=transport, trust_env=False),
        **options,
    )
    # else the first call asks for both in a thread, of which virtual time knows nothing
    client._platform = get_platform()
    assert CallCost({"model": MODEL, "messages": MESSAGES}, "/chat/completions").cost
    return client
