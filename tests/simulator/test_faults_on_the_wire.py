"""Endings of connections, as a client meets them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from throttle.simulator import Simulator, SimulatorError, in_thread, running

HELLO: Any = [{"role": "user", "content": "hello there"}]


@pytest.fixture
def start() -> Iterator[Callable[..., tuple[Simulator, OpenAI]]]:
    with ExitStack() as stack:

        def started(**settings: Any) -> tuple[Simulator, OpenAI]:
            simulator = stack.enter_context(in_thread(**settings))
            client = OpenAI(base_url=simulator.base_url, api_key="any", max_retries=0, timeout=20)
            return simulator, stack.enter_context(client)

        yield started


@pytest.mark.parametrize("kind", ["reset", "reset_mid_body", "close_mid_body"])
def test_a_connection_that_ends_early_is_a_connection_error(
    start: Callable[..., tuple[Simulator, OpenAI]], kind: str
) -> None:
    simulator, client = start(faults=[{"kind": kind, "times": 1}])
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert client.chat.completions.create(model="gpt-4o", messages=HELLO).choices
    summary = simulator.summary()
    assert (summary.admitted, summary.by_fault) == (2, {kind: 1})
    assert all(call.done_s is not None for call in simulator.calls())


def test_a_stream_that_is_cut_gives_its_first_chunks(start: Callable[..., tuple[Simulator, OpenAI]]) -> None:
    _, client = start(faults=["close_mid_body"])
    seen = 0
    with pytest.raises(Exception, match=r"(?i)incomplete|closed|connection error") as caught:  # noqa: PT012
        for _ in client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True):
            seen += 1
    assert not isinstance(caught.value, openai.APIStatusError)
    assert 5 < seen < 15


def test_an_answer_that_never_comes_is_a_timeout(start: Callable[..., tuple[Simulator, OpenAI]]) -> None:
    simulator, client = start(faults=["hang"])
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model="gpt-4o", messages=HELLO, timeout=0.2)
    assert simulator.calls()[0].status == 0


def test_a_trickle_arrives_whole(start: Callable[..., tuple[Simulator, OpenAI]]) -> None:
    _, client = start(faults=[{"kind": "trickle", "seconds": 0.2}])
    assert client.chat.completions.create(model="gpt-4o", messages=HELLO).usage is not None


def test_an_error_inside_a_stream_reaches_the_sdk(start: Callable[..., tuple[Simulator, OpenAI]]) -> None:
    _, client = start(faults=["error_in_stream"])
    stream = client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError, match="had an error"):
        list(stream)
    kinds = [event.type for event in client.responses.create(model="gpt-4o", input="hi", stream=True)]
    assert kinds[-1] == "response.failed"


def test_a_compressed_stream_is_read_by_the_sdk(start: Callable[..., tuple[Simulator, OpenAI]]) -> None:
    _, client = start(compress=True, latency_s=0.1)
    assert len(list(client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True))) == 18


def test_the_sdks_retries_are_told_apart(start: Callable[..., tuple[Simulator, OpenAI]]) -> None:
    simulator, client = start(faults=[{"kind": "500", "times": 1}])
    client.with_options(max_retries=2).chat.completions.create(model="gpt-4o", messages=HELLO)
    assert [(call.status, call.retry) for call in simulator.calls()] == [(500, 0), (200, 1)]


@pytest.mark.parametrize("run", [in_thread, running])
def test_every_call_is_a_line_in_the_record(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    with (
        run(record=str(path), limits={"rpm": 1}) as simulator,
        OpenAI(base_url=simulator.base_url, api_key="any", max_retries=0) as client,
    ):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="gpt-4o", messages=HELLO)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["number"], line["status"]) for line in lines] == [(1, 200), (2, 429)]


@pytest.mark.parametrize("run", [in_thread, running])
def test_a_record_that_cannot_be_written_is_one_clear_line(run: Any, tmp_path: Path) -> None:
    with (
        pytest.raises(SimulatorError, match=r"record: can't write to .*nowhere.*: give another file"),
        run(record=str(tmp_path / "nowhere" / "calls.jsonl")),
    ):
        pass
