"""Each way of counting, as a table of instants, and as properties with no tolerance."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction as F

import pytest
from hypothesis import given
from hypothesis import strategies as st

from throttle.simulator.meters import Bucket, FixedWindow, Meter, SlidingWindow

KINDS: dict[str, Callable[[int, F], Meter]] = {
    "bucket": lambda limit, start: Bucket(F(limit), F(60), holds_s=F(60), start=start),
    "second": lambda limit, start: Bucket(F(limit), F(60), holds_s=F(1), least=F(1), start=start),
    "fixed": lambda limit, start: FixedWindow(F(limit), F(60), start=start),
    "phased": lambda limit, start: FixedWindow(F(limit), F(60), start=start, phase_s=F(17)),
    "sliding": lambda limit, start: SlidingWindow(F(limit), F(60), start=start),
}

TRACES: dict[str, list[tuple[str, str, int, bool]]] = {
    # at, level before, amount, let through; the limit is 60 a minute
    "bucket": [
        ("0", "60", 60, True),
        ("0", "0", 1, False),
        ("1/2", "1/2", 1, False),
        ("1", "1", 1, True),
        ("1/4", "0", 1, False),  # the clock jumped back: nothing is gained
        ("61", "60", 1, True),
        ("1000", "60", 60, True),  # what is spilled is gone
    ],
    "second": [
        ("0", "1", 1, True),
        ("1/2", "1/2", 1, False),
        ("1", "1", 1, True),
        ("10", "1", 2, False),
    ],
    "fixed": [
        ("0", "60", 59, True),
        ("59", "1", 2, False),
        ("599/10", "1", 1, True),
        ("60", "60", 60, True),
        ("119", "0", 1, False),
        ("300", "60", 60, True),
        ("359", "0", 1, False),
    ],
    "phased": [
        ("16", "60", 60, True),
        ("17", "60", 60, True),
        ("76", "0", 1, False),
        ("77", "60", 1, True),
    ],
    "sliding": [
        ("0", "60", 20, True),
        ("10", "40", 40, True),
        ("59", "0", 1, False),
        ("60", "20", 21, False),
        ("60", "20", 20, True),
        ("70", "40", 40, True),
        ("119", "0", 1, False),
        ("120", "20", 20, True),
    ],
}


@pytest.mark.parametrize("kind", TRACES)
def test_a_trace_goes_as_the_table_says(kind: str) -> None:
    meter = KINDS[kind](60, F(1))
    for at, level, amount, passes in TRACES[kind]:
        assert meter.level(F(at)) == F(level), f"at {at}"
        assert (meter.ready_in(F(at), F(amount)) == 0) is passes, f"at {at}"
        if passes:
            meter.take(F(at), F(amount))


instants = st.lists(
    st.tuples(
        st.sampled_from([F(0), F(1, 1000), F(1, 7), F(1), F(59), F(60), F(61), F(1, 10**9)]),
        st.sampled_from([1, 2, 5, 30, 59, 60]),
    ),
    max_size=30,
)
starts = st.sampled_from([F(0), F(1, 3), F(1, 2), F(1)])
limits = st.sampled_from([1, 3, 60, 7919])


@given(kind=st.sampled_from(sorted(KINDS)), limit=limits, start=starts, calls=instants)
def test_a_refusal_holds_to_the_last_instant_and_ends_exactly_then(
    kind: str, limit: int, start: F, calls: list[tuple[F, int]]
) -> None:
    meter, now = KINDS[kind](limit, start), F(0)
    for gap, amount in calls:
        now += gap
        wait = meter.ready_in(now, F(amount))
        if wait is None:
            assert amount > meter.capacity
            continue
        if wait > 0:
            assert meter.ready_in(now + wait - F(1, 10**12), F(amount)) != 0
        now += wait
        assert meter.ready_in(now, F(amount)) == 0
        meter.take(now, F(amount))
        assert meter.level(now) >= 0


@given(kind=st.sampled_from(sorted(KINDS)), limit=limits, start=starts, calls=instants)
def test_nobody_ever_gets_more_than_was_there_and_flowed_in(
    kind: str, limit: int, start: F, calls: list[tuple[F, int]]
) -> None:
    meter, now, taken = KINDS[kind](limit, start), F(0), F(0)
    at_start = meter.level(now)
    for gap, amount in calls:
        now += gap
        if meter.ready_in(now, F(amount)) == 0:
            meter.take(now, F(amount))
            taken += amount
        assert taken <= at_start + meter.gained(now)
        assert meter.level(now) <= meter.capacity


@given(calls=instants, limit=limits)
def test_no_span_of_a_sliding_window_ever_holds_more_than_the_limit(calls: list[tuple[F, int]], limit: int) -> None:
    meter, now, seen = KINDS["sliding"](limit, F(1)), F(0), []
    for gap, amount in calls:
        now += gap
        if meter.ready_in(now, F(amount)) == 0:
            meter.take(now, F(amount))
            seen.append((now, amount))
    for end, _ in seen:
        assert sum(amount for at, amount in seen if end - 60 < at <= end) <= limit


def test_full_in_is_the_instant_at_which_nothing_is_missing() -> None:
    for kind, build in KINDS.items():
        meter = build(60, F(1))
        meter.take(F(1), F(1))
        wait = meter.full_in(F(2))
        if wait:
            assert meter.level(F(2) + wait - F(1, 1000)) < meter.capacity, kind
        assert meter.level(F(2) + wait) == meter.capacity, kind


def test_a_changed_limit_keeps_the_level_as_far_as_it_fits() -> None:
    bucket = KINDS["bucket"](60, F(1))
    bucket.change(F(0), F(30))
    assert bucket.level(F(0)) == 30
    bucket.change(F(0), F(120))
    assert bucket.level(F(0)) == 30
    assert bucket.level(F(1)) == 32


def test_a_bucket_in_debt_pays_it_off_first() -> None:
    bucket = KINDS["bucket"](60, F(1))
    bucket.take(F(0), F(90))
    assert bucket.level(F(0)) == -30
    assert bucket.ready_in(F(0), F(1)) == 31


def test_a_limit_of_nothing_lets_nothing_through() -> None:
    bucket = Bucket(F(0), F(60), holds_s=F(60), least=F(1), start=F(1))
    assert bucket.ready_in(F(0), F(1)) is None
    assert bucket.full_in(F(0)) == 0
