"""Which charge model the levels in headers speak for."""

from __future__ import annotations

import random

import pytest

from throttle.feedback.evidence import Evidence, Sample

LIMIT, RATE = 60_000.0, 1000.0


def sample(number: int, at_s: float, remaining: float) -> Sample:
    return Sample(number, at_s, remaining, LIMIT, RATE)


def test_the_first_answer_from_a_full_bucket_tells_the_charge_to_the_token() -> None:
    evidence = Evidence("input")
    assert evidence.see(sample(1, 0.0, LIMIT - 120), {"characters": 120, "input": 160, "maximum": 1160})
    assert evidence.charge == "characters"


def test_what_was_assumed_stays_where_it_fits() -> None:
    evidence = Evidence("input")
    assert not evidence.see(sample(1, 0.0, LIMIT - 160), {"characters": 120, "input": 160, "maximum": 1160})
    assert evidence.charge == "input"


def test_a_bucket_that_was_not_full_tells_nothing_by_its_first_answer() -> None:
    evidence = Evidence("input")
    assert not evidence.see(sample(1, 0.0, LIMIT - 40_000), {"characters": 120, "input": 160, "maximum": 1160})
    assert evidence.charge == "input"


def test_calls_from_a_bucket_that_is_full_again_each_time_settle_it() -> None:
    evidence = Evidence("input")
    for number in range(1, 4):
        evidence.see(sample(number, 10.0 * number, LIMIT - 120), {"characters": 120, "input": 160})
    assert evidence.is_settled
    assert evidence.charge == "characters"


@pytest.mark.parametrize("truth", ["characters", "input", "maximum"])
@pytest.mark.parametrize("seed", range(10))
def test_a_busy_server_that_began_empty_is_seen_through(truth: str, seed: int) -> None:
    rng = random.Random(seed)
    evidence, level, now_s = Evidence("input"), 3000.0, 0.0
    for number in range(2, 60):
        gap_s = rng.uniform(0.2, 0.6)
        size = rng.choice([60, 200, 400, 1500])
        amounts = {"characters": size * rng.uniform(0.9, 1.1) * 0.6, "input": float(size), "maximum": size + 1000.0}
        now_s += gap_s
        level += gap_s * RATE + rng.uniform(-20, 20) - amounts[truth]
        evidence.see(sample(number, now_s, level), amounts)
    assert evidence.charge == truth


def test_answers_of_calls_that_were_no_neighbours_are_left_aside() -> None:
    evidence = Evidence("input")
    for number in range(2, 200, 2):
        evidence.see(sample(number, number, 100.0), {"characters": 120, "input": 160})
    assert not evidence.is_settled
