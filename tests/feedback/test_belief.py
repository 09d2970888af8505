"""One meter in the closed loop: what it lets go, what it learns, what it tells."""

from __future__ import annotations

import random
from copy import deepcopy

import pytest

from throttle.feedback.belief import Belief, Mark
from throttle.feedback.headers import Reading
from throttle.feedback.ledger import MOST_ENTRIES
from throttle.feedback.refusals import Refusal

S = 1_000_000
MINUTE_US = 60 * S
LIMIT = 120_000
RATE = LIMIT / 60


def belief(unit: str = "tokens", limit: float = LIMIT, **more: object) -> Belief:
    settings: dict[str, object] = {"now_us": 0, "bursts": True} | more
    return Belief(unit[0] + "pm", unit, limit, MINUTE_US, **settings)  # type: ignore[arg-type]


def shown(remaining: float, limit: float = LIMIT, *, reset: bool = True, unit: str = "tokens") -> Reading:
    reset_s = (limit - remaining) * 60 / limit if reset else None
    return Reading(unit, unit, "organization", int(limit), int(remaining), reset_s, 60.0 if reset else None)


def settled(meter: Belief, **settings: float) -> int:
    """Run some calm time against a server of our own reckoning; returns the time."""
    return run(meter, **settings)[0]


def run(
    meter: Belief, *, level: float = 0.5, seconds: float = 40, ratio: float = 1.0, part: float = 0.5
) -> tuple[int, float]:
    """Run some time at `part` of the limit's rate, from `level` on; returns the time and the server's level then."""
    now_us = 0
    left, limit = level * meter.limit, meter.limit
    under_way: list[tuple[Mark, float]] = []
    amount = part * limit / 300
    for _ in range(int(seconds * 5)):
        now_us += 200_000
        left = min(limit, left + limit / 300)
        if meter.ready_at(now_us, amount, "m", not under_way) <= now_us:
            left -= amount * ratio
            under_way.append((meter.take(now_us, amount, "m"), left))
        if len(under_way) > 5:
            mark, seen = under_way.pop(0)
            meter.answered(now_us, mark, shown(max(seen, 0.0), limit, unit=meter.unit))
    for mark, seen in under_way:
        now_us += 200_000
        left = min(limit, left + limit / 300)
        meter.answered(now_us, mark, shown(max(seen, 0.0), limit, unit=meter.unit))
    return now_us, left


def test_a_lone_call_goes_at_once_where_nothing_is_known() -> None:
    assert belief().ready_at(5 * S, 2000, "m", True) <= 5 * S + 10_000


def test_the_first_of_a_queue_waits_until_an_empty_bucket_would_hold_it() -> None:
    meter = belief()
    meter.crowded = True
    at_us = meter.ready_at(5 * S, 500, "m", True)
    assert 5 * S + 500 / RATE * S <= at_us <= 5 * S + 1.5 * S


@pytest.mark.parametrize(("calls", "ratio"), [(7, 2.0), (40, 1.75)])
def test_until_the_first_answer_calls_follow_as_if_the_server_charged_much_more(calls: int, ratio: float) -> None:
    meter, now_us = belief(), 0
    meter.crowded = True
    for _ in range(calls):
        now_us = max(now_us, meter.ready_at(now_us, 500, "m", False))
        meter.take(now_us, 500, "m")
    assert now_us / S * RATE >= calls * 500 * ratio


def test_a_full_bucket_that_a_header_shows_is_spent() -> None:
    meter = belief()
    mark = meter.take(0, 1000, "m")
    meter.answered(S, mark, shown(LIMIT - 1000))
    now_us, sent = S, 0.0
    while now_us < 20 * S:
        now_us = max(now_us, meter.ready_at(now_us, 1000, "m", False))
        mark = meter.take(now_us, 1000, "m")
        sent += 1000
        meter.answered(now_us + 1000, mark, shown(min(LIMIT, LIMIT + RATE * now_us / S - 1000 - sent)))
    assert sent > 0.8 * (LIMIT + 19 * RATE)


def test_the_level_follows_the_server_to_within_its_own_doubt() -> None:
    meter = belief()
    now_us, left = run(meter, level=0.4, part=1.0)
    told = meter.snapshot(now_us)
    assert told.mode == "bucket"
    assert told.ratios["m"] == pytest.approx(1.0, abs=0.1)
    assert told.level == pytest.approx(left, abs=5 * told.doubt)


