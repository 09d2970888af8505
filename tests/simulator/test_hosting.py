"""Where a simulator runs, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest

import throttle
from throttle.simulator import SettingsError, Simulator, SimulatorError, in_thread, running, serve

ROOT = Path(throttle.__file__).parents[1]


def answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/_throttle/summary")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def ends_within(seconds: float, port: int) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not answers(port):
            return True
        time.sleep(0.05)
    return False


def python(code: str, **more: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, **more)  # type: ignore[call-overload, no-any-return]


def test_a_process_of_its_own_serves_until_the_block_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(subprocess.Popen, "kill")  # it ends of itself
    with running(limits={"rpm": 7}) as simulator:
        assert simulator.summary().meter("rpm").limit == 7
        port = simulator.port
    assert not answers(port)


def test_a_process_of_its_own_dies_with_its_parent_even_when_that_is_killed() -> None:
    code = """
import time
from throttle.simulator import running
with running() as simulator:
    print(simulator.port, flush=True)
    time.sleep(60)
"""
    parent = python(code)
    assert parent.stdout is not None
    with parent.stdout as lines:
        port = int(lines.readline())
        assert answers(port)
        parent.kill()
        parent.wait()
    assert ends_within(10, port)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_of_its_own_dies_with_its_parent_though_a_fork_holds_the_pipe_open() -> None:
    code = """
import os, time
from throttle.simulator import running
with running() as simulator:
    child = os.fork()
    if not child:
        os.close(1)
        time.sleep(60)
        os._exit(0)
    print(simulator.port, child, flush=True)
    time.sleep(60)
"""
    parent = python(code)
    assert parent.stdout is not None
    with parent.stdout as lines:
        port, fork = map(int, lines.readline().split())
        parent.kill()
        parent.wait()
    try:
        assert ends_within(10, port)
    finally:
        os.kill(fork, signal.SIGKILL)


@pytest.mark.parametrize("start", [in_thread, running])
def test_a_port_that_is_taken_is_one_clear_line(start: object) -> None:
    with (
        in_thread() as first,
        pytest.raises(SimulatorError, match=rf"can't listen on 127\.0\.0\.1:{first.port} .*: give another port"),
        start(port=first.port),  # type: ignore[operator]
    ):
        pass


@pytest.mark.parametrize("start", [in_thread, running])
def test_a_wrong_setting_is_one_clear_line_and_starts_nothing(start: object) -> None:
    with pytest.raises(SettingsError, match=r"no setting lattency_s; did you mean latency_s\?"), start(lattency_s=1):  # type: ignore[operator]
        pass


def test_stopping_twice_and_asking_after_the_end_are_fine() -> None:
    with in_thread() as simulator:
        simulator.stop()
        simulator.stop()
        with pytest.raises(SimulatorError, match="does not answer"):
            simulator.summary()


def test_what_hangs_does_not_hold_up_the_end() -> None:
    with in_thread(latency_s=600) as simulator:
        connection = HTTPConnection("127.0.0.1", simulator.port, timeout=5)
        body = '{"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}'
        connection.request("POST", "/v1/chat/completions", body, {"authorization": "Bearer k"})
        while not simulator.calls():
            time.sleep(0.01)
    assert not answers(simulator.port)
    connection.close()


def test_serve_runs_until_stopped_and_gives_its_summary() -> None:
    ready: list[Simulator] = []

    def stop_soon(simulator: Simulator) -> None:
        ready.append(simulator)

        def ask_then_stop() -> None:
            simulator.summary()
            simulator.stop()

        threading.Thread(target=ask_then_stop).start()

    summary = serve(port=0, limits={"rpm": 5}, on_ready=stop_soon)
    assert ready[0].port > 0
    assert summary.meter("rpm").limit == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    code = """
from throttle.simulator import serve
summary = serve(port=0, on_ready=lambda simulator: print(simulator.port, flush=True))
print("calls", summary.calls, flush=True)
"""
    process = python(code)
    assert process.stdout is not None
    with process.stdout as lines:
        assert int(lines.readline()) > 0
        process.send_signal(number)
        assert lines.readline() == "calls 0\n"
    assert process.wait(10) == 0


def test_importing_the_simulator_imports_no_server() -> None:
    code = """
import sys
import throttle.simulator, throttle.testing.plugin
print(sorted({name.partition(".")[0] for name in sys.modules} & {"starlette", "uvicorn", "h11"}))
"""
    process = python(code)
    assert process.communicate(timeout=60)[0] == "[]\n"


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(SimulatorError, match=r"pip install 'openai-throttle\[simulator\]'"), in_thread():
        pass
