"""A smoke pass over the loop's promises on real HTTP, and over the judgement of what came out."""

from __future__ import annotations

import json

import pytest

from benchmarks.__main__ import main
from benchmarks.live import PARTS, Row


def test_a_short_run_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    main(["live", "--runs", "1", "--seconds", "1", "--workers", "8", "--only", "empty,untold", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in told] == ["empty", "untold"]
    assert all(row["lost"] == 0 and row["runs"] == 1 for row in told)


def test_a_part_that_does_not_exist_is_told_with_those_that_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["live", "--only", "empty,everything"]) == 2
    assert "max-tokens" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("empty", {"refused": 1}),
        ("empty", {"lost": 1}),
        ("empty", {"utilization": 0.9949}),
        ("full", {"time": 1.011}),
        ("full", {"worst_time": 1.021}),
        ("untold", {"utilization": 0.9899}),
        ("max-tokens", {"utilization": 0.9899}),
    ],
)
def test_a_promise_is_broken_by_what_it_excludes(name: str, change: dict[str, float]) -> None:
    (part,) = (part for part in PARTS if part.scenario.name == name)
    kept = {"refused": 0, "lost": 0, "utilization": 0.995, "least": 0.9, "time": 1.01, "worst_time": 1.02}
    assert part.holds(Row(name, "", 5, **kept))  # type: ignore[arg-type]
    assert not part.holds(Row(name, "", 5, **{**kept, **change}))  # type: ignore[arg-type]