@pytest.mark.parametrize("ratio", [0.6, 1.0, 1.7])
def test_what_the_server_charges_of_an_estimate_is_learned(ratio: float) -> None:
    meter = belief()
    now_us = settled(meter, level=0.6, seconds=90, ratio=ratio)
    assert meter.snapshot(now_us).ratios["m"] == pytest.approx(ratio, rel=0.1)


def test_a_header_without_a_reset_makes_calls_trickle() -> None:
    meter = belief(bursts=False)
    mark = meter.take(0, 1000, "m")
    meter.answered(S, mark, shown(LIMIT - 1000, reset=False))
    meter.take(10 * S, 1000, "m")
    assert meter.snapshot(10 * S).trickles
    assert meter.ready_at(10 * S, 1000, "m", False) >= 10 * S + 0.4 * S


def test_bursts_begin_once_a_header_fits_a_bucket() -> None:
    meter = belief(bursts=False)
    assert meter.snapshot(0).trickles
    mark = meter.take(0, 1000, "m")
    meter.answered(S, mark, shown(LIMIT - 1000))
    assert not meter.snapshot(S).trickles


def test_a_forced_smooth_pace_spreads_calls_evenly() -> None:
    meter = belief("requests", 60, pacing="smooth")
    now_us = settled(meter, level=1.0)
    gaps = []
    for _ in range(5):
        at_us = meter.ready_at(now_us, 1, "m", False)
        gaps.append(at_us - now_us)
        now_us = max(now_us, at_us)
        meter.take(now_us, 1, "m")
    assert all(gap >= 0.95 * S for gap in gaps[1:])


def test_another_limit_in_a_header_is_adopted_and_told_once() -> None:
    meter = belief()
    mark = meter.take(0, 1000, "m")
    meter.answered(S, mark, shown(59_000, 60_000))
    assert (meter.change, meter.limit, meter.origin) == ((LIMIT, 60_000), 60_000, "server")
    meter.change = None
    mark = meter.take(2 * S, 1000, "m")
    meter.answered(3 * S, mark, shown(58_000, 60_000))
    assert meter.change is None


def test_a_header_from_before_the_change_does_not_bring_the_old_limit_back() -> None:
    meter = belief()
    early, late = meter.take(0, 1000, "m"), meter.take(S, 1000, "m")
    meter.answered(2 * S, late, shown(58_000, 60_000))
    meter.answered(3 * S, early, shown(LIMIT - 1000))
    assert meter.limit == 60_000


def test_three_answers_without_a_header_make_it_blind_and_a_header_makes_it_see() -> None:
    meter = belief()
    for second in range(3):
        meter.answered(second * S + S, meter.take(second * S, 100, "m"), None)
    assert meter.snapshot(4 * S).mode == "blind"
    meter.answered(6 * S, meter.take(5 * S, 100, "m"), shown(LIMIT - 400))
    assert meter.snapshot(6 * S).mode == "bucket"


def test_a_blind_meter_sends_at_the_rate_of_the_limit() -> None:
    meter, now_us, sent = belief(), 0, 0
    while now_us < 120 * S:
        now_us = max(now_us + 1, meter.ready_at(now_us, 1000, "m", False))
        meter.answered(now_us, meter.take(now_us, 1000, "m"), None)
        sent += 1000
    assert 0.97 * 120 * RATE <= sent <= 1.01 * 120 * RATE + 1000


def test_a_refused_call_is_given_back_and_an_exact_text_sets_the_level() -> None:
    meter = belief()
    now_us = settled(meter, level=0.5)
    mark = meter.take(now_us, 2000, "m")
    refusal = Refusal("rate", True, "tokens", None, "organization", LIMIT, 119_000.0, 2000.0, 60.0, 0.5, True)
    meter.refused(now_us + 100_000, mark, refusal)
    told = meter.snapshot(now_us + 100_000)
    assert told.level == pytest.approx(1000, abs=1500)
    assert told.cushion > 0.1 * LIMIT  # somebody took half the bucket at once, and may again


def test_a_refusal_of_another_meter_gives_the_charge_back_and_nothing_else() -> None:
    meter = belief()
    now_us = settled(meter, level=0.5)
    before = meter.snapshot(now_us).level
    mark = meter.take(now_us, 2000, "m")
    meter.refused(now_us, mark, Refusal("rate", True, "requests"), mine=False)
    assert meter.snapshot(now_us).level == pytest.approx(before)


