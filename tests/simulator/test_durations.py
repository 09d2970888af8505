from __future__ import annotations

from fractions import Fraction

import pytest

from throttle.simulator.durations import cut_to_ms, go_duration, raised_to_ms


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0s"),
        (-5, "0s"),
        (1, "1ms"),
        (999, "999ms"),
        (1000, "1s"),
        (1010, "1.01s"),
        (8640, "8.64s"),
        (59_999, "59.999s"),
        (60_000, "1m0s"),
        (432_000, "7m12s"),
        (3_600_000, "1h0m0s"),
        (299_439_057, "83h10m39.057s"),
        (52_151_040, "14h29m11.04s"),
    ],
)
def test_durations_are_printed_as_go_prints_them(milliseconds: int, text: str) -> None:
    assert go_duration(milliseconds) == text


def test_rounding_to_milliseconds_never_crosses_the_instant() -> None:
    third = Fraction(1, 3)
    assert cut_to_ms(third) == 333
    assert raised_to_ms(third) == 334
    assert cut_to_ms(Fraction(1)) == raised_to_ms(Fraction(1)) == 1000
