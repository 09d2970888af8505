from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import anyio
import pytest

import throttle
from tests.jobs.support import Api, chat_line, connect_error, echo, read_jsonl, refusal, write_jsonl
from throttle.jobs import Job, JobFileError, OutputError, Report, Result, arun, run
from throttle.jobs import engine as engine_module
from throttle.jobs.journal import Journal

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def lines(count: int, **more: Any) -> list[dict[str, Any]]:
    return [chat_line(f"n{i}", f"text {i}", **more) for i in range(count)]


def go(api: Api, source: Any, output: Any = None, backend: str = "asyncio", **settings: Any) -> Report:
    return anyio.run(lambda: arun(source, api.client(), output, **settings), backend=backend)


def custom_ids(path: Path) -> list[str]:
    return [line["custom_id"] for line in read_jsonl(path)]


@BACKENDS
def test_every_line_gets_its_own_answer(tmp_path: Path, backend: str) -> None:
    source, output = write_jsonl(tmp_path / "in.jsonl", lines(300)), tmp_path / "out.jsonl"
    report = go(Api(), source, output, backend)
    assert (report.total, report.answered, report.failed, report.left, report.stopped) == (300, 300, 0, 0, None)
    assert report.usage.tokens == 300 * 5
    answers = {line["custom_id"]: line["response"]["body"] for line in read_jsonl(output)}
    assert {name: body["choices"][0]["message"]["content"] for name, body in answers.items()} == {
        f"n{i}": f"text {i}" for i in range(300)
    }


def test_a_body_reaches_the_server_as_it_stands_in_the_file(tmp_path: Path) -> None:
    line = chat_line(
        "a", 'x\u2028 "é" \U0001f600', temperature=0.1, logit_bias={"50256": -100}, own={"deep": [None, True]}
    )
    api = Api()
    go(api, write_jsonl(tmp_path / "in.jsonl", [line]))
    assert api.asked == [("/v1/chat/completions", line["body"])]


def test_an_answers_body_reaches_the_file_byte_for_byte_but_for_line_feeds(tmp_path: Path) -> None:
    pretty = b'{\n  "x": 0.10,\r\n  "y": 1e-05, "usage": {"prompt_tokens": 7}\n}\n'
    report = go(Api(lambda path, body: (200, pretty)), [chat_line("a")], tmp_path / "out.jsonl")
    assert b'"body":{  "x": 0.10,  "y": 1e-05, "usage": {"prompt_tokens": 7}}}' in (tmp_path / "out.jsonl").read_bytes()
    assert report.usage.input_tokens == 7


def test_the_same_run_again_sends_nothing(tmp_path: Path) -> None:
    source, output = write_jsonl(tmp_path / "in.jsonl", lines(20)), tmp_path / "out.jsonl"
    go(Api(), source, output)
    before = output.read_bytes()
    again = Api()
    report = go(again, source, output)
    assert (again.asked, report.answered, report.answered_now, output.read_bytes()) == ([], 20, 0, before)


def test_a_torn_line_is_asked_again_and_no_other(tmp_path: Path) -> None:
    source, output = write_jsonl(tmp_path / "in.jsonl", lines(20)), tmp_path / "out.jsonl"
    go(Api(), source, output)
    torn = read_jsonl(output)[-1]["custom_id"]
    output.write_bytes(output.read_bytes()[:-9])
    again = Api()
    go(again, source, output)
    assert again.contents == [f"text {torn[1:]}"]
    assert sorted(custom_ids(output)) == sorted(f"n{i}" for i in range(20))


def test_an_output_of_the_batch_api_is_gone_on_with(tmp_path: Path) -> None:
    source, output = write_jsonl(tmp_path / "in.jsonl", lines(3)), tmp_path / "batch.jsonl"
    write_jsonl(output, [{"id": "batch_req_1", "custom_id": "n1", "response": {"status_code": 200}, "error": None}])
    api = Api()
    go(api, source, output)
    assert sorted(api.contents) == ["text 0", "text 2"]


