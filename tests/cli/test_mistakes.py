"""What goes wrong is said in one line, with the exit code that belongs to it, and never with a traceback."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import throttle_command
from tests.jobs.support import chat_line, write_jsonl

UNREACHABLE = "http://127.0.0.1:9/v1"  # the discard port, where nobody listens


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "THROTTLE_LIMITS", "THROTTLE_TIER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "in.jsonl", [chat_line("a", model="gpt-4o-mini")])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["frob"], "No such command 'frob'"),
        (["run"], "Missing argument"),
        (["run", "in.jsonl"], "Missing option '-o'"),
        (["run", "in.jsonl", "-o", "out.jsonl", "--nope"], "No such option: --nope"),
        (["run", "in.jsonl", "-o", "out.jsonl", "--rpm", "0"], "--rpm"),
        (["run", "in.jsonl", "-o", "out.jsonl"], "OPENAI_API_KEY is not set"),
        (["run", "in.jsonl", "-o", "out.jsonl", "--base-url", "foo"], "--base-url 'foo' is no URL"),
        (["run", "in.jsonl", "-o", "out.jsonl", "--rpm", "5", "--tier", "tier-1"], "stand in place of"),
        (["run", "in.jsonl", "-o", "o.jsonl", "--tier", "tier-9", "--base-url", UNREACHABLE], "unknown tier 'tier-9'"),
        (["run", "none.jsonl", "-o", "out.jsonl", "--base-url", UNREACHABLE], "none.jsonl: no such file"),
        (["plan", "none.jsonl"], "none.jsonl: no such file"),
        (["plan", "in.jsonl", "--limits", "none.yaml"], "none.yaml"),
        (["plan", "in.jsonl", "--plot", "times.gif"], "has to end in one of .png, .svg, .html"),
        (
            ["run", "in.jsonl", "-o", "o.jsonl", "--max-cost", "1", "--base-url", UNREACHABLE],
            "no price for gpt-4o-mini",
        ),
        (["serve", "--latency", "soon"], "--latency 'soon' is no time"),
        (["demo", "--seconds", "0"], "--seconds"),
    ],
)
def test_a_mistake_in_the_command_is_one_line_and_exit_code_2(job: Path, arguments: list[str], said: str) -> None:
    told = throttle_command(*arguments)
    assert said in told.err
    assert (told.code, told.out, told.err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "in.jsonl", "-o", "out.jsonl", "--base-url", UNREACHABLE], "can't be reached"),
        (["run", "in.jsonl", "-o", "none/out.jsonl", "--base-url", UNREACHABLE], "none/out.jsonl: no such file"),
        (["run", "in.jsonl", "-o", "in.jsonl", "--base-url", UNREACHABLE], "is the input as well"),
        (
            ["run", "in.jsonl", "-o", "notes.txt", "--base-url", UNREACHABLE],
            "notes.txt:1: not a line of a job's output",
        ),
        (["serve", "--charge", "x"], "charge: 'x' is none of"),
    ],
)
def test_what_fails_is_one_line_and_exit_code_1(job: Path, arguments: list[str], said: str) -> None:
    Path("notes.txt").write_text("my notes\n")
    told = throttle_command(*arguments)
    assert said in told.err
    assert (told.code, told.out, told.err.count("\n")) == (1, "", 1)
    assert Path("notes.txt").read_text() == "my notes\n"


def test_mistakes_in_a_limits_file_begin_with_their_place(job: Path, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text('version: 1\nfamilies: {a: {models: ["x"]}}\ntiers: {t: {a: {rmp: 5}}}\n')
    told = throttle_command("plan", "in.jsonl", "--limits", "my.yaml")
    assert told.err.startswith("my.yaml:3:17: ")
    assert told.code == 2


def test_mistakes_in_a_job_are_told_a_line_each(tmp_path: Path) -> None:
    Path("bad.jsonl").write_text('{"custom_id": "a"}\n{bad\n')
    told = throttle_command("run", "bad.jsonl", "-o", "out.jsonl", "--base-url", UNREACHABLE)
    assert [line.split(" ")[0] for line in told.err.splitlines()] == ["bad.jsonl:1:", "bad.jsonl:2:"]
    assert told.code == 2


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_cli_extra_the_command_says_which(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=missing)
        return real(name, *args, **more)

    for name in [name for name in sys.modules if name.startswith("throttle.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    from throttle.cli import main

    assert main(["run", "--help"]) == 1
    assert capsys.readouterr().err == (
        f"throttle: the command line needs {missing}, which is not installed: pip install 'openai-throttle[cli]'\n"
    )


def test_a_bug_of_our_own_is_not_hidden(monkeypatch: pytest.MonkeyPatch, job: Path) -> None:
    def broken(*args: object, **more: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("throttle.jobs.planning.plan", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        throttle_command("plan", "in.jsonl")


def test_the_version_and_the_commands_are_told() -> None:
    assert throttle_command("--version").out.startswith("throttle ")
    told = throttle_command("--help")
    assert told.code == 0
    for command in ("demo", "run", "plan", "estimate", "limits", "serve"):
        assert command in told.out
