"""A smoke pass over the race: that it runs, counts and ranks, not what comes out of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import throughput
from benchmarks.__main__ import main
from benchmarks.contenders import ALL
from benchmarks.contenders.counting import tokens_of
from benchmarks.rig.race import Result
from benchmarks.rig.report import page, rows_of, table
from benchmarks.rig.scenarios import BY_NAME, SCENARIOS, Scenario


def test_a_short_race_tells_every_contender_and_loses_no_throttled_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "runs.json"
    only = ["--only", "throttle,fixed delay", "--scenario", "tokens", "--seconds", "1", "--rounds", "1"]
    main(["throughput", *only, "--workers", "8", "--save", str(kept), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert {run["contender"] for run in told["runs"]} == {"throttle", "fixed delay"}
    assert all(run["calls"] == run["answered"] > 0 and not run["lost"] for run in told["runs"])
    assert told["about"]["versions"]["openai"]
    main(["throughput", "--load", str(kept)])
    assert "time/ideal" in capsys.readouterr().out


def test_a_name_that_nobody_has_is_told_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["throughput", "--only", "nobody"]) == 2
    assert "plain SDK" in capsys.readouterr().err


def test_who_loses_calls_comes_last_and_who_meets_no_429_first() -> None:
    results = [_result("loses", lost=1), _result("refused", refused=5, elapsed_s=10), _result("clean", elapsed_s=12)]
    assert [row.contender for row in rows_of(results)] == ["clean", "refused", "loses"]


def test_a_run_that_was_cut_off_shows_how_long_it_lasted_at_least() -> None:
    (row,) = rows_of([_result("slow", answered=50, elapsed_s=80.0)])
    assert row.time == "> 8.0"


def test_medians_are_taken_over_rounds() -> None:
    (row,) = rows_of([_result("one", elapsed_s=seconds) for seconds in (10.0, 11.0, 30.0)])
    assert row.against_ideal == pytest.approx(1.1)
    assert row.spread == pytest.approx(2.0)
    assert "1.100" in table([row], {})


def test_the_page_needs_nothing_beside_it() -> None:
    pytest.importorskip("matplotlib")
    about = {"date": "", "processor": "", "cores": 2, "python": "3", "versions": {}}
    written = page(rows_of([_result("one")]), {}, about, ["a note"])
    assert "data:image/png;base64," in written
    assert "http" not in written


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_scenario_s_job_lasts_as_long_at_the_server_s_full_rate_as_it_was_asked_to(scenario: Scenario) -> None:
    bodies = scenario.bodies(20.0, seed=7)
    tokens = sum(scenario.booked(body) for body in bodies)
    assert scenario.ideal_s(len(bodies), tokens) == pytest.approx(20.0, abs=1.5)


def test_what_a_call_reserves_is_its_prompt_and_its_maximum() -> None:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 200}
    assert tokens_of(body) == 3 + 3 + 1 + 1 + 200


def test_contenders_have_names_of_their_own_and_two_lead_a_quick_run() -> None:
    assert len({each.name for each in ALL}) == len(ALL)
    assert [each.name for each in ALL if each.quick][:2] == ["throttle", "plain SDK"]
    assert throughput.QUICK_SCENARIO in BY_NAME


def _result(name: str, *, answered: int = 100, lost: int = 0, refused: int = 0, elapsed_s: float = 10.0) -> Result:
    return Result(
        contender=name,
        scenario="tokens",
        round=0,
        calls=100,
        answered=answered - lost,
        lost=lost,
        refused=refused,
        goodput=0.9,
        elapsed_s=elapsed_s,
        ideal_s=10.0,
        p50_s=1.0,
        p95_s=2.0,
        p99_s=3.0,
        cpu_s=0.5,
        peak_mb=50.0,
        errors={},
    )
