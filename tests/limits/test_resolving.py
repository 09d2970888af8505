"""Tiers, meters, projects and the pools that come of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

import pytest

from throttle.errors import LimitsError
from throttle.limits import Match, MeterSpec, PoolSpec, load_limits, next_reset, resolve

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def table_of(**parts: Any) -> Any:
    base = {"families": {"a": {"models": ["m"]}}, "tiers": {"tier-1": {"a": {"rpm": 10}}, "tier-2": {"a": {"rpm": 20}}}}
    return load_limits({**base, **parts})


def matched(table: Any, model: str = "m", **options: Any) -> Match:
    match = resolve(table, environ={}, now=NOW, **options).match(model)
    assert match is not None
    return match


def limits_of(pool: PoolSpec) -> dict[str, int]:
    return {meter.name: meter.limit for meter in pool.meters}


# -- the tier ----------------------------------------------------------------------------------------------------------


def test_the_tier_is_the_argument_then_the_account_s_then_the_variable_s_then_tier_1() -> None:
    with_account = table_of(accounts={"default": {"tier": "tier-2"}})
    without = table_of()
    environ = {"THROTTLE_TIER": "tier-2"}
    assert resolve(with_account, tier="tier-1", environ={}).tier == "tier-1"
    assert resolve(with_account, environ={"THROTTLE_TIER": "tier-1"}).tier == "tier-2"
    assert resolve(without, environ=environ).tier == "tier-2"
    assert resolve(without, environ={}).tier == "tier-1"
    assert resolve(without, environ={"THROTTLE_TIER": ""}).tier == "tier-1"


def test_an_account_without_a_tier_leaves_it_to_the_variable() -> None:
    table = table_of(accounts={"default": {"headroom": 0.5}})
    assert resolve(table, environ={"THROTTLE_TIER": "tier-2"}).tier == "tier-2"


def test_the_only_tier_of_a_file_needs_no_name() -> None:
    assert resolve(table_of(tiers={"ours": {"a": {"rpm": 3}}}), environ={}).tier == "ours"


@pytest.mark.parametrize("environ", [{}, {"THROTTLE_TIER": "teir-2"}])
def test_an_unknown_tier_names_the_nearest(environ: dict[str, str]) -> None:
    with pytest.raises(LimitsError, match=r"^limits=: unknown tier 'teir-2': did you mean 'tier-2'\?$"):
        resolve(table_of(), tier=None if environ else "teir-2", environ=environ)


def test_an_unknown_account_names_the_nearest() -> None:
    with pytest.raises(LimitsError, match=r"unknown account 'staging': there is prod"):
        resolve(table_of(accounts={"prod": {"tier": "tier-1"}}), account="staging", environ={})


# -- meters ------------------------------------------------------------------------------------------------------------


def test_every_known_meter_has_its_unit_and_window() -> None:
    names = ["rpm", "rpd", "tpm", "tpd", "ipm", "max_in_flight", "itpm", "otpm"]
    table = table_of(tiers={"t": {"a": dict.fromkeys(names, 100)}})
    assert [(meter.name, meter.unit, meter.window_s, meter.burst_s) for meter in matched(table).pools[0].meters] == [
        ("rpm", "requests", 60.0, 60.0),
        ("rpd", "requests", 86_400.0, 86_400.0),
        ("tpm", "tokens", 60.0, 60.0),
        ("tpd", "tokens", 86_400.0, 86_400.0),
        ("ipm", "images", 60.0, 60.0),
        ("max_in_flight", "in_flight", 0.0, 0.0),
        ("itpm", "input_tokens", 60.0, 60.0),
        ("otpm", "output_tokens", 60.0, 60.0),
    ]


def test_a_new_meter_is_a_line_in_the_file() -> None:
    table = table_of(
        meters={
            "audio_minutes_per_minute": {"unit": "audio_minutes"},
            "weighted": {
                "unit": "weighted_tokens",
                "window": "1h",
                "counts": {"input_tokens": 1, "output_tokens": "5/2"},
            },
            "sessions": {"in_flight": True},
        },
        tiers={"t": {"a": {"audio_minutes_per_minute": 50, "weighted": 1000, "sessions": 4}}},
    )
    assert matched(table).pools[0].meters == (
        MeterSpec("audio_minutes_per_minute", "audio_minutes", 50, 60.0, 60.0, "user"),
        MeterSpec(
            "weighted",
            "weighted_tokens",
            1000,
            3600.0,
            3600.0,
            "user",
            counts=(("input_tokens", Fraction(1)), ("output_tokens", Fraction(5, 2))),
        ),
        MeterSpec("sessions", "sessions", 4, 0.0, 0.0, "user"),
    )


@pytest.mark.parametrize(
    ("window", "figure", "burst_s"),
    [
        (None, 600, 60.0),
        ("1s", 600, 1.0),
        (10, 600, 10.0),
        ({"rpm": "10s"}, 600, 10.0),
        ({"tpm": "10s"}, 600, 60.0),
        ("1s", {"limit": 600, "burst": "5s"}, 5.0),
        (None, {"limit": 600, "window": "1h"}, 3600.0),
        ("1s", {"limit": 600, "window": "1h"}, 3600.0),
        # one request a minute with a burst of a second: the bucket still has to hold the one
        ("1s", 1, 60.0),
        ("500ms", 6, 10.0),
    ],
)
def test_the_window_of_a_family_says_how_far_a_burst_goes(window: Any, figure: Any, burst_s: float) -> None:
    family = {"models": ["m"], **({"window": window} if window is not None else {})}
    (meter,) = matched(table_of(families={"a": family}, tiers={"t": {"a": {"rpm": figure}}})).pools[0].meters
    assert meter.burst_s == burst_s


def test_the_window_of_a_family_leaves_its_days_alone() -> None:
    table = table_of(families={"a": {"models": ["m"], "window": 1}}, tiers={"t": {"a": {"rpm": 60, "rpd": 500}}})
    assert [meter.burst_s for meter in matched(table).pools[0].meters] == [1.0, 86_400.0]


@pytest.mark.parametrize(
    ("resets", "now", "expected"),
    [
        ("00:00 UTC", "2026-11-24T12:00:00+00:00", "2026-11-25T00:00:00+00:00"),
        ("00:00 UTC", "2026-11-24T00:00:00+00:00", "2026-11-25T00:00:00+00:00"),
        ("13:30 UTC", "2026-11-24T12:00:00+00:00", "2026-11-24T13:30:00+00:00"),
        ("00:00 America/Los_Angeles", "2026-11-24T12:00:00+00:00", "2026-11-25T08:00:00+00:00"),
        ("00:00 America/Los_Angeles", "2026-07-01T06:59:59+00:00", "2026-07-01T07:00:00+00:00"),
        # the night clocks go back: the day has 25 hours
        ("00:00 America/Los_Angeles", "2026-11-01T07:00:00+00:00", "2026-11-02T08:00:00+00:00"),
        ("00:00 America/Los_Angeles", "2026-03-08T08:00:00+00:00", "2026-03-09T07:00:00+00:00"),
    ],
)
def test_a_day_can_reset_at_a_stated_hour(resets: str, now: str, expected: str) -> None:
    assert next_reset(resets, datetime.fromisoformat(now)) == datetime.fromisoformat(expected)
    table = table_of(tiers={"t": {"a": {"rpd": {"limit": 50, "resets": resets}}}})
    assert matched(table).pools[0].meters[0].resets == resets


def test_the_next_reset_asks_for_a_time_with_a_zone() -> None:
    with pytest.raises(ValueError, match="no time of reset"):
        next_reset("00:00 UTC", datetime(2026, 1, 1))


# -- families ----------------------------------------------------------------------------------------------------------


def test_a_family_brings_its_charge_headroom_pool_name_and_batch_queue() -> None:
    table = table_of(
        families={"a": {"models": ["m"], "charge": "maximum", "headroom": 0.25, "pool": "their-name"}},
        tiers={"t": {"a": {"rpm": 10, "batch_queue_tokens": 900_000}}},
    )
    (pool,) = matched(table).pools
    assert (pool.name, pool.family, pool.charge, pool.headroom) == ("their-name", "a", "maximum", 0.25)
    assert pool.batch_queue_tokens == 900_000
    assert limits_of(pool) == {"rpm": 10}


def test_a_tier_without_figures_for_a_family_has_no_pool_for_it() -> None:
    table = table_of(tiers={"t": {"a": None}, "u": {"a": {"batch_queue_tokens": 5}}})
    assert resolve(table, tier="t", environ={}).match("m") is None
    assert resolve(table, tier="u", environ={}).match("m") is None
    assert resolve(table, tier="t", environ={}).pools == ()


def test_a_star_in_a_tier_stands_for_every_other_family() -> None:
    table = table_of(
        families={"a": {"models": ["m"]}, "b": {"models": ["n"]}, "c": {"models": ["o"]}},
        tiers={"t": {"a": {"rpm": 1}, "b": None, "*": {"rpm": 2}}},
    )
    resolved = resolve(table, environ={})
    assert [(pool.name, limits_of(pool)) for pool in resolved.pools] == [("a", {"rpm": 1}), ("c", {"rpm": 2})]


def test_a_family_of_some_tiers_leaves_its_models_to_others_elsewhere() -> None:
    table = table_of(
        families={"old": {"models": ["m"], "tiers": ["then"]}, "new": {"models": ["m"], "tiers": ["now"]}},
        tiers={"then": {"old": {"rpm": 1}}, "now": {"new": {"rpm": 2}}},
    )
    assert matched(table, tier="then").model_family == "old"
    assert matched(table, tier="now").model_family == "new"


def test_models_with_a_pool_each_share_nothing_but_their_snapshots() -> None:
    table = table_of(families={"a": {"models": ["*"], "per_model": True}}, tiers={"t": {"a": {"rpm": 7}}})
    resolved = resolve(table, environ={})
    assert resolved.pools == ()
    pools = [resolved.match(model).pools[0].name for model in ("x", "x-2024-08-06", "ft:x:o::i", "y")]  # type: ignore[union-attr]
    assert pools == ["x", "x", "x", "y"]


@pytest.mark.parametrize(("draws_on", "pool"), [("base", "a"), ("own", "ft:m:acme::1")])
def test_fine_tuned_models_draw_on_the_base_s_pool_or_on_one_of_their_own(draws_on: str, pool: str) -> None:
    match = matched(table_of(fine_tuned={"draws_on": draws_on}), "ft:m:acme::1")
    assert (match.pools[0].name, limits_of(match.pools[0])) == (pool, {"rpm": 10})


def test_long_calls_and_service_tiers_draw_on_other_pools() -> None:
    table = table_of(
        families={
            "a": {
                "models": ["m"],
                "long_context": {"over": 128_000, "family": "a-long"},
                "service_tiers": {"flex": "a-flex"},
            },
            "a-long": {},
            "a-flex": {},
        },
        tiers={"t": {"a": {"rpm": 10}, "a-long": {"rpm": 2}, "a-flex": {"rpm": 99}}},
    )
    match = matched(table)
    drawn = [
        match.pools_for(),
        match.pools_for(input_tokens=128_000),
        match.pools_for(input_tokens=128_001),
        match.pools_for(service_tier="flex"),
        match.pools_for(service_tier="flex", input_tokens=500_000),
        match.pools_for(service_tier="priority"),
    ]
    assert [pools[0].name for pools in drawn] == ["a", "a", "a-long", "a-flex", "a-flex", "a"]


def test_a_tier_that_knows_no_limits_for_long_calls_has_none() -> None:
    table = table_of(
        families={"a": {"models": ["m"], "long_context": {"over": 5, "family": "b"}}, "b": {}},
        tiers={"t": {"a": {"rpm": 10}, "b": None}},
    )
    assert matched(table).variants == ()


# -- accounts ----------------------------------------------------------------------------------------------------------

TIERS = {
    "pay-as-you-go-new": {"a": {"rpm": 60}},
    "pay-as-you-go": {"a": {"rpm": 3000}},
    "later": {"a": {"rpm": 9000}},
}
SINCE = datetime(2026, 11, 20, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("after", "tier", "changes_in"),
    [
        (timedelta(hours=-1), "pay-as-you-go-new", timedelta(hours=49)),
        (timedelta(0), "pay-as-you-go-new", timedelta(hours=48)),
        (timedelta(hours=48, microseconds=-1), "pay-as-you-go-new", timedelta(microseconds=1)),
        (timedelta(hours=48), "pay-as-you-go", None),
        (timedelta(days=900), "pay-as-you-go", None),
    ],
)
def test_a_new_account_becomes_an_old_one_after_48_hours_to_the_microsecond(
    after: timedelta, tier: str, changes_in: timedelta | None
) -> None:
    table = table_of(tiers=TIERS, accounts={"default": {"tier": "pay-as-you-go-new", "since": SINCE}})
    now = SINCE + after
    resolved = resolve(table, now=now, environ={})
    assert resolved.tier == tier
    assert resolved.changes_at == (None if changes_in is None else now + changes_in)


def test_since_may_be_text_a_day_or_in_another_zone() -> None:
    for since in ("2026-11-20T10:00:00+01:00", "2026-11-20T09:00:00Z", SINCE.astimezone(timezone(timedelta(hours=5)))):
        table = table_of(tiers=TIERS, accounts={"default": {"tier": "pay-as-you-go-new", "since": since}})
        assert table.accounts["default"].since == SINCE
    table = table_of(tiers=TIERS, accounts={"default": {"tier": "pay-as-you-go-new", "since": "2026-11-20"}})
    assert table.accounts["default"].since == datetime(2026, 11, 20, tzinfo=UTC)


def test_rules_of_the_file_make_tiers_follow_each_other() -> None:
    table = table_of(
        tiers=TIERS,
        tier_rules={
            "pay-as-you-go-new": {"becomes": "pay-as-you-go", "after": "1h"},
            "pay-as-you-go": {"becomes": "later", "after": "1h"},
            "later": {"becomes": "pay-as-you-go-new", "after": "1h"},
        },
        accounts={"default": {"tier": "pay-as-you-go-new", "since": SINCE}},
    )
    seen = [resolve(table, now=SINCE + timedelta(minutes=30 + 60 * hours), environ={}).tier for hours in range(4)]
    assert seen == ["pay-as-you-go-new", "pay-as-you-go", "later", "later"]


def test_without_since_and_with_a_tier_in_code_nothing_follows_by_itself() -> None:
    table = table_of(tiers=TIERS, accounts={"default": {"tier": "pay-as-you-go-new"}, "b": {"since": SINCE}})
    for options in ({}, {"tier": "pay-as-you-go-new", "account": "b"}):
        resolved = resolve(table, now=NOW, environ={}, **options)
        assert (resolved.tier, resolved.changes_at) == ("pay-as-you-go-new", None)


def test_an_account_replaces_single_figures_of_its_tier() -> None:
    table = table_of(
        families={"a": {"models": ["m"]}, "b": {"models": ["n"]}},
        tiers={"t": {"a": {"rpm": 10, "tpm": 100, "rpd": 5}, "b": None}},
        accounts={
            "default": {
                "limits": {"*": {"tpm": 7}, "a": {"rpm": 11, "rpd": None}, "b": {"rpm": 3}},
                "headroom": 0.5,
            }
        },
    )
    assert limits_of(matched(table, "m").pools[0]) == {"rpm": 11, "tpm": 7}
    assert limits_of(matched(table, "n").pools[0]) == {"tpm": 7, "rpm": 3}
    assert matched(table).pools[0].headroom == 0.5


def test_a_project_s_own_limits_hold_beside_the_organization_s() -> None:
    table = table_of(
        accounts={"default": {"projects": {"proj_1": {"limits": {"a": {"rpm": 4}}, "headroom": 0.1}, "proj_2": {}}}}
    )
    own = resolve(table, project="proj_1", environ={})
    match = own.match("m")
    assert match is not None
    assert [(pool.name, pool.scope, limits_of(pool), pool.headroom) for pool in match.pools] == [
        ("a", "organization", {"rpm": 10}, 0.0),
        ("a@proj_1", "project", {"rpm": 4}, 0.1),
    ]
    assert own.project == "proj_1"
    assert [pool.name for pool in own.pools] == ["a", "a@proj_1"]
    assert [pool.name for pool in matched(table, project="proj_2").pools] == ["a"]
    assert resolve(table, project="proj_3", environ={}).project == ""


def test_the_only_account_counts_unless_it_says_whose_it_is() -> None:
    assert resolve(table_of(accounts={"ours": {"tier": "tier-2"}}), environ={}).account == "ours"
    theirs = {"theirs": {"tier": "tier-2", "organization": "org-1"}}
    assert resolve(table_of(accounts=theirs), environ={}).account == ""


# -- what comes out ----------------------------------------------------------------------------------------------------


def test_resolving_twice_gives_equal_limits() -> None:
    assert resolve(table_of(), environ={}) == resolve(table_of(), environ={})
    assert resolve(table_of(), environ={}) != resolve(table_of(), tier="tier-2", environ={})


def test_a_match_is_found_once_and_remembered() -> None:
    resolved = resolve(table_of(), environ={})
    assert resolved.match("m") is resolved.match("m")
    assert resolved.match("unknown") is None
