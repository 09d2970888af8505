"""`throttle status`: what people see of a store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from throttle import Limiter
from throttle.cli.failures import UsageMistake
from throttle.cli.status import status


def use(url: str) -> None:
    limiter = Limiter({"rpm": 600, "tpm": 6000}, store=url)
    limiter.acquire("m", tokens=1500).__enter__().close()


def test_it_shows_levels_and_processes_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    use(url)
    assert status(url) == 0
    out = capsys.readouterr().out
    assert "default" in out
    assert "of 6,000" in out


def test_it_shows_the_same_of_redis_to_machines(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"{redis_url}?namespace=status"
    use(url)
    assert status(url, as_json=True) == 0
    (pool,) = json.loads(capsys.readouterr().out)
    assert pool["name"] == "default"
    assert [meter["name"] for meter in pool["meters"]] == ["rpm", "tpm"]
    assert 4500 <= pool["meters"][1]["level"] < 5000
    assert len(pool["processes"]) == 1


def test_an_empty_store_is_said_to_be_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(f"sqlite:///{tmp_path}/a.db") == 0
    assert "nobody has used this store lately" in capsys.readouterr().out


def test_a_store_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THROTTLE_STORE", raising=False)
    with pytest.raises(UsageMistake, match="name the store"):
        status()
    with pytest.raises(UsageMistake, match="memory://"):
        status("memory://")


def test_it_is_a_command(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(status)
    ran = CliRunner().invoke(app, ["--store", f"sqlite:///{tmp_path}/a.db", "--json"])
    assert (ran.exit_code, ran.output) == (0, "[]\n")
