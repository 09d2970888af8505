"""A meter as a store keeps it: how it is counted, and what a process makes of the charges of others."""

from __future__ import annotations

import pytest

from throttle.feedback.belief import Belief
from throttle.feedback.headers import read_headers
from throttle.shared.lines import LARGEST, STEPS, BeliefLines, Scale, Seen, slice_of, spent_between
from throttle.stores.protocol import MODULUS

SECOND_US = 1_000_000


@pytest.mark.parametrize("limit", [1, 3, 500, 60_000, 1_000_000, 150_000_000, 2_000_000_000])
@pytest.mark.parametrize("window_us", [1_000_000, 60_000_000, 86_400_000_000, 2_592_000_000_000])
def test_a_scale_is_exact_and_fits_into_doubles(limit: int, window_us: int) -> None:
    scale = Scale.of(limit, window_us)
    assert limit * scale.grains <= LARGEST
    assert scale.rate(limit * 1e6 / window_us) * window_us == limit * scale.grains * scale.tick_us
    assert scale.value(scale.amount(limit)) == limit


def test_sums_that_wrap_around_have_exact_differences() -> None:
    assert spent_between(MODULUS - 5, 7) == 12
    assert spent_between(7, MODULUS - 5) == -12


def test_parts_come_to_the_whole() -> None:
    for whole in (0, 1, 7, 8, 1001, -13):
        assert sum(slice_of(whole, step) for step in range(1, STEPS + 1)) == whole


def answer(belief: Belief, mark: object, now_us: int, remaining: int) -> None:
    headers = {
        "x-ratelimit-limit-tokens": "60000",
        "x-ratelimit-remaining-tokens": str(remaining),
        "x-ratelimit-reset-tokens": f"{60000 - remaining}ms",
    }
    (reading,) = read_headers(headers, wall_s=0.0)
    belief.answered(now_us, mark, reading)  # type: ignore[arg-type]


@pytest.mark.parametrize("gap_s", [1, 4, 30])
def test_a_late_answer_is_placed_before_what_others_charged_since(gap_s: int) -> None:
    belief = Belief("tpm", "tokens", 60_000, 60_000_000, now_us=0, bursts=True)
    scale = Scale.of(60_000, 60_000_000)
    lines = BeliefLines(belief, scale)
    first = belief.take(0, 100, "m")
    lines.amounts(100, "m")
    answer(belief, first, SECOND_US // 10, 20_000)
    mark = belief.take(SECOND_US, 100, "m")
    now_us = (1 + gap_s) * SECOND_US
    others = scale.amount(500 * gap_s)
    lines.sync(now_us, Seen(0, now_us, others, others, SECOND_US, now_us, 0))
    lines.pass_time(now_us)
    truth = 20_000 + 1000 * (1 + gap_s) - 100 - 500 * gap_s
    assert lines.coming() == 0
    answer(belief, mark, now_us, 20_900)
    assert abs(belief.filter.level - truth) < 0.01 * 60_000
    assert belief.filter.ratios[0] == pytest.approx(1.0, abs=0.02)