def test_an_output_whose_answers_are_to_other_requests_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    go(Api(), [chat_line("a", "one")], output)
    with pytest.raises(OutputError, match="its answer to 'a' is to another request"):
        go(Api(), [chat_line("a", "two")], output)


def test_lines_added_to_the_input_are_all_that_is_sent(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    go(Api(), lines(3), output)
    api = Api()
    report = go(api, lines(5), output)
    assert (sorted(api.contents), report.answered) == (["text 3", "text 4"], 5)


def test_mistakes_and_duplicates_are_told_before_anything_is_sent(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    good = json.dumps(chat_line("a"))
    source.write_text(f"{good}\n\n{{bad\n{good}\n[]\n")
    with pytest.raises(JobFileError) as caught:
        run(source, Api().client())
    assert str(caught.value).splitlines() == [
        f"{source}:3: not JSON at column 2: expecting property name enclosed in double quotes",
        f'{source}:4: the "custom_id" is that of line 1; each line needs its own',
        f"{source}:5: a line is a JSON object, not a list",
    ]


def test_only_the_first_mistakes_are_told_and_the_others_counted(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("x\n" * 1000)
    with pytest.raises(JobFileError) as caught:
        Job(source)
    told = str(caught.value).splitlines()
    assert (len(told), told[-1], caught.value.count) == (21, f"{source}: and 980 more mistakes", 1000)


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_job_is_a_mistake(tmp_path: Path, content: str) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(content)
    with pytest.raises(JobFileError, match="holds no requests"):
        Job(source)


def refuse_odd(path: str, body: dict[str, Any]) -> tuple[int, Any]:
    number = int(body["messages"][0]["content"].split()[1])
    return (400, refusal()) if number % 2 else (200, echo(body))


def test_failures_go_to_their_own_file_and_are_left_alone_until_asked_for(tmp_path: Path) -> None:
    output, failed = tmp_path / "out.jsonl", tmp_path / "out.failed.jsonl"
    report = go(Api(refuse_odd), lines(6), output)
    assert (report.answered, report.failed, report.complete) == (3, 3, False)
    assert sorted(custom_ids(output)) == ["n0", "n2", "n4"]
    first = read_jsonl(failed)[0]
    assert first["error"] == {"code": "bad", "message": "no good"}
    assert (first["attempts"], first["response"]["status_code"], first["response"]["body"]) == (1, 400, refusal())

    again = Api()
    report = go(again, lines(6), output)
    assert (again.asked, report.answered, report.failed) == ([], 3, 3)


def test_failed_lines_are_sent_again_on_request_and_leave_the_file_when_answered(tmp_path: Path) -> None:
    output, failed = tmp_path / "out.jsonl", tmp_path / "out.failed.jsonl"
    go(Api(refuse_odd), lines(6), output)
    only_three = Api(lambda path, body: (400, refusal()) if "text 3" in str(body) else (200, echo(body)))
    report = go(only_three, lines(6), output, retry_failed=True)
    assert sorted(only_three.contents) == ["text 1", "text 3", "text 5"]
    assert (report.answered, report.failed) == (5, 1)
    assert [(line["custom_id"], line["attempts"]) for line in read_jsonl(failed)] == [("n3", 2)]

    report = go(Api(), lines(6), output, retry_failed=True)
    assert report.complete
    assert not failed.exists()
    assert sorted(custom_ids(output)) == [f"n{i}" for i in range(6)]


def test_what_may_pass_is_tried_again_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "LONGEST_RETRY_S", 0.0)
    seen: dict[str, int] = {}

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        text = body["messages"][0]["content"]
        seen[text] = seen.get(text, 0) + 1
        return (500, refusal("oops", "server_error")) if seen[text] < 3 else (200, echo(body))

    report = go(Api(answer), lines(4), tmp_path / "out.jsonl")
    assert (report.answered, set(seen.values())) == (4, {3})


def test_what_never_passes_fails_after_so_many_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "LONGEST_RETRY_S", 0.0)
    api = Api(lambda path, body: (500, b"<html>oops</html>"))
    report = go(api, lines(2), tmp_path / "out.jsonl", max_tries=3)
    assert (report.failed, len(api.asked)) == (2, 6)
    assert {line["attempts"] for line in read_jsonl(tmp_path / "out.failed.jsonl")} == {3}


def test_the_sdks_own_retries_count_as_attempts(tmp_path: Path) -> None:
    api = Api(lambda path, body: (500, refusal()))
    client = api.client(max_retries=2)
    client._calculate_retry_timeout = lambda *args, **kwargs: 0.0  # type: ignore[method-assign]
    anyio.run(lambda: arun(lines(1), client, tmp_path / "out.jsonl", max_tries=1))
    assert read_jsonl(tmp_path / "out.failed.jsonl")[0]["attempts"] == 3


def test_a_wrong_key_stops_the_run_at_once(tmp_path: Path) -> None:
    api = Api(lambda path, body: (401, refusal("Incorrect API key provided", "invalid_api_key")))
    report = go(api, lines(5000), tmp_path / "out.jsonl")
    assert report.stopped == "Incorrect API key provided"
    assert (report.failed, report.left) == (0, 5000)
    assert len(api.asked) <= 64
    assert not (tmp_path / "out.failed.jsonl").exists()


def test_an_empty_purse_stops_the_run(tmp_path: Path) -> None:
    text = "You exceeded your current quota, please check your plan and billing details."
    api = Api(lambda path, body: (429, refusal(text, "insufficient_quota")))
    assert go(api, lines(500), tmp_path / "out.jsonl").stopped == text


def test_a_model_that_does_not_exist_stops_the_run_before_many_calls(tmp_path: Path) -> None:
    api = Api(lambda path, body: (404, refusal("The model `m` does not exist", "model_not_found")))
    report = go(api, lines(5000), tmp_path / "out.jsonl")
    assert report.stopped is not None
    assert "were all refused: 404 The model `m` does not exist" in report.stopped
    assert (report.failed, report.left) == (0, 5000)
    assert len(api.asked) < 100


def test_a_few_lines_refused_for_good_are_failures_and_no_reason_to_stop(tmp_path: Path) -> None:
    api = Api(lambda path, body: (404, refusal("not found", "nope")))
    report = go(api, lines(3), tmp_path / "out.jsonl")
    assert (report.stopped, report.failed) == (None, 3)


def test_failures_from_before_the_first_answer_are_kept_once_there_is_one(tmp_path: Path) -> None:
    api = Api(lambda path, body: (400, refusal()) if "text 0" in str(body) else (200, echo(body)))

    async def main() -> None:
        with Job(lines(100), tmp_path / "out.jsonl", max_in_flight=1) as job:

            async def stop_at_third(result: Result) -> None:
                if result.custom_id == "n2":
                    job.stop()

            await job.arun(api.client(), stop_at_third)

    anyio.run(main)
    assert custom_ids(tmp_path / "out.failed.jsonl") == ["n0"]
    assert custom_ids(tmp_path / "out.jsonl") == ["n1", "n2"]


def test_a_server_that_was_never_reached_is_one_clear_line(tmp_path: Path) -> None:
    report = go(Api(lambda path, body: connect_error()), lines(50), tmp_path / "out.jsonl")
    assert report.stopped == "http://api.test/v1/ can't be reached: refused"
    assert report.left == 50


def test_an_outage_costs_no_line_and_is_probed_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "FIRST_PROBE_S", 0.0)
    down: list[int] = []

    def answer(path: str, body: dict[str, Any]) -> Any:
        if "text 30" in str(body) and len(down) < 5:
            down.append(api.out)
            return connect_error()
        return 200, echo(body)

    api = Api(answer)
    report = go(api, lines(60), tmp_path / "out.jsonl")
    assert (report.answered, report.failed, report.stopped) == (60, 0, None)
    assert down[-1] == 1


