from __future__ import annotations

from fractions import Fraction as F
from random import Random

import pytest

from throttle.simulator import Admission, Judge, Refusal, one_pool, read_limits


def refused(verdict: Admission | Refusal) -> Refusal:
    assert isinstance(verdict, Refusal)
    return verdict


def admitted(verdict: Admission | Refusal) -> Admission:
    assert isinstance(verdict, Admission)
    return verdict


def call(judge: Judge, at: F | float, tokens: int, pools: tuple[str, ...] = ("default",)) -> Admission | Refusal:
    return judge.arrive(at, {"requests": 1, "tokens": tokens}, pools)


def test_a_refused_call_costs_nothing_and_names_the_meter_that_holds_it_longest() -> None:
    judge = Judge(one_pool(rpm=2, tpm=1000))
    admitted(call(judge, 0, 0))
    admitted(call(judge, 0, 900))
    refusal = refused(call(judge, 0, 200))
    assert (refusal.meter, refusal.wait_s) == ("rpm", F(30))
    assert refusal.levels == {"rpm": 0, "tpm": 100}
    refusal = refused(call(judge, 0, 700))
    assert (refusal.meter, refusal.wait_s, refusal.used, refusal.requested) == ("tpm", F(36), 900, 700)
    assert [standing.level for standing in judge.standings(0, ["default"])] == [0, 100]


def test_of_two_meters_that_never_can_the_first_is_named() -> None:
    refusal = refused(Judge(one_pool(rpm=0, tpm=10)).arrive(0, {"requests": 1, "tokens": 11}))
    assert (refusal.meter, refusal.too_large) == ("rpm", True)


def test_two_meters_that_are_debited_at_different_instants_are_caught_short() -> None:
    """2 a minute and 1000 tokens a minute: a call of 1000 waits for both meters at one instant."""
    judge = Judge(one_pool(rpm=2, tpm=1000))
    admitted(call(judge, 0, 0))
    admitted(call(judge, 0, 0))
    assert refused(call(judge, 0, 1000)).wait_s == 30
    admitted(call(judge, 30, 1000))
    assert refused(call(judge, 60, 1000)).wait_s == 30
    admitted(call(judge, 90, 1000))


def test_what_a_text_tells_is_never_sooner_than_a_millisecond_before_the_instant() -> None:
    judge = Judge(one_pool(tpm=7000), start=0)
    refusal = refused(call(judge, F(1, 3), 123))
    assert refusal.wait_s is not None
    assert refusal.told_s is not None
    assert refusal.told_s >= refusal.wait_s
    assert refused(call(judge, F(1, 3) + refusal.wait_s - F(1, 10**9), 123)).meter == "tpm"
    admitted(call(judge, F(1, 3) + refusal.wait_s, 123))


def test_usage_is_settled_in_both_directions_and_may_run_into_debt() -> None:
    judge = Judge(one_pool(rpm=60, tpm=1000))
    verdict = admitted(call(judge, 0, 600))
    judge.settle(0, verdict, {"tokens": 100})
    assert judge.standings(0, ["default"])[1].level == 900
    verdict = admitted(call(judge, 0, 800))
    judge.settle(0, verdict, {"tokens": 1500})
    assert judge.standings(0, ["default"])[1].level == -600
    refusal = refused(call(judge, 0, 1))
    assert (refusal.used, refusal.wait_s) == (1000, F(601 * 60, 1000))


def test_all_pools_must_pay_and_none_is_charged_if_one_cannot() -> None:
    limits = read_limits(
        {"gpt-4o": {"rpm": 100, "tpm": 10_000, "long_context": {"over": 1000, "tpm": 2000}}},
        {"proj_a": {"gpt-4o": {"rpm": 1}}},
    )
    judge = Judge(limits)
    family = limits.family_of("gpt-4o-2024-08-06")
    assert family is not None
    pools = limits.pools_of(family, project="proj_a", input_tokens=1500)
    assert pools == ("gpt-4o", "gpt-4o-long-context", "proj_a/gpt-4o")
    verdict = admitted(judge.arrive(0, {"requests": 1, "tokens": 1500}, pools))
    assert verdict.levels == {"rpm": 100, "tpm": 10_000, "gpt-4o-long-context/tpm": 2000, "proj_a/gpt-4o/rpm": 1}
    refusal = refused(judge.arrive(0, {"requests": 1, "tokens": 400}, pools))
    assert (refusal.pool, refusal.meter) == ("proj_a/gpt-4o", "rpm")
    assert [standing.level for standing in judge.standings(0, pools)] == [99, 8500, 500, 0]
    admitted(judge.arrive(0, {"requests": 1, "tokens": 400}, limits.pools_of(family, input_tokens=400)))


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("ft:gpt-4o-mini-2024-07-18:acme::id", "gpt-4o-mini"),
        ("gpt-4", None),
        ("odd", "any"),
    ],
)
def test_a_model_draws_on_the_most_specific_family(model: str, family: str | None) -> None:
    meters = {"rpm": 1}
    limits = read_limits({"gpt-4o": meters, "gpt-4o-mini": meters, "any": {"models": ["o*"], **meters}})
    found = limits.family_of(model)
    assert (found.pool if found else None) == family


