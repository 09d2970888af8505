from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import throttle
from tests.jobs.support import chat_line, write_jsonl
from tests.jobs.test_pack_runs import prompt_line, text_line
from throttle.jobs import JobFileError, TierPlan, plan
from throttle.jobs.lines import read_line
from throttle.jobs.planning import play
from throttle.jobs.workload import Workload
from throttle.limits.values import Match, MeterSpec, PoolSpec, ResolvedLimits

TABLE: dict[str, Any] = {
    "version": 1,
    "families": {
        "small": {"models": ["small", "cheap"], "weights": {"cheap": 0.25}, "charge": "input"},
        "large": {"models": ["large"], "charge": "input"},
        "serial": {"models": ["serial"]},
    },
    "tiers": {
        "low": {"small": {"rpm": 10, "tpm": 1000}, "large": {"rpm": 5, "tpm": 1000}, "serial": {"max_in_flight": 2}},
        "high": {"small": {"rpm": 100, "tpm": 1000}, "large": {"rpm": 100, "tpm": 10_000}, "serial": None},
        "higher": {"small": {"rpm": 104, "tpm": 1000}, "large": {"rpm": 104, "tpm": 10_000}, "serial": None},
    },
}


def lines(count: int, model: str = "small", content: str = "hi") -> list[dict[str, Any]]:
    return [chat_line(f"{model}{i}", content, model=model, max_tokens=1) for i in range(count)]


def under(tier: str, source: Any, **more: Any) -> TierPlan:
    (made,) = plan(source, TABLE, tiers=[tier], latency_s=0, **more).tiers
    return made


def test_what_exceeds_the_bucket_goes_at_the_rate_of_its_refill() -> None:
    made = under("low", lines(25))  # 10 at once, then one every 6 s
    assert made.duration_s == pytest.approx(15 * 6)
    assert made.binds is not None
    assert (made.binds.name, made.binds.binds, made.binds.calls) == ("small", "rpm", 25)
    assert made.binds.utilization["rpm"] == pytest.approx(1.0)


def test_what_the_bucket_holds_goes_at_once_and_the_last_answer_takes_its_time() -> None:
    (made,) = plan(lines(10), TABLE, tiers=["low"], latency_s=2.5).tiers
    assert (made.duration_s, made.binds) == (2.5, None)


def test_the_slowest_pool_decides_and_each_goes_at_its_own_rate() -> None:
    made = under("low", lines(10) + lines(10, "large"))
    assert [(pool.name, pool.last_s) for pool in made.pools] == [("large", pytest.approx(60.0)), ("small", 0.0)]
    assert made.duration_s == pytest.approx(60.0)


def test_tokens_bind_where_calls_are_large_and_a_models_weight_counts() -> None:
    heavy = lines(20, content="word " * 92)  # 100 tokens with the wrapping
    made = under("high", heavy)
    assert made.binds is not None
    assert made.binds.binds == "tpm"
    assert made.duration_s == pytest.approx(60, rel=0.1)
    assert under("high", [{**line, "body": {**line["body"], "model": "cheap"}} for line in heavy]).duration_s == 0


def test_calls_in_flight_bind_by_the_latency() -> None:
    (made,) = plan(lines(10, "serial"), TABLE, tiers=["low"], latency_s=3.0).tiers
    assert made.duration_s == pytest.approx(5 * 3.0)


def test_lines_that_can_never_go_are_told_by_number() -> None:
    source = [*lines(2), chat_line("huge", "word " * 2000, model="small"), *lines(1, "large")]
    made = under("low", source)
    assert (made.too_large, made.too_large_lines) == (1, (3,))
    assert made.pools[0].calls + made.pools[1].calls == 3


def test_models_without_limits_are_named() -> None:
    assert under("high", lines(3, "serial")).unlimited == ("serial",)


def test_all_tiers_that_know_a_model_are_planned_and_the_one_that_pays_off_is_told() -> None:
    made = plan(lines(500), TABLE, latency_s=0)
    assert [each.tier for each in made.tiers] == ["low", "high", "higher"]
    assert made.pays_off == "high"


def test_tokens_and_money_are_summed_by_model() -> None:
    made = plan(lines(3) + lines(2, "large"), TABLE, prices={"small": {"input": 1_000_000, "output": 2_000_000}})
    first, second = made.models
    assert (first.model, first.requests, first.output_tokens) == ("small", 3, 3)
    assert first.cost == pytest.approx(first.input_tokens + 2 * first.output_tokens)
    assert (second.model, second.cost) == ("large", None)


def test_packing_shows_in_the_plan() -> None:
    """The article's case: 20 requests a minute, 200 short prompts."""
    limits = {"rpm": 20, "tpm": 150_000}
    source = [prompt_line(f"n{i}", "Once upon a time,", max_tokens=20) for i in range(200)]
    alone = plan(source, limits, latency_s=0).tiers[0]
    packed = plan(source, limits, latency_s=0, pack=True).tiers[0]
    assert alone.duration_s == pytest.approx(180 * 3)
    assert (packed.duration_s, packed.pools[0].calls) == (0.0, 1)


def test_packs_hold_what_goes_together_and_no_more_than_a_request_takes() -> None:
    limits = {"rpm": 1000, "tpm": 100_000_000}
    source = [text_line(f"a{i}", "x") for i in range(3000)] + [text_line(f"b{i}", "x", dimensions=8) for i in range(5)]
    assert plan(source, limits, pack=True).tiers[0].pools[0].calls == 3


def test_limits_given_by_hand_are_one_tier() -> None:
    made = plan(lines(25), {"rpm": 10})
    assert len(made.tiers) == 1
    assert made.tiers[0].duration_s == pytest.approx(91.0)


def test_mistakes_are_told_as_for_a_run(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [chat_line("a"), {"custom_id": "b"}])
    with pytest.raises(JobFileError, match=r'in\.jsonl:2: "url" is missing'):
        plan(source, TABLE)
    with pytest.raises(throttle.LimitsError, match="unknown tier"):
        plan(lines(1), TABLE, tiers=["none"])


def test_pools_that_share_a_meter_share_its_refill() -> None:
    whole = PoolSpec("whole", "f", (MeterSpec("rpm", "requests", 10, 60.0, 60.0, "user"),))
    own = {
        model: PoolSpec(f"own-{model}", "f", (MeterSpec("rpm", "requests", limit, 60.0, 60.0, "user"),))
        for model, limit in (("small", 100), ("large", 100))
    }
    limits = ResolvedLimits("t", "user", "limits=", (), find=lambda model: Match((own[model], whole), Fraction(1), "f"))
    workload = Workload()
    for number, line in enumerate(lines(15) + lines(15, "large"), 1):
        workload.add(read_line(json.dumps(line).encode(), number))
    assert play(workload, limits, latency_s=0).duration_s == pytest.approx(20 * 6)
