"""One server and its event loop: uvicorn, without its polling and its patience when it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import struct
import threading
from collections.abc import Callable, Generator, Mapping
from typing import Any

import uvicorn

from throttle.simulator.record import Call
from throttle.simulator.server import Application
from throttle.simulator.service import Service

__all__ = ["Runner"]

KEEP_ALIVE_S = 75
TICK_S = 0.5
AT_ONCE = struct.pack("ii", 1, 0)  # linger for no time: the kernel sends a reset


class Runner:
    """Run one service on a socket that already listens; `run` blocks until `stop`, which any thread may call."""

    def __init__(
        self, service: Service, listener: socket.socket, on_done: Callable[[Call], None] | None = None
    ) -> None:
        self.application = Application(service, on_done)
        self.application.drop = self._drop
        self.stopped = threading.Event()
        self.port: int = listener.getsockname()[1]
        self._listener = listener
        config = uvicorn.Config(
            self.application,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # faults are broken answers on purpose
        self._server = _Server(config)

    def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Serve until stopped."""
        self._server.on_ready = on_ready
        try:
            asyncio.run(self._server.serve([self._listener]))
        finally:
            self._listener.close()
            self.stopped.set()

    def stop(self) -> None:
        """Stop, at once; what is under way is cut off."""
        self._server.stop()

    def _drop(self, scope: Mapping[str, Any], reset: bool) -> None:
        """End the connection that a request came on."""
        for connection in list(self._server.server_state.connections):
            if getattr(connection, "client", None) == scope["client"]:
                transport = connection.transport
                if reset:
                    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                    transport.abort()
                else:
                    transport.close()


class _Server(uvicorn.Server):
    """uvicorn's server, which waits for an event where the original polls, and cuts connections where it waits for
    their end.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.on_ready: Callable[[], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    def stop(self) -> None:
        self.should_exit = True
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                loop.call_soon_threadsafe(stopping.set)

    async def main_loop(self) -> None:
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self.on_ready is not None:
            self.on_ready()
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), TICK_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on Ctrl-C and SIGTERM, and swallow them: whoever called `serve` has its answer then."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        kept = {each: signal.signal(each, self.handle_exit) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in kept.items():
                signal.signal(each, handler)
