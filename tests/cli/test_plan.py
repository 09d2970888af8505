from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import throttle_command
from tests.jobs.support import chat_line, write_jsonl


@pytest.fixture(autouse=True)
def _job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("THROTTLE_LIMITS", "THROTTLE_TIER", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "in.jsonl", [chat_line(f"n{i}", model="gpt-4o-mini") for i in range(1000)])


def test_every_tier_is_told_in_a_table_of_80_columns() -> None:
    told = throttle_command("plan", "in.jsonl")
    assert told.code == 0
    assert max(map(len, told.out.splitlines())) <= 80
    for row in ("free", "tier-1", "tier-5", "gpt-4o-mini", "pays off"):
        assert row in told.out


def test_one_tier_or_limits_of_ones_own_can_be_asked_for() -> None:
    (tier,) = throttle_command("plan", "in.jsonl", "--tier", "tier-1", "--json").json["tiers"]
    assert tier["tier"] == "tier-1"
    (own,) = throttle_command("plan", "in.jsonl", "--rpm", "500", "--latency", "0", "--json").json["tiers"]
    assert own["duration_s"] == pytest.approx(60.0)


def test_money_is_told_where_prices_are_given() -> None:
    Path("prices.yaml").write_text("gpt-4o-mini: {input: 1000, output: 2000}\n")
    told = throttle_command("plan", "in.jsonl", "--prices", "prices.yaml")
    assert "cost" in told.out


def test_lines_that_can_never_go_are_exit_code_1() -> None:
    told = throttle_command("plan", "in.jsonl", "--rpm", "500", "--tpm", "1")
    assert told.code == 1
    assert "1,000 lines can never go, larger than the bucket: 1, 2, 3" in told.out


@pytest.mark.parametrize(
    ("name", "begins"), [("p.png", b"\x89PNG"), ("p.svg", b"<?xml"), ("p.html", b"<!doctype html>")]
)
def test_times_are_drawn_on_request(name: str, begins: bytes) -> None:
    pytest.importorskip("matplotlib")
    told = throttle_command("plan", "in.jsonl", "--plot", name)
    assert told.out.endswith(f"drawn in {name}\n")
    assert Path(name).read_bytes().startswith(begins)
