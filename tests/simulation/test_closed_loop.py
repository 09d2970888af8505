"""A slice of the matrix: the closed loop in worlds of every kind. The whole of it: python -m benchmarks closed_loop."""

from __future__ import annotations

import pytest

from tests.simulation.checks import BARS, complaints
from tests.simulation.scenarios import BY_NAME, SCENARIOS
from tests.simulation.world import play

SLICE = [
    "plain",
    "x2",
    "x0.5",
    "noise-50%",
    "empty-x2",
    "lags-2s",
    "slow",
    "slow-x2-empty",
    "others-60%",
    "others-60%-onoff",
    "others-bursts",
    "job-empty-calm",
    "job-full-calm",
    "completion",
    "mixed",
    "fixed-window",
    "sliding-window",
    "by-the-second-headers",
    "no-headers",
    "headers-lost",
    "no-text",
    "limit-half",
    "limit-x2",
    "processes-2",
    "cancelled-10%",
    "crashes-2%",
    "small",
    "two-models-blocks",
    "huge-and-small",
]
KEPT = [  # seeds that showed a mistake once: what it was
    ("job-empty-calm", 2),  # the first call after the first went on the mean alone and was a few tokens short
    ("lags-2s", 1),  # the short way of a look let calls go on a speed that answers had overtaken
    ("fixed-window", 1),  # resets near a full bucket passed for a bucket's, and a window's worth was let go twice
    ("others-bursts", 2),  # a restart doubted ratios that were known well, and one fell to a tenth
    ("slow-x2", 20),  # the covariance was none, and one late header put the level below minus 800,000
    ("mixed-slow-x2", 1001),  # a ratio was wrong and so sure of it that exact refusals taught it nothing
    ("slow-x2", 22),  # a ratio of 2 was read as headers that were sampled late
]


@pytest.mark.parametrize("name", SLICE)
def test_calls_are_not_refused_and_the_limit_is_used(name: str) -> None:
    assert complaints(play(BY_NAME[name], 0)) == []


@pytest.mark.parametrize(("name", "seed"), KEPT)
def test_old_mistakes_stay_mended(name: str, seed: int) -> None:
    assert complaints(play(BY_NAME[name], seed)) == []


def test_a_seed_tells_everything() -> None:
    first, again = play(BY_NAME["job-empty"], 5), play(BY_NAME["job-empty"], 5)
    assert first == again
    assert first != play(BY_NAME["job-empty"], 6)


def test_every_scenario_has_a_bar() -> None:
    assert {scenario.name for scenario in SCENARIOS} == set(BARS)
