"""`throttle estimate`: arguments in, words out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("typer")

from throttle.cli.estimate import estimate
from throttle.jobs.errors import JobFileError

LINES = (
    '{"custom_id":"a","method":"POST","url":"/v1/chat/completions",'
    '"body":{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Say hello"}],"max_tokens":20}}\n'
    '\n{"model":"text-embedding-3-small","input":["one","two three"]}\n'
)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    file = tmp_path / "job.jsonl"
    file.write_text(LINES)
    return file


def test_lines_and_sums_are_told_to_machines(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert estimate(job, json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(line["line"], line["custom_id"], line["input_tokens"]) for line in told["lines"]] == [
        (1, "a", 9),
        (3, "line-3", 3),
    ]
    assert told["total"] == {"requests": 2, "input_tokens": 12, "output_tokens": 20, "tokens": 32, "images": 0}
    assert set(told["families"]) == {line["family"] for line in told["lines"]}


def test_lines_and_sums_are_told_to_people(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert estimate(job) == 0
    text = capsys.readouterr().out
    assert "gpt-4o-mini" in text
    assert "2 lines in all" in text
    assert estimate(job, summary=True) == 0
    assert "line-3" not in capsys.readouterr().out


def test_a_line_that_is_no_request_is_told_with_its_place(job: Path) -> None:
    job.write_text(LINES + "{\n")
    with pytest.raises(JobFileError, match=r"job\.jsonl:4: not JSON"):
        estimate(job)
