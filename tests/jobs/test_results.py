from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from openai.types.chat import ChatCompletion

from tests.jobs.support import Api, chat_line, echo, read_jsonl, refusal
from throttle.jobs import JobFileError, JobStopped, Result, aresults, results
from throttle.jobs.runs import BUFFERED


def lines(count: int) -> list[dict[str, Any]]:
    return [chat_line(f"n{i}", f"text {i}") for i in range(count)]


@pytest.mark.parametrize("sync_client", [True, False])
def test_results_come_one_by_one(tmp_path: Path, sync_client: bool) -> None:
    api = Api()
    client = api.sync_client() if sync_client else api.client()
    texts = {}
    for result in results(lines(30), client, tmp_path / "out.jsonl"):
        answer = result.parse()
        assert isinstance(answer, ChatCompletion)
        texts[result.custom_id] = answer.choices[0].message.content
    assert texts == {f"n{i}": f"text {i}" for i in range(30)}
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 30


def test_closing_the_iterator_stops_the_job_and_the_next_goes_on(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    api = Api()
    incoming = results(lines(1000), api.client(), output)
    taken = [next(incoming).custom_id for _ in range(10)]
    incoming.close()  # type: ignore[attr-defined]
    kept = {line["custom_id"] for line in read_jsonl(output)}
    assert set(taken) <= kept
    assert len(kept) < 1000
    rest = [result.custom_id for result in results(lines(1000), Api().client(), output)]
    assert len(rest) == 1000 - len(kept)
    assert kept.isdisjoint(rest)


def test_a_slow_consumer_holds_the_job_back(tmp_path: Path) -> None:
    api = Api()
    incoming = results(lines(5000), api.client(), max_in_flight=10)
    next(incoming)
    anyio.run(anyio.sleep, 0.3)
    assert len(api.asked) <= BUFFERED + 10 + 1
    incoming.close()  # type: ignore[attr-defined]


def test_failures_come_as_results_too() -> None:
    api = Api(lambda path, body: (400, refusal()) if "text 3" in str(body) else (200, echo(body)))
    failed = [result for result in results(lines(6), api.client()) if result.error is not None]
    assert [(result.custom_id, result.status_code) for result in failed] == [("n3", 400)]


def test_a_job_that_cannot_go_on_raises_when_all_that_was_answered_was_yielded() -> None:
    api = Api(lambda path, body: (200, echo(body)) if len(api.asked) <= 5 else (401, refusal("wrong key", "key")))
    taken: list[Result] = []
    incoming = results(lines(50), api.client(), max_in_flight=1)
    with pytest.raises(JobStopped, match="wrong key"):
        taken.extend(incoming)
    assert len(taken) == 5


def test_mistakes_in_the_job_come_out_as_themselves() -> None:
    with pytest.raises(JobFileError):
        next(results([{"custom_id": "a"}], Api().client()))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_results_come_one_by_one_in_async_code(tmp_path: Path, backend: str) -> None:
    async def main() -> set[str]:
        async with aresults(lines(30), Api().client(), tmp_path / "out.jsonl") as incoming:
            names = {result.custom_id async for result in incoming}
            assert incoming.report is not None
            assert incoming.report.complete
        return names

    assert anyio.run(main, backend=backend) == {f"n{i}" for i in range(30)}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_leaving_the_block_stops_the_job(tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        async with aresults(lines(1000), Api().client(), tmp_path / "out.jsonl") as incoming:
            async for _ in incoming:
                break

    anyio.run(main, backend=backend)
    assert len(read_jsonl(tmp_path / "out.jsonl")) < 1000


def test_results_outside_a_block_say_what_to_do() -> None:
    async def main() -> None:
        async for _ in aresults(lines(1), Api().client()):
            pass

    with pytest.raises(RuntimeError, match="async with"):
        anyio.run(main)