def test_a_weight_makes_a_token_count_less() -> None:
    limits = read_limits({"davinci": {"tpm": 1000, "models": ["davinci", "ada"], "weights": {"ada": "1/200"}}})
    family = limits.family_of("ada")
    assert family is not None
    assert family.weight_of("ada") == F(1, 200)
    assert family.weight_of("davinci") == 1


def test_refused_calls_can_be_charged() -> None:
    judge = Judge(one_pool(rpm=10, tpm=100), start=F(1, 10), refused_cost={"requests": 1})
    refused(call(judge, 0, 50))
    assert [standing.level for standing in judge.standings(0, ["default"])] == [0, 10]


def test_a_window_shorter_than_the_meter_has_its_share_of_the_limit() -> None:
    for policy in ("fixed", "sliding"):
        judge = Judge(one_pool(rpm=60), policy=policy, window_s=10)
        for _ in range(10):
            admitted(call(judge, 0, 0))
        assert refused(call(judge, 0, 0)).wait_s == 10
        admitted(call(judge, 10, 0))


def test_per_second_holds_one_second_of_requests_and_a_minute_of_tokens() -> None:
    judge = Judge(one_pool(rpm=120, tpm=6000), policy="per-second")
    admitted(call(judge, 0, 2000))
    admitted(call(judge, 0, 2000))
    assert refused(call(judge, 0, 2000)).wait_s == F(1, 2)
    standing = judge.standings(0, ["default"])[0]
    assert [standing.limit, standing.level, standing.full_in_s] == [120, 118, 1]
    both = Judge(one_pool(rpm=120, tpm=6000), policy="per-second", window_s=1)
    assert refused(call(both, 0, 101)).too_large


def test_limits_changed_while_running_keep_the_levels() -> None:
    judge = Judge(one_pool(rpm=60, tpm=6000))
    admitted(call(judge, 0, 5000))
    judge.change(1, one_pool(rpm=30, tpm=12_000, rpd=10))
    levels = [standing.level for standing in judge.standings(1, ["default"])]
    assert levels == [30, 1100, 10]
    judge.change(2, one_pool(tpm=500))
    assert [standing.level for standing in judge.standings(2, ["default"])] == [500]


def test_utilization_counts_from_the_first_call_to_the_last_admission() -> None:
    judge = Judge(one_pool(rpm=60, tpm=6000), start=0)
    admitted(call(judge, 30, 1000))  # the level is 3000 then
    admitted(call(judge, 60, 4000))
    refused(call(judge, 100, 6000))
    rpm, tpm = judge.summary(200)
    assert (tpm.level_at_start, tpm.charged, tpm.offered) == (3000, 5000, 6000)
    assert tpm.utilization == pytest.approx(5 / 6, abs=1e-15)
    assert (rpm.offered, rpm.charged) == (60, 2)
    judge.mark()
    admitted(call(judge, 200, 6000))
    assert judge.summary(300)[1].utilization == 1


def test_others_are_judged_alike_and_counted_apart() -> None:
    judge = Judge(one_pool(tpm=600))
    admitted(call(judge, 0, 100))
    admitted(judge.arrive(10, {"tokens": 400}, others=True))
    admitted(call(judge, 10, 200))
    summary = judge.summary(10)[0]
    assert (summary.charged, summary.others, summary.offered) == (300, 400, 700)
    assert summary.utilization == 1


@pytest.mark.parametrize("policy", ["bucket", "fixed", "sliding", "per-second"])
def test_it_stays_exact_at_thirty_thousand_calls_a_minute(policy: str) -> None:
    """Whoever comes exactly when told is admitted, always; a nanosecond sooner never. All in whole nanoseconds."""
    judge, random, at = Judge(one_pool(rpm=30_000, tpm=10_000_000), policy=policy, start=0), Random(1), F(0)
    total = 0
    for _ in range(1500):
        tokens = random.randrange(1, 700)
        verdict = call(judge, at, tokens)
        if isinstance(verdict, Refusal):
            assert verdict.wait_s is not None
            assert isinstance(call(judge, at + verdict.wait_s - F(1, 10**9), tokens), Refusal)
            at += verdict.wait_s
            admitted(call(judge, at, tokens))
        total += tokens
    tpm = judge.summary(at)[1]
    assert tpm.charged == total
    if policy in ("bucket", "per-second"):
        assert judge.summary(at)[0].utilization == 1 or tpm.utilization == 1