def test_an_outage_that_lasts_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "FIRST_PROBE_S", 0.0)
    api = Api(lambda path, body: (200, echo(body)) if len(api.asked) < 10 else connect_error())
    report = go(api, lines(60), tmp_path / "out.jsonl", patience_s=0.0)
    assert report.stopped is not None
    assert "can't be reached" in report.stopped
    assert report.answered + report.left == 60


def test_a_full_disk_stops_the_run_and_the_next_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out.jsonl"
    append, room = Journal.append, [12]

    def full(self: Journal, line: bytes) -> int:
        room[0] -= 1
        if room[0] < 0:
            self._undo(self.size)
            raise OutputError(f"{self.path}: {OSError(errno.ENOSPC, 'no space left on device').strerror}")
        return append(self, line)

    monkeypatch.setattr(Journal, "append", full)
    report = go(Api(), lines(100), output)
    assert report.stopped == f"{output}: no space left on device"
    assert (report.answered, len(read_jsonl(output))) == (12, 12)
    monkeypatch.undo()
    report = go(Api(), lines(100), output)
    assert (report.complete, len(set(custom_ids(output))), len(custom_ids(output))) == (True, 100, 100)


def test_answers_stand_in_input_order_on_request(tmp_path: Path) -> None:
    async def slow_first(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        await anyio.sleep(0.05 if "text 0" in str(body) else 0)
        return 200, echo(body)

    output = tmp_path / "out.jsonl"
    go(Api(slow_first), lines(30), output)
    assert custom_ids(output) != [f"n{i}" for i in range(30)]
    go(Api(slow_first), lines(30), output, in_order=True)
    assert custom_ids(output) == [f"n{i}" for i in range(30)]


def test_putting_in_order_keeps_answers_that_are_not_of_this_job(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    go(Api(), lines(4), output)
    go(Api(), lines(2), output, in_order=True)
    assert custom_ids(output)[:2] == ["n0", "n1"]
    assert sorted(custom_ids(output)) == ["n0", "n1", "n2", "n3"]


def test_no_more_calls_are_out_than_allowed(tmp_path: Path) -> None:
    async def slow(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        await anyio.sleep(0.001)
        return 200, echo(body)

    api = Api(slow)
    go(api, lines(100), tmp_path / "out.jsonl", max_in_flight=3)
    assert api.most_out == 3


def test_a_slow_model_does_not_hold_up_another(tmp_path: Path) -> None:
    gate = anyio.Event()
    done: list[str] = []

    async def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if body["model"] == "slow":
            await gate.wait()
        done.append(body["model"])
        if done.count("fast") == 50:
            gate.set()
        return 200, echo(body)

    job = [chat_line(f"s{i}", model="slow") for i in range(200)] + [chat_line(f"f{i}", model="fast") for i in range(50)]
    report = go(Api(answer), job, tmp_path / "out.jsonl")
    assert report.complete
    assert done[:50] == ["fast"] * 50


@BACKENDS
def test_a_first_stop_waits_for_what_is_out_and_a_second_does_not(tmp_path: Path, backend: str) -> None:
    async def main(at_once: bool, output: Path) -> Report:
        gate = anyio.Event()

        async def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
            await gate.wait()
            return 200, echo(body)

        api = Api(answer)
        with Job(lines(50), output, max_in_flight=8) as job:

            async def interrupt() -> None:
                while api.out < 8:
                    await anyio.sleep(0.001)
                job.stop()
                if at_once:
                    job.stop(at_once=True)
                else:
                    gate.set()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(interrupt)
                report = await job.arun(api.client())
        return report

    report = anyio.run(main, False, tmp_path / "a.jsonl", backend=backend)
    assert (report.answered, report.stopped) == (8, "interrupted")
    report = anyio.run(main, True, tmp_path / "b.jsonl", backend=backend)
    assert (report.answered, report.stopped) == (0, "interrupted")


def test_a_stop_withdraws_what_the_limiter_holds(tmp_path: Path) -> None:
    async def main() -> tuple[Report, throttle.Limiter]:
        limiter = throttle.Limiter({"rpm": 5}, pacing="burst")
        api = Api()
        with Job(lines(50), tmp_path / "out.jsonl") as job:

            async def interrupt() -> None:
                with anyio.fail_after(20):
                    while not api.asked or job.progress().waiting < engine_module.MOST_AHEAD or job.progress().out:
                        await anyio.sleep(0.001)
                job.stop()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(interrupt)
                report = await job.arun(throttle.wrap(api.client(), limiter=limiter))
        return report, limiter

    report, limiter = anyio.run(main)
    assert 0 < report.answered <= 5
    assert report.left == 50 - report.answered
    pool = limiter.snapshot().pools["default"]
    assert (pool.admitted, pool.waiting, pool.under_way) == (report.answered, 0, 0)


def test_no_more_lines_than_a_few_wait_in_the_limiter(tmp_path: Path) -> None:
    async def main() -> int:
        limiter = throttle.Limiter({"rpm": 5}, pacing="burst")
        most = 0
        with Job(lines(5000), tmp_path / "out.jsonl") as job:

            async def interrupt() -> None:
                nonlocal most
                with anyio.fail_after(20):
                    while job.progress().waiting < engine_module.MOST_AHEAD:
                        await anyio.sleep(0.001)
                for _ in range(20):
                    await anyio.sleep(0.001)
                    most = max(most, job.progress().waiting)
                job.stop()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(interrupt)
                await job.arun(throttle.wrap(Api().client(), limiter=limiter))
        return most

    assert anyio.run(main) == engine_module.MOST_AHEAD


def test_a_sync_client_is_driven_in_threads(tmp_path: Path) -> None:
    api = Api()
    report = run(lines(30), api.sync_client(), tmp_path / "out.jsonl")
    assert (report.answered, len(api.asked)) == (30, 30)


def test_a_line_too_large_for_its_bucket_fails_and_nothing_of_it_is_sent(tmp_path: Path) -> None:
    api = Api()
    limiter = throttle.Limiter({"rpm": 600, "tpm": 1000}, pacing="burst")
    job = [chat_line("small"), chat_line("large", "word " * 4000)]
    report = anyio.run(lambda: arun(job, throttle.wrap(api.client(), limiter=limiter), tmp_path / "out.jsonl"))
    assert (report.answered, report.failed, len(api.asked)) == (1, 1, 1)
    assert read_jsonl(tmp_path / "out.failed.jsonl")[0]["error"]["code"] == "request_too_large"


def test_a_results_callback_sees_answers_and_failures(tmp_path: Path) -> None:
    seen: list[Result] = []

    async def keep(result: Result) -> None:
        seen.append(result)

    async def main() -> None:
        with Job(lines(6)) as job:
            await job.arun(Api(refuse_odd).client(), keep)

    anyio.run(main)
    assert {(result.custom_id, result.error is None) for result in seen} == {(f"n{i}", i % 2 == 0) for i in range(6)}


def test_a_job_runs_once() -> None:
    async def main() -> None:
        with Job(lines(2)) as job:
            await job.arun(Api().client())
            with pytest.raises(RuntimeError, match="has run"):
                await job.arun(Api().client())

    anyio.run(main)


def test_a_bound_on_waiting_that_the_caller_set_fails_lines_and_stops_nothing(tmp_path: Path) -> None:
    async def main() -> Report:
        limiter = throttle.Limiter({"rpm": 5}, pacing="burst")
        with throttle.options(max_wait=0.0):
            return await arun(
                lines(8), throttle.wrap(Api().client(), limiter=limiter), tmp_path / "out.jsonl", max_tries=1
            )

    report = anyio.run(main)
    assert report.stopped is None
    assert report.answered + report.failed == 8
    assert report.failed > 0
    assert {line["error"]["code"] for line in read_jsonl(tmp_path / "out.failed.jsonl")} == {"wait_timeout"}
