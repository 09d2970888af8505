"""The bucket against a model of its own kind written with fractions: exact, with no tolerance anywhere."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from throttle.bucket import NEVER, Bucket, grains_of

MINUTE_US = 60_000_000


class FractionBucket:
    """Levels in tokens and time in seconds, as fractions."""

    def __init__(self, limit: int, window_s: int, level: Fraction) -> None:
        self.limit, self.window_s, self.level, self.at_s = limit, window_s, level, Fraction(0)

    def refill(self, now_s: Fraction) -> None:
        self.level = min(Fraction(self.limit), self.level + (now_s - self.at_s) * self.limit / self.window_s)
        self.at_s = now_s


LIMITS = st.sampled_from([1, 2, 3, 7, 60, 500, 3000, 90_000, 150_000_000])
WINDOWS_S = st.sampled_from([1, 60, 86_400])


@given(LIMITS, WINDOWS_S, st.data())
def test_a_charge_is_there_at_the_announced_instant_and_not_a_microsecond_before(
    limit: int, window_s: int, data: st.DataObject
) -> None:
    bucket = Bucket(limit, window_s * 10**6, at_us=0)
    model = FractionBucket(limit, window_s, Fraction(limit))
    now_us = 0
    for _ in range(data.draw(st.integers(1, 12))):
        period_us = window_s * 10**6 // limit
        now_us += data.draw(st.sampled_from([0, 1, period_us, max(0, period_us - 1), period_us + 1, window_s * 10**6]))
        amount = data.draw(st.sampled_from([0, 1, limit, max(1, limit // 2), max(1, limit // 3)]))
        grains = grains_of(amount, bucket.window_us)
        ready_us = bucket.ready_at(now_us, grains)
        model.refill(Fraction(now_us, 10**6))
        if ready_us > now_us:
            early = Fraction(ready_us - 1, 10**6)
            assert model.level + (early - model.at_s) * limit / window_s < amount
        model.refill(Fraction(ready_us, 10**6))
        assert model.level >= amount
        now_us = ready_us
        bucket.take(now_us, grains)
        model.level -= amount
        assert Fraction(bucket.level, bucket.window_us) == model.level


#       limit  window_s  what happens: (time in µs, "take" or "give", tokens, level after in tokens)
TRACES = [
    (60, 60, [(0, "take", 60, 0), (1_000_000, "take", 1, 0), (500_000, "take", 1, -1), (3_000_000, "take", 0, 1)]),
    (2, 60, [(0, "take", 2, 0), (30_000_000, "take", 1, 0), (90_000_000, "take", 0, 2), (990_000_000, "give", 1, 2)]),
    (3, 60, [(0, "take", 5, -2), (40_000_000, "take", 0, 0), (60_000_000, "give", 1, 2)]),
]


@pytest.mark.parametrize(("limit", "window_s", "trace"), TRACES)
def test_a_trace_leaves_the_level_that_it_should(
    limit: int, window_s: int, trace: list[tuple[int, str, int, int]]
) -> None:
    bucket = Bucket(limit, window_s * 10**6, at_us=0)
    for at_us, verb, tokens, level in trace:
        getattr(bucket, verb)(at_us, tokens * bucket.window_us)
        assert bucket.level == level * bucket.window_us


def test_a_clock_that_jumps_back_brings_nothing_and_takes_nothing() -> None:
    bucket = Bucket(60, MINUTE_US, at_us=10_000_000, level=0)
    assert bucket.level_at(5_000_000) == 0
    assert bucket.ready_at(5_000_000, MINUTE_US) == 11_000_000
    bucket.take(5_000_000, 0)
    assert bucket.at_us == 10_000_000


def test_more_than_the_bucket_holds_never_comes() -> None:
    bucket = Bucket(60, MINUTE_US, at_us=0)
    assert bucket.ready_at(0, 60 * MINUTE_US + 1) == NEVER


def test_a_fraction_of_a_token_is_charged_exactly_or_rounded_up() -> None:
    assert grains_of(Fraction(1, 50), MINUTE_US) == MINUTE_US // 50
    assert grains_of(Fraction(1, 7), MINUTE_US) * 7 >= MINUTE_US > (grains_of(Fraction(1, 7), MINUTE_US) - 1) * 7


def test_what_is_given_back_does_not_go_over_the_brim() -> None:
    bucket = Bucket(60, MINUTE_US, at_us=0)
    bucket.take(0, MINUTE_US)
    bucket.give(1_000_000, MINUTE_US)
    assert bucket.level == bucket.capacity


def test_a_smaller_limit_cuts_the_level_and_a_larger_one_leaves_it() -> None:
    bucket = Bucket(60, MINUTE_US, at_us=0)
    bucket.resize(0, 30, 30 * MINUTE_US)
    assert bucket.level == 30 * MINUTE_US
    bucket.resize(0, 90, 90 * MINUTE_US)
    assert bucket.level == 30 * MINUTE_US
    assert bucket.ready_at(0, 90 * MINUTE_US) == 40_000_000


@pytest.mark.parametrize(("limit", "window_us"), [(0, 1), (-1, 1), (1, 0)])
def test_a_bucket_without_a_limit_or_a_window_is_refused(limit: int, window_us: int) -> None:
    with pytest.raises(ValueError, match="above zero"):
        Bucket(limit, window_us, at_us=0)
