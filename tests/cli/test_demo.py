from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from tests.cli.support import throttle_command
from tests.jobs.support import read_jsonl
from throttle.cli.demo import Outcome, Stage, _conclude, _exit_code, _introduce, _set_stage
from throttle.cli.documentation import job_lines
from throttle.costs import CallCost
from throttle.jobs.lines import read_line
from throttle.simulator import MeterSummary, Summary


def test_the_job_is_real_text_from_tens_to_thousands_of_tokens_and_the_same_every_time() -> None:
    lines = job_lines(300, model="gpt-4o-mini")
    tokens = [CallCost(line["body"]).input_tokens for line in lines]
    assert len(lines) == 300
    assert min(tokens) < 60
    assert max(tokens) > 1000
    assert lines == job_lines(300, model="gpt-4o-mini")
    assert len({line["custom_id"] for line in lines}) == 300
    for number, line in enumerate(lines, 1):
        read_line(json.dumps(line).encode(), number)


def test_nothing_is_imported_and_strange_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text('"""Do something useful, in a sentence that is long enough to be of use."""\n')
    (tmp_path / "broken.py").write_text("def (:\n")
    (tmp_path / "binary.py").write_bytes(b"\xff\x00")
    (tmp_path / "loud.py").write_text(
        '"""Raise when it is imported; nobody should ever do that with it."""\nraise SystemExit\n'
    )
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "left_out.py").write_text(
        '"""A text of the test suite, which is no documentation of anything."""\n'
    )
    names = {line["custom_id"].split("-", 1)[1] for line in job_lines(100, model="m", directory=tmp_path)}
    assert names == {"good", "loud"}


def test_the_demo_runs_both_ways_and_loses_nothing_with_throttle(tmp_path: Path) -> None:
    limits = ("--rpm", "6000", "--tpm", "1000000")
    told = throttle_command("demo", "--requests", "60", *limits, "--keep", tmp_path, "--json")
    throttled, plain = told.json["runs"]
    assert (throttled["answered"], throttled["lost"], throttled["refused"]) == (60, 0, 0)
    assert (plain["name"], plain["requests"], plain["server"]["admitted"]) == ("plain client", 60, 60)
    assert told.code == 0
    assert len(read_jsonl(tmp_path / "job.jsonl")) == len(read_jsonl(tmp_path / "answers.jsonl")) == 60


def outcome(name: str, answered: int, refused: int) -> Outcome:
    meter = MeterSummary("default", "tpm", "tokens", 58_000, 60.0, 12.0, 58_000, 77_000, 0, 77_300, 0.996)
    server = Summary(25.0, 600, 600, refused, {"429": refused}, {}, {}, {"tokens": 77_201}, 1, 1, 1.0, 21.1, (meter,))
    return Outcome(name, 600, answered, 21.3, server, (3.1, 17.9))


def test_the_demo_ends_with_a_table_that_fits_80_columns() -> None:
    text = io.StringIO()
    stage = Stage([{}] * 600, {"rpm": 500, "tpm": 58_000}, "characters", "gpt-4o-mini, limits made for the job", 19.9)
    console = Console(file=text, width=80)
    _introduce(stage, console)
    _conclude(stage, [outcome("throttle", 600, 0), outcome("plain client", 512, 301)], console)
    told = text.getvalue()
    assert max(map(len, told.splitlines())) <= 80
    rows = {" ".join(line.split()) for line in told.splitlines()}
    assert {
        "answered 600 of 600 512 of 600",
        "lost 0 88",
        "429 answers 0 301",
        "utilization of tokens (tpm) 99.6 % 99.6 %",
        "against the ideal 1.010 × —",
        "waits p50 / p95 3.1 s / 17.9 s 3.1 s / 17.9 s",
        "throttle: 600 calls answered, none refused, none lost",
    } <= rows


@pytest.mark.parametrize(("answered", "refused", "code"), [(600, 0, 0), (599, 0, 1), (600, 1, 1)])
def test_a_refusal_or_a_lost_call_is_exit_code_1(answered: int, refused: int, code: int) -> None:
    assert _exit_code(outcome("throttle", answered, refused)) == code


def test_given_limits_decide_how_long_the_job_is() -> None:
    stage = _set_stage(None, None, 100, 1_000_000, None, 2.0)
    assert stage.limits == {"rpm": 100, "tpm": 1_000_000}
    assert len(stage.lines) == 104  # a bucket of 100 and two seconds' refill
    assert stage.ideal_s == pytest.approx(2.4)


def test_the_job_decides_the_limits_where_none_are_given() -> None:
    stage = _set_stage(None, None, None, None, 600, 20.0)
    assert stage.ideal_s == pytest.approx(20.0, rel=0.05)


def test_a_tier_is_taken_from_the_limits_file() -> None:
    stage = _set_stage(None, "tier-1", None, None, 50, 20.0)
    assert stage.limits["rpm"] > 0
    assert stage.title.endswith("tier-1")
