"""Where a simulator runs: in this thread until stopped (`serve`), in a thread (`in_thread`), in a process of its own
(`running`).

It listens on loopback unless told otherwise. A process of its own ends with the process that started it, whatever ends
that: it holds a pipe from it and watches for its end, and for a change of parent where a fork keeps the pipe open.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from throttle.costs.vocabulary import encoding_for
from throttle.simulator.errors import SimulatorError
from throttle.simulator.handle import Simulator
from throttle.simulator.record import Call, Summary
from throttle.simulator.service import Service
from throttle.simulator.settings import Settings

if TYPE_CHECKING:
    from throttle.simulator.runner import Runner

__all__ = ["in_thread", "running", "serve"]

LOOPBACK = "127.0.0.1"
START_S = 60.0
STOP_S = 5.0
BACKLOG = 2048
CHILD = "from throttle.simulator.hosting import child; child()"


def serve(
    *, host: str = LOOPBACK, port: int = 8000, on_ready: Callable[[Simulator], None] | None = None, **settings: Any
) -> Summary:
    """Run a simulator here until interrupted (Ctrl-C or SIGTERM) or stopped; give the sums of what it saw.

    Args:
        host: the address to listen on.
        port: the port; 0 for any that is free.
        on_ready: called with the handle once it listens.
        settings: as `Settings` has them.

    Raises:
        SettingsError: if a setting can't be used.
        SimulatorError: if the port is taken, or the extra `simulator` isn't installed.
    """
    service = Service(Settings.of(**settings), wall_s=time.time())
    with _recording(service.settings.record) as on_done:
        return _serve(service, _runner(service, host, port, on_done), host, on_ready)


def _serve(service: Service, runner: Runner, host: str, on_ready: Callable[[Simulator], None] | None) -> Summary:
    handle = Simulator(runner.port, runner.stop, host=host)
    runner.run(None if on_ready is None else lambda: on_ready(handle))
    return service.summary(runner.application.now())


@contextlib.contextmanager
def in_thread(*, port: int = 0, **settings: Any) -> Iterator[Simulator]:
    """Run a simulator in a thread of this process: quick to start, for tests. Takes the settings of `Settings`.

    Raises:
        SettingsError: if a setting can't be used.
        SimulatorError: if the port is taken, or the extra `simulator` isn't installed.
    """
    service = Service(Settings.of(**settings), wall_s=time.time())
    with _recording(service.settings.record) as on_done:
        yield from _in_thread(_runner(service, LOOPBACK, port, on_done))


def _in_thread(runner: Runner) -> Iterator[Simulator]:
    ready = threading.Event()
    thread = threading.Thread(target=runner.run, args=(ready.set,), name="throttle-simulator", daemon=True)

    def stop() -> None:
        runner.stop()
        thread.join(STOP_S)

    thread.start()
    try:
        if not ready.wait(START_S):
            raise SimulatorError(f"the simulator did not start within {START_S:.0f} s")
        yield Simulator(runner.port, stop)
    finally:
        stop()


@contextlib.contextmanager
def running(*, port: int = 0, **settings: Any) -> Iterator[Simulator]:
    """Run a simulator in a process of its own, so that it takes no time from this one. Takes the settings of
    `Settings`.

    The process ends when the block is left, and when this process ends in any other way.

    Raises:
        SettingsError: if a setting can't be used.
        SimulatorError: if the port is taken, the extra `simulator` isn't installed, or the process doesn't start.
    """
    checked = Settings.of(**settings)
    if checked.record is not None:
        checked = checked.changed(record=os.path.abspath(checked.record))
    _require_extra()
    process = _start(checked, port)
    try:
        told = _first_line(process)
        if "error" in told:
            raise SimulatorError(told["error"])
        yield Simulator(told["port"], lambda: _end(process))
    finally:
        _end(process)


def child() -> None:
    """Be the process that `running` starts: settings come on standard input, the port goes out on standard output."""
    told = json.loads(sys.stdin.buffer.readline())
    try:
        with _recording(told["settings"]["record"]) as on_done:
            service = Service(Settings.of(**told["settings"]), wall_s=time.time())
            _run_child(_runner(service, LOOPBACK, told["port"], on_done), told["parent"])
    except SimulatorError as error:
        print(json.dumps({"error": str(error)}), flush=True)


def _run_child(runner: Runner, parent: int) -> None:
    encoding_for("gpt-4o")  # reading the vocabulary takes a third of a second: not while calls are on their way
    threading.Thread(target=encoding_for, args=("gpt-4",), daemon=True).start()
    threading.Thread(target=_watch, args=(runner, parent), daemon=True).start()
    threading.Thread(target=_wait_for_end_of_input, args=(runner,), daemon=True).start()
    runner.run(lambda: print(json.dumps({"port": runner.port}), flush=True))


def _wait_for_end_of_input(runner: Runner) -> None:
    while os.read(0, 4096):
        pass
    _leave(runner)


def _watch(runner: Runner, parent: int) -> None:
    while os.getppid() == parent and not runner.stopped.wait(1.0):
        pass
    _leave(runner)


def _leave(runner: Runner) -> None:
    """Stop, and make sure of it."""
    runner.stop()
    if not runner.stopped.wait(STOP_S / 2):
        os._exit(1)


def _start(settings: Settings, port: int) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(place for place in (_home(), *sys.path) if place)
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C is for the parent, which then ends it
    )
    assert process.stdin is not None
    told = {"settings": settings.plain(), "port": port, "parent": os.getpid()}
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(told).encode() + b"\n")
        process.stdin.flush()
    return process


def _home() -> str:
    """Find the directory that this package is imported from."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _first_line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait for the child's word that it listens, or why it can't."""
    lines: SimpleQueue[bytes] = SimpleQueue()
    stdout = process.stdout
    assert stdout is not None
    threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
    try:
        line = lines.get(timeout=START_S)
    except Empty:
        return {"error": f"the simulator's process did not start within {START_S:.0f} s"}
    if not line:
        return {"error": f"the simulator's process ended before it listened, with status {process.wait()}"}
    told: dict[str, Any] = json.loads(line)
    return told


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the child: by the end of its input, or by force where that takes too long."""
    if process.stdin is not None and not process.stdin.closed:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextlib.contextmanager
def _recording(path: str | None) -> Iterator[Callable[[Call], None] | None]:
    """Open the file for every call, a line of JSON each; give what writes one."""
    if path is None:
        yield None
        return
    try:
        file = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise SimulatorError(f"record: can't write to {path} ({error.strerror}): give another file") from error
    with file:
        yield lambda call: print(json.dumps(call.plain()), file=file)


def _runner(service: Service, host: str, port: int, on_done: Callable[[Call], None] | None) -> Runner:
    _require_extra()
    from throttle.simulator.runner import Runner

    return Runner(service, _listen(host, port), on_done)


def _require_extra() -> None:
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as missing:
        raise SimulatorError(
            f"the simulator needs {missing.name}, which is not installed: pip install 'openai-throttle[simulator]'"
        ) from missing


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would share a port that is in use
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        told = getattr(error, "strerror", None) or str(error)
        raise SimulatorError(
            f"can't listen on {host}:{port} ({told}): give another port, or 0 for any that is free"
        ) from error
    return listener