def test_a_call_that_was_not_sent_costs_nothing() -> None:
    meter = belief()
    now_us = settled(meter, level=0.5)
    before = meter.snapshot(now_us).level
    meter.cancel(now_us, meter.take(now_us, 2000, "m"))
    assert meter.snapshot(now_us).level == pytest.approx(before)


@pytest.mark.parametrize("amount", [200.0, 3000.0])
def test_settling_leaves_what_the_call_really_cost(amount: float) -> None:
    meter = belief()
    now_us = settled(meter, level=0.5)
    before = meter.snapshot(now_us)
    mark = meter.settle(now_us, meter.take(now_us, 1000.0, "m"), amount)
    assert meter.snapshot(now_us).level == pytest.approx(before.level - amount * before.ratios["m"])
    assert mark.estimate == amount


@pytest.mark.parametrize("after_s", [0.1, 0.5, 0.8, 2.0])
@pytest.mark.parametrize("end", ["settled", "cancelled", "refused"])
def test_what_a_full_bucket_gets_back_soon_after_a_call_is_not_spilt(end: str, after_s: float) -> None:
    """A call that left a moment ago may not have arrived, so the bucket is full but for it: for what is left of it."""
    meter = belief()
    now_us, _ = run(meter, level=1.0, part=0.2)
    now_us += 60 * S
    ratio = meter.snapshot(now_us).ratios["m"]
    mark = meter.take(now_us, 6000.0, "m")
    later_us = now_us + int(after_s * S)
    kept = {"settled": 1000.0 * ratio, "cancelled": 0.0, "refused": 0.0}[end]
    if end == "settled":
        meter.settle(later_us, mark, 1000.0)
    elif end == "cancelled":
        meter.cancel(later_us, mark)
    else:
        meter.refused(later_us, mark, Refusal("rate", True, "requests"), mine=False)
    for step_us in (0, 10_000, 100_000):
        assert LIMIT - kept - 1 <= meter.snapshot(later_us + step_us).level <= LIMIT


def test_a_limit_by_the_day_starts_full() -> None:
    meter = Belief("rpd", "requests", 10_000, 86_400 * S, now_us=0)
    for n in range(50):
        assert meter.ready_at(n, 1, "m", False) <= n + 40 * S
    meter = Belief("rpd", "requests", 10_000, 86_400 * S, now_us=0, bursts=True)
    for n in range(50):
        assert meter.ready_at(n, 1, "m", False) <= n
        meter.take(n, 1, "m")


def test_a_call_of_the_whole_bucket_goes_when_it_is_nearly_full() -> None:
    meter = belief()
    now_us = settled(meter, level=0.3, seconds=20)
    at_us = meter.ready_at(now_us, LIMIT, "m", False)
    assert now_us < at_us <= now_us + 120 * S


def test_headroom_is_left_to_others_and_does_not_lower_what_one_call_may_cost() -> None:
    meter = belief("requests", 600, headroom=0.5)
    now_us, sent = 0, 0
    meter.answered(S, meter.take(0, 1, "m"), shown(599, 600, unit="requests"))
    while now_us < 120 * S:
        now_us = max(now_us + 1, meter.ready_at(now_us, 1, "m", False))
        meter.answered(now_us, meter.take(now_us, 1, "m"), shown(500, 600, unit="requests"))
        sent += 1
    assert sent <= 0.5 * 600 * 2 + 2
    assert meter.largest == 600


def test_many_models_share_what_is_known_of_the_last() -> None:
    meter = belief(limit=1e9)
    for n in range(3000):
        meter.take(n * 1000, 10, f"ft:{n}")
    assert len(meter.filter.ratios) == 6
    assert len(meter.snapshot(S).ratios) <= 1024


def test_memory_is_bounded_whatever_the_load() -> None:
    meter, now_us = belief(limit=1e9), 0
    for _ in range(3 * MOST_ENTRIES):
        now_us += 500
        meter.refused(now_us, meter.take(now_us, 10, "m"), Refusal("rate", True, "requests"), mine=False)
    assert len(meter.ledger.times) <= MOST_ENTRIES
    assert len(meter.ledger.voids) <= 1024


