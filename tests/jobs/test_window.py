from __future__ import annotations

import pytest

from throttle.jobs.window import Window


def land(window: Window, now_s: float, throughput: float, rounds: int) -> float:
    """Let whole rounds land at so many calls a second; returns the time after them."""
    for _ in range(rounds):
        for _ in range(window.size + 1):
            now_s += 1 / throughput
            if window.landed(now_s, filled=True):
                break
    return now_s


def test_it_grows_while_more_calls_out_bring_more_answers() -> None:
    window = Window(1000)
    now_s = window.landed(0.0, filled=True) * 0.0
    for _ in range(20):
        now_s = land(window, now_s, float(window.size), 1)  # each call takes a second, whatever is out
    assert window.size == 1000


def test_it_stays_where_growing_does_not_pay() -> None:
    window = Window(1000)
    now_s = window.landed(0.0, filled=True) * 0.0
    sizes = set()
    for _ in range(100):
        now_s = land(window, now_s, min(float(window.size), 50.0), 1)  # the server does 50 a second
        sizes.add(window.size)
    assert max(sizes) <= 50 * 1.5 * 1.5
    assert window.size >= 36


def test_it_does_not_grow_while_it_is_not_filled() -> None:
    window = Window(1000)
    before = window.size
    for i in range(1000):
        window.landed(float(i), filled=False)
    assert window.size == before


def test_trouble_halves_it_but_leaves_one() -> None:
    window = Window(1000)
    for _ in range(10):
        window.troubled()
    assert window.size == 1


@pytest.mark.parametrize("most", [1, 5])
def test_it_never_exceeds_what_was_given(most: int) -> None:
    window = Window(most)
    now_s = window.landed(0.0, filled=True) * 0.0
    for _ in range(20):
        now_s = land(window, now_s, float(window.size), 1)
    assert window.size == most
