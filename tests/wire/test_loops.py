"""One client in several event loops one after another, and in a child process after a fork."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any, Final

import openai
import pytest

import throttle
from tests.wire.calls import Call, chat, constructor_of
from tests.wire.cells import Ledger
from tests.wire.driving import run
from tests.wire.scene import Scene
from tests.wire.stacks import STACKS, Stack, why_not

PATIENCE_S: Final = 60

LIBRARIES: Final = [
    stack for stack in STACKS if stack.runtime == "asyncio" and stack.library != "aiohttp" and not why_not(stack, "own")
]


def unkept(stack: Stack) -> Any:
    """Make an HTTP client that keeps no connection, for those that it keeps belong to a loop."""
    library = __import__(stack.library)
    return library.AsyncClient(limits=library.Limits(max_keepalive_connections=0))


@pytest.mark.parametrize("stack", LIBRARIES, ids=lambda stack: stack.library)
@pytest.mark.parametrize("runtimes", [("asyncio", "asyncio", "asyncio"), ("asyncio", "trio", "asyncio", "trio")])
def test_a_client_works_in_one_loop_after_another(stack: Stack, runtimes: tuple[str, ...], scene: Scene) -> None:
    scene.begin()
    limiter = Ledger({"max_in_flight": 1, "tpm": 1_000_000})
    call = Call("create", chat)
    client = throttle.wrap(constructor_of(call, scene, is_async=True)(http_client=unkept(stack)), limiter=limiter)

    async def in_asyncio() -> list[Any]:
        return await asyncio.gather(*(chat(client, scene) for _ in range(3)))

    async def in_trio() -> list[Any]:
        import trio

        got: list[Any] = []

        async def one() -> None:
            got.append(await chat(client, scene))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(one)
        return got

    for runtime in runtimes:
        answers = run(runtime, in_asyncio if runtime == "asyncio" else in_trio)
        assert len(answers) == 3
    assert limiter.charged == 3 * len(runtimes)
    assert limiter.leaks == []


def test_a_loop_that_ends_while_calls_wait_leaves_no_waiters(scene: Scene) -> None:
    scene.begin()
    limiter = Ledger({"max_in_flight": 1, "tpm": 1_000_000})
    client = throttle.wrap(openai.AsyncOpenAI(base_url=scene.base_url, api_key="any"), limiter=limiter)
    permit = limiter.acquire("gpt-4o-mini")
    with permit:

        async def leave_calls_behind() -> None:
            tasks = [asyncio.ensure_future(chat(client, scene)) for _ in range(2)]
            while limiter.snapshot().pools["default"].waiting < 2:
                await asyncio.sleep(0)
            del tasks

        asyncio.run(leave_calls_behind())
        assert limiter.snapshot().pools["default"].waiting == 0
    assert limiter.leaks == []
    assert scene.gateway.take() == []


FORKING: Final = """
import os, sys
import openai, throttle

limiter = throttle.Limiter({"max_in_flight": 2, "tpm": 1_000_000}, pacing="burst")
client = throttle.wrap(openai.OpenAI(base_url=sys.argv[1], api_key="any"), limiter=limiter)

def ask():
    made = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
    return made.choices[0].message.content

def check():
    (pool,) = limiter.snapshot().pools.values()
    assert (pool.waiting, pool.under_way) == (0, 0), pool

ask()
child = os.fork()
if child == 0:
    ask(); ask(); check()
    os._exit(7)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7, status
ask(); check()
client.close()
print("both went on")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_both_processes_go_on_after_a_fork(scene: Scene) -> None:
    scene.begin()
    command = [sys.executable, "-W", "error", "-c", FORKING, scene.base_url]
    played = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (played.returncode, played.stdout) == (0, "both went on\n"), played.stderr
    assert len(scene.gateway.take()) == 4
