"""`throttle run`, `plan` and `serve` against the simulator, over real HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import throttle_command
from tests.jobs.support import chat_line, read_jsonl, write_jsonl
from tests.jobs.test_pack_runs import prompt_line, text_line
from throttle.simulator import Simulator, in_thread, running

ROOM = {"rpm": 600_000, "tpm": 60_000_000}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "THROTTLE_LIMITS", "THROTTLE_TIER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def server() -> Iterator[Simulator]:
    with in_thread(limits=ROOM, echo=True) as simulator:
        yield simulator


def lines(count: int, **more: Any) -> list[dict[str, Any]]:
    return [chat_line(f"n{i}", f"text {i}", model="gpt-4o-mini", **more) for i in range(count)]


def run(server: Simulator, *arguments: object) -> Any:
    room = ("--rpm", ROOM["rpm"], "--tpm", ROOM["tpm"], "--pacing", "burst")
    return throttle_command("run", "in.jsonl", "-o", "out.jsonl", "--base-url", server.base_url, *room, *arguments)


def test_a_job_is_run_and_summed_up(server: Simulator) -> None:
    write_jsonl(Path("in.jsonl"), lines(40))
    told = run(server)
    assert told.code == 0
    assert told.out.startswith("40 answers in ")
    assert "0 × 429; 40 of 40 lines are in out.jsonl" in told.out
    answers = {line["custom_id"]: line["response"] for line in read_jsonl(Path("out.jsonl"))}
    assert len(answers) == 40
    assert answers["n7"]["status_code"] == 200
    assert answers["n7"]["request_id"]
    assert "text 7" in answers["n7"]["body"]["choices"][0]["message"]["content"]


def test_the_same_command_again_sends_nothing(server: Simulator) -> None:
    write_jsonl(Path("in.jsonl"), lines(10))
    run(server)
    before = server.summary().calls
    told = run(server)
    assert (told.code, server.summary().calls) == (0, before)
    assert told.out.startswith("0 answers")


def test_machines_get_json_and_nothing_else(server: Simulator) -> None:
    write_jsonl(Path("in.jsonl"), lines(10))
    told = run(server, "--json")
    assert told.err == ""
    assert told.json["answered"] == 10
    assert told.json["complete"] is True
    assert told.json["usage"]["output_tokens"] > 0
    assert told.json["pools"]["default"]["refused"] == 0


def test_every_endpoint_of_a_batch_file_is_served(server: Simulator) -> None:
    mixed = [
        chat_line("chat", "hello", model="gpt-4o-mini"),
        {"custom_id": "response", "url": "/v1/responses", "body": {"model": "gpt-4o-mini", "input": "hello"}},
        text_line("embedding", "hello"),
        prompt_line("completion", "Once upon a time,", max_tokens=5, n=2),
        {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "bare"}]},
    ]
    write_jsonl(Path("in.jsonl"), mixed)
    assert run(server).code == 0
    objects = {line["custom_id"]: line["response"]["body"]["object"] for line in read_jsonl(Path("out.jsonl"))}
    assert objects == {
        "chat": "chat.completion",
        "response": "response",
        "embedding": "list",
        "completion": "text_completion",
        "line-5": "chat.completion",
    }


def test_packing_sends_few_requests_and_gives_every_line_its_answer(server: Simulator) -> None:
    write_jsonl(Path("in.jsonl"), [text_line(f"n{i}", f"text {i}") for i in range(100)])
    before = server.summary().calls
    assert run(server, "--pack").code == 0
    assert server.summary().calls - before == 1
    packed = {line["custom_id"]: line["response"]["body"] for line in read_jsonl(Path("out.jsonl"))}
    Path("out.jsonl").unlink()
    run(server)
    alone = {line["custom_id"]: line["response"]["body"] for line in read_jsonl(Path("out.jsonl"))}
    assert {name: body["data"] for name, body in packed.items()} == {name: body["data"] for name, body in alone.items()}
    assert sum(body["usage"]["total_tokens"] for body in packed.values()) == sum(
        body["usage"]["total_tokens"] for body in alone.values()
    )


def test_a_failed_line_is_exit_code_1_and_says_where_it_is(server: Simulator) -> None:
    write_jsonl(Path("in.jsonl"), [*lines(3), text_line("bad", "")])
    told = run(server)
    assert told.code == 1
    assert "1 line failed: see out.failed.jsonl; --retry-failed sends them again" in told.out
    (failed,) = read_jsonl(Path("out.failed.jsonl"))
    assert (failed["custom_id"], failed["response"]["status_code"], failed["line"]) == ("bad", 400, 4)


def test_input_order_budget_and_prices_are_options(server: Simulator) -> None:
    write_jsonl(Path("in.jsonl"), lines(50, max_tokens=16))
    Path("prices.yaml").write_text("gpt-4o-*: {input: 1, output: 2}\n")
    told = run(server, "--max-tokens-total", 300, "--prices", "prices.yaml")
    assert told.code == 1
    assert "budget: " in told.err
    assert "cost 0.000" in told.out
    told = run(server, "--in-order")
    assert told.code == 0
    assert [line["custom_id"] for line in read_jsonl(Path("out.jsonl"))] == [f"n{i}" for i in range(50)]


def test_a_job_may_come_from_standard_input(server: Simulator) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines(5))
    arguments = ["run", "-", "-o", "out.jsonl", "--base-url", server.base_url, "--rpm", "60000", "--pacing", "burst"]
    done = subprocess.run(_command(arguments), input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, len(read_jsonl(Path("out.jsonl")))) == (0, 5)


def test_a_plan_foretells_the_run_that_follows() -> None:
    """No run is faster than its plan; how near it comes is measured by `python -m benchmarks jobs plan`."""
    limits = {"rpm": 6000, "tpm": 60_000}
    write_jsonl(Path("in.jsonl"), [chat_line(f"n{i}", "word " * 480, model="gpt-4o-mini") for i in range(104)])
    options = ("--rpm", limits["rpm"], "--tpm", limits["tpm"])
    planned = throttle_command("plan", "in.jsonl", *options, "--latency", "0.05", "--json").json
    (tier,) = planned["tiers"]
    assert tier["duration_s"] == pytest.approx(2.7, abs=0.2)
    with running(limits=limits, latency_s=0.05) as server:
        where = ("-o", "out.jsonl", "--base-url", server.base_url, "--pacing", "burst")
        ran = throttle_command("run", "in.jsonl", *where, *options, "--json").json
    assert ran["complete"] is True
    assert ran["pools"]["default"]["refused"] == 0
    assert ran["elapsed_s"] >= tier["duration_s"] * 0.95


def _command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-c", "import sys; from throttle.cli import main; sys.exit(main())", *map(str, arguments)]


def _start(server: Simulator, rpm: int) -> subprocess.Popen[str]:
    arguments = ["run", "in.jsonl", "-o", "out.jsonl", "--base-url", server.base_url, "--rpm", str(rpm)]
    return subprocess.Popen(
        _command([*arguments, "--pacing", "burst"]), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _wait_for_answers(count: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if Path("out.jsonl").exists() and Path("out.jsonl").read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.01)
    raise AssertionError("no answers came")


def test_a_run_killed_again_and_again_answers_every_line_exactly_once() -> None:
    total = 400
    write_jsonl(Path("in.jsonl"), lines(total))
    with running(limits=ROOM, latency_s=(0.0, 0.05)) as server:
        for part in range(1, 3):
            process = _start(server, ROOM["rpm"])
            _wait_for_answers(part * total // 4)
            process.kill()
            process.communicate()
        final = _start(server, ROOM["rpm"])
        assert final.communicate(timeout=60)[0].count(f"{total:,} of {total:,} lines") == 1
        calls = server.summary().calls
    names = [line["custom_id"] for line in read_jsonl(Path("out.jsonl"))]
    assert sorted(names) == sorted(f"n{i}" for i in range(total))
    # what was out when the process died was asked again, nothing else
    assert total <= calls <= total + 2 * 200


@pytest.mark.skipif(os.name == "nt", reason="signals are otherwise there")
def test_ctrl_c_finishes_what_is_out_and_the_next_run_goes_on() -> None:
    write_jsonl(Path("in.jsonl"), lines(300))
    with running(limits=ROOM, latency_s=(0.2, 0.4)) as server:
        process = _start(server, ROOM["rpm"])
        _wait_for_answers(20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "stopping: waiting for " in err
        assert "interrupted; " in err
        assert "the same command goes on" in err
        answered = len(read_jsonl(Path("out.jsonl")))
        assert f"{answered:,} of 300 lines" in out
        assert server.summary().by_status == {"200": answered}
        assert _start(server, ROOM["rpm"]).communicate(timeout=60)[0].count("300 of 300 lines") == 1


@pytest.mark.skipif(os.name == "nt", reason="signals are otherwise there")
def test_ctrl_c_twice_stops_now() -> None:
    write_jsonl(Path("in.jsonl"), lines(5))
    with running(limits=ROOM, latency_s=30.0) as server:
        process = _start(server, ROOM["rpm"])
        until = time.monotonic() + 30
        while server.summary().calls < 5 and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "waiting for 5 calls that are out" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    assert process.returncode == 130


@pytest.mark.skipif(os.name == "nt", reason="signals are otherwise there")
def test_serve_answers_until_ctrl_c_and_sums_up() -> None:
    process = subprocess.Popen(
        _command(["serve", "--port", "0", "--rpm", "60"]), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("http://127.0.0.1:")
    assert line.endswith("/v1 answers until Ctrl-C\n")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "throttle: 0 calls, 0 admitted, 0 refused for their rate\n")
