"""The scene of a wire test: a simulated server, a tap in front of it, a proxy, and a port where nobody listens."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import anyio
import openai._base_client as base_client

from tests.wire.tap import Tap, tapping
from throttle.simulator import Simulator, in_thread

__all__ = ["KEY", "Scene", "playing", "quick_retries"]

KEY: Final = "sk-wire"
AMPLE: Final[Mapping[str, Any]] = {"rpm": 1_000_000, "tpm": 1_000_000_000}
DEFAULTS: Final[Mapping[str, Any]] = {
    "limits": AMPLE,
    "headers": "none",
    "faults": (),
    "latency_s": 0.0,
    "first_chunk_share": 0.3,
    "output_tokens": 8,
    "retry_after": False,
    "compress": False,
    "start": "full",
}


class Scene:
    """Everything that clients of one test talk to."""

    def __init__(self, simulator: Simulator, gateway: Tap, proxy: Tap, closed_port: int) -> None:
        self.simulator = simulator
        self.gateway = gateway
        self.proxy = proxy
        self.closed_url = f"http://127.0.0.1:{closed_port}/v1"
        self.keys_given = 0

    @property
    def base_url(self) -> str:
        """Where clients send their requests to."""
        return f"{self.gateway.url}/v1"

    def begin(self, settings: Mapping[str, Any] | None = None) -> None:
        """Begin anew: the server gives the same answers to the same calls again, and nothing has been seen."""
        self.simulator.reset(**{**DEFAULTS, **(settings or {})})
        self.keys_given = 0
        self.gateway.take()
        self.proxy.take()

    def next_key(self) -> str:
        """Give a key, another one each time."""
        self.keys_given += 1
        return f"sk-fresh-{self.keys_given}"

    async def next_key_later(self) -> str:
        """The same, with an await in between."""
        await anyio.sleep(0)
        return self.next_key()


@contextmanager
def playing() -> Iterator[Scene]:
    """Set the scene."""
    with ExitStack() as stack:
        stack.enter_context(_no_certificates())
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))  # bound, so that nobody else gets it, but not listening
        simulator = stack.enter_context(in_thread(limits=AMPLE))
        gateway = stack.enter_context(tapping(simulator.port))
        yield Scene(simulator, gateway, stack.enter_context(tapping()), closed.getsockname()[1])


@contextmanager
def _no_certificates() -> Iterator[None]:
    """Let HTTP clients read no certificates, which takes them longer than a call; all there is here is plain HTTP."""
    context: Any = ssl.SSLContext
    context.load_verify_locations = lambda *args, **kwargs: None
    try:
        yield
    finally:
        del context.load_verify_locations


@contextmanager
def quick_retries(delay_s: float = 0.002) -> Iterator[None]:
    """Let the SDK wait for a moment only between its retries."""
    known: Any = base_client
    kept = known.INITIAL_RETRY_DELAY
    known.INITIAL_RETRY_DELAY = delay_s
    try:
        yield
    finally:
        known.INITIAL_RETRY_DELAY = kept