def test_the_short_way_and_the_long_way_come_to_the_same_level() -> None:
    quick, slow, draw = belief(limit=1e8), belief(limit=1e8), random.Random(5)
    at_us = settled(quick, level=0.5, seconds=40)
    assert settled(slow, level=0.5, seconds=40) == at_us
    taken = 0
    for _ in range(500):
        at_us += 700
        amount = draw.randrange(1, 2000)
        if quick.ready_at(at_us, amount, "m", False) <= at_us:
            taken += amount <= quick._ease
            quick.take(at_us, amount, "m")
            slow._ease_until_us = 0
            slow.take(at_us, amount, "m")
    assert taken > 400
    ours, theirs = quick.snapshot(at_us), slow.snapshot(at_us)
    assert ours.level == pytest.approx(theirs.level, abs=1.0)
    assert ours.doubt == pytest.approx(theirs.doubt, rel=1e-6)


def test_nothing_is_ever_ready_before_now_and_a_clock_that_jumps_back_does_no_harm() -> None:
    meter, draw = belief(), random.Random(3)
    for _ in range(2000):
        now_us = draw.randrange(0, 100 * S)
        at_us = meter.ready_at(now_us, draw.randrange(1, 3000), draw.choice("ab"), draw.random() < 0.2)
        assert at_us >= now_us
        mark = meter.take(now_us, draw.randrange(1, 3000), draw.choice("ab"))
        act = draw.randrange(4)
        if act == 0:
            meter.answered(now_us, mark, shown(draw.randrange(0, LIMIT + 5)))
        elif act == 1:
            meter.cancel(now_us, mark)
        told = meter.snapshot(now_us)
        assert told.level <= told.limit
        assert told.doubt >= 0


@pytest.mark.parametrize("remaining", [LIMIT, LIMIT + 10])
def test_headers_that_always_show_a_full_bucket_are_believed_in_the_end(remaining: int) -> None:
    meter = belief()
    for second in range(6):
        reading = Reading("tokens", "tokens", "organization", LIMIT, remaining, 0.0, None)
        meter.answered(second * S + S, meter.take(second * S, 10, "m"), reading)
    assert meter.snapshot(7 * S).mode == "bucket"
    assert meter.snapshot(7 * S).level > 0.9 * LIMIT


def test_a_snapshot_tells_why_a_call_waits() -> None:
    meter = belief()
    cold = meter.snapshot(0)
    assert (cold.mode, cold.anchor_age_s, cold.origin, cold.capacity) == ("cold", None, "bundled", LIMIT)
    now_us = settled(meter, level=0.3)
    told = meter.snapshot(now_us + S)
    assert told.anchor_age_s is not None
    assert told.anchor_age_s >= 1.0
    assert told.cushion >= 5 * told.doubt
    assert told.jitter_s > 0


def test_the_short_way_is_prepared_for_a_call_with_no_other_under_way() -> None:
    meter = belief(limit=1e8)
    now_us = settled(meter, level=0.8)
    assert meter.ready_at(now_us, 1000, "m", True) == now_us
    meter.take(now_us, 1000, "m")
    assert now_us < meter._ease_until_us
    assert meter._ease > 1000


@pytest.mark.parametrize("unit", ["tokens", "requests"])
@pytest.mark.parametrize("seed", range(4))
def test_the_short_way_lets_nothing_go_that_the_long_way_holds_back(seed: int, unit: str) -> None:
    draw = random.Random(seed)
    meter, now_us, short = belief(unit, draw.choice([6000.0, 1e6])), 0, 0
    left, ratio = meter.limit * draw.random(), draw.choice([0.5, 1.0, 2.0]) if unit == "tokens" else 1.0
    under_way: list[tuple[Mark, float]] = []
    for _ in range(400):
        gap_us = draw.choice([100, 3000, 20_000, 400_000])
        now_us += gap_us
        left = min(meter.limit, left + gap_us * meter.limit / MINUTE_US)
        amount = draw.choice([1, 1, 1, 20]) * meter.limit / 6000
        model, alone = draw.choice("ab"), not under_way
        slow = deepcopy(meter)
        slow._ease_until_us = 0
        eased = amount <= meter._ease and meter._next_us <= now_us < meter._ease_until_us
        ready = meter.ready_at(now_us, amount, model, alone) <= now_us
        assert ready == (slow.ready_at(now_us, amount, model, alone) <= now_us)
        if ready:
            short += eased
            left -= amount * ratio
            under_way.append((meter.take(now_us, amount, model), left))
        if len(under_way) > draw.choice([0, 3, 10]):
            mark, seen = under_way.pop(0)
            meter.answered(now_us, mark, shown(max(seen, 0.0), meter.limit, unit=unit))
    assert short > 5
