"""The parts of the loop: ledger, filter, trickle, windows."""

from __future__ import annotations

import math
import random

import pytest

from throttle.feedback.filter import Filter
from throttle.feedback.ledger import MOST_ENTRIES, Ledger
from throttle.feedback.trickle import Trickle
from throttle.feedback.windows import WindowCount


def ledger_of(count: int, gap_s: float = 0.01) -> Ledger:
    ledger = Ledger()
    ledger.totals.append(0.0)
    for n in range(count):
        ledger.add(n * gap_s, 0, 2.0, 3.0)
    return ledger


def test_a_ledger_tells_what_left_after_a_call_and_around_it() -> None:
    ledger = ledger_of(10, 1.0)
    number, totals, sent = ledger.add(10.0, 0, 5.0, 7.0)
    ledger.add(11.0, 0, 1.0, 1.5)
    assert ledger.since(number, totals) == [1.0]
    assert ledger.between(8.0, 10.0) == pytest.approx(3.0 + 3.0 + 7.0)
    before, after = ledger.around(10.0, 0.5)
    assert (sent - before, after - sent) == (7.0, 0.0)
    assert ledger.squares_since(9.5) == pytest.approx(49.0 + 2.25)


def test_a_refused_call_no_longer_counts_as_having_left() -> None:
    ledger = ledger_of(1)
    number, totals, _ = ledger.add(1.0, 0, 5.0, 5.0)
    later, _, _ = ledger.add(2.0, 0, 9.0, 9.0)
    ledger.void(2.5, later, 0, 9.0, 2.0, 9.0)
    assert ledger.since(number, totals) == [0.0]


def test_what_was_given_back_is_told_by_when_its_call_had_left() -> None:
    ledger = ledger_of(1)
    for at in (1.0, 2.0, 3.0):
        number, _, _ = ledger.add(at, 0, 5.0, 5.0)
        ledger.void(4.0 + at, number, 0, 4.0, at, 4.0)
    assert [ledger.returned(start) for start in (0.5, 1.5, 2.0, 3.5)] == [12.0, 8.0, 8.0, 0.0]


def test_a_full_ledger_forgets_resolution_but_no_amount() -> None:
    count = 3 * MOST_ENTRIES
    ledger = ledger_of(count, 0.001)
    assert len(ledger.times) <= MOST_ENTRIES
    assert len(ledger.sums) == len(ledger.squares) == len(ledger.times) + 1
    assert ledger.sums[-1] == pytest.approx(3.0 * count)
    end = (count - 1) * 0.001
    assert ledger.between(end - 1.0, end) == pytest.approx(3.0 * 1001, abs=6.1)
    assert ledger.between(end - 20.0, end) == pytest.approx(3.0 * 20_001, rel=0.01)
    assert ledger.times == sorted(ledger.times)


def test_what_is_older_than_any_answer_is_forgotten() -> None:
    ledger = ledger_of(MOST_ENTRIES + 1, 1.0)
    assert ledger.times[0] >= MOST_ENTRIES - 200.0 - 1.0


def test_when_a_sum_was_reached_is_told() -> None:
    ledger = ledger_of(5, 1.0)
    assert [ledger.reached_at(total) for total in (0.0, 3.0, 3.1, 15.0)] == [None, 0.0, 1.0, 4.0]


def is_positive(cov: list[list[float]]) -> bool:
    """Whether a matrix is one of covariances: by Cholesky, with room for rounding."""
    n = len(cov)
    low = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in range(i + 1):
            rest = cov[i][j] - sum(low[i][k] * low[j][k] for k in range(j))
            if i == j:
                if rest < -1e-6 * max(1.0, cov[i][i]):
                    return False
                low[i][i] = math.sqrt(max(rest, 0.0))
            elif low[j][j] > 0:
                low[i][j] = rest / low[j][j]
    return True


@pytest.mark.parametrize("seed", range(6))
def test_the_covariance_stays_one_whatever_comes(seed: int) -> None:
    draw, state = random.Random(seed), Filter(120_000.0, 2000.0, fixed=False)
    state.add_model(sure=False)
    state.add_model(sure=False)
    state.place(50_000.0, 1e6, [0.0, 1.0, 500.0, 100.0])
    for _ in range(400):
        act = draw.randrange(3)
        if act == 0:
            state.pass_time(draw.choice([0.001, 0.1, 1.0, 60.0]))
        elif act == 1:
            state.charge(draw.randrange(2), draw.uniform(1, 20_000), draw.uniform(0, 1e8))
        else:
            look = [1.0, draw.uniform(0, 60), draw.uniform(0, 30_000), draw.uniform(0, 30_000)]
            after = min(draw.uniform(0, 1e6), 0.98 * state.loose())
            prior = state.cov[0][0] - after
            tied, spread = state.look_through(look, prior)
            total = spread + draw.choice([1.0, 1e4, 1e8])
            surprise = draw.gauss(0.0, 3.0) * math.sqrt(total)
            mild = max(-3 * math.sqrt(total), min(3 * math.sqrt(total), surprise))
            state.correct(surprise, tied, total, prior=prior, after=after, mild=mild)
        assert is_positive(state.cov), state.cov
        assert 0.0 <= state.others <= 0.9 * state.rate
        assert all(0.1 <= ratio <= 8.0 for ratio in state.ratios)


def test_unconfirmed_charge_widens_the_doubt_by_the_doubt_about_its_ratio() -> None:
    state = Filter(120_000.0, 2000.0, fixed=False)
    k = state.add_model(sure=False)
    state.place(50_000.0, 100.0, [0.0, 0.0, 0.0])
    state.charge(k, 1000.0, 0.0)
    assert state.level_sd() == pytest.approx(math.sqrt(100.0 + (1000.0 * 0.25) ** 2), rel=1e-3)


def test_a_look_at_the_past_corrects_the_ratio_by_what_left_since() -> None:
    state = Filter(120_000.0, 2000.0, fixed=False)
    state.add_model(sure=False)
    state.place(60_000.0, 1.0, [0.0, 0.0, 0.0])
    state.charge(0, 20_000.0, 0.0)  # believed to cost 20,000; a header says it cost 30,000
    look = [1.0, 0.0, 0.0]
    tied, spread = state.look_through(look, state.cov[0][0])
    state.correct(-10_000.0, tied, spread + 1.0, prior=state.cov[0][0], after=0.0, mild=-10_000.0)
    assert state.level == pytest.approx(30_000.0, abs=10.0)
    assert state.ratios[0] == pytest.approx(1.5, abs=0.01)


def test_an_outlier_makes_nothing_much_surer() -> None:
    state = Filter(120_000.0, 2000.0, fixed=False)
    state.add_model(sure=False)
    state.place(60_000.0, 1e6, [0.0, 1.0, 5000.0])
    before = state.ratio_sd(0)
    look = [1.0, 1.0, 5000.0]
    tied, spread = state.look_through(look, state.cov[0][0])
    total = spread + 100.0
    surprise = 100 * math.sqrt(total)
    state.correct(surprise, tied, total, prior=state.cov[0][0], after=0.0, mild=3 * math.sqrt(total))
    assert state.ratio_sd(0) == pytest.approx(before, rel=0.01)


def test_a_charge_that_the_server_told_overrules_a_ratio_that_was_wrong_and_sure() -> None:
    state = Filter(120_000.0, 2000.0, fixed=False)
    k = state.add_model(sure=False)
    state.ratios[k], state.cov[2][2] = 0.25, 0.02**2
    state.learn_ratio(k, 2.0)
    assert state.ratios[k] == pytest.approx(2.0, rel=0.05)
    assert is_positive(state.cov)


def test_a_fixed_charge_has_no_ratio_to_doubt() -> None:
    state = Filter(600.0, 10.0, fixed=True)
    k = state.add_model(sure=False)
    state.place(100.0, 4.0, [0.0, 0.0])
    state.charge(k, 10.0, 100.0)
    assert (state.level, state.ratio_sd(k), len(state.cov)) == (90.0, 0.0, 2)
    assert state.level_sd() == pytest.approx(2.0)


def test_a_trickle_lets_so_much_go_and_no_more() -> None:
    trickle = Trickle(10.0, 5.0, 0.0)
    assert trickle.wait(0.0, 1.0) == pytest.approx(0.1)
    assert trickle.wait(100.0, 5.0) == 0.0
    trickle.take(100.0, 5.0)
    assert trickle.wait(100.0, 20.0) == pytest.approx(0.5)  # more than it holds goes when it is full
    trickle.scale(20.0)
    assert trickle.room == 10.0
    assert trickle.wait(100.0, 10.0) == pytest.approx(0.5)


def seen_windows(end_of: float | None, calls: int = 40) -> tuple[WindowCount, Ledger]:
    """Headers of calls two seconds apart; windows end at `end_of` modulo a minute, or a minute after each call."""
    count, ledger = WindowCount(1000.0, 60.0), Ledger()
    ledger.totals.append(0.0)
    for n in range(calls):
        at = 2.0 * n
        ledger.add(at, 0, 10.0, 10.0)
        reset_s = 60.0 if end_of is None else (end_of - at) % 60.0
        start = at - 60.0 if end_of is None else end_of - 60.0 * math.ceil((end_of - at) / 60.0)
        count.see(at + 1.0, at, reset_s, ledger.between(start, at), 0.0, ledger)
    return count, ledger


def test_a_window_that_ends_at_one_instant_is_told_from_one_that_slides() -> None:
    assert seen_windows(17.0)[0].fixed
    assert not seen_windows(None)[0].fixed


def test_a_fixed_window_gives_back_all_at_its_end_and_not_before() -> None:
    count, ledger = seen_windows(17.0)
    now = 2.0 * 40
    ledger.add(now, 0, 900.0, 900.0)
    assert count.wait(now + 1.0, 500.0, ledger) == pytest.approx(137.0 - 81.0, abs=0.1)
    assert count.wait(137.5, 500.0, ledger) == 0.0


def test_a_sliding_window_gives_back_each_charge_a_minute_after_it_left() -> None:
    count, ledger = seen_windows(None)
    ledger.add(80.0, 0, 900.0, 900.0)
    assert 50.0 < count.wait(90.0, 500.0, ledger) < 52.0


def test_a_refusal_makes_a_window_count_more_careful() -> None:
    count, ledger = seen_windows(None)
    before = count.left(80.0, ledger)
    count.widen()
    assert count.left(80.0, ledger) < before


class LongWay(Filter):
    """Mends the covariance by its loops, whatever its size."""

    def _is_mended(self) -> bool:
        return False


@pytest.mark.parametrize("models", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_written_out_for_one_model_comes_to_what_the_loops_do(seed: int, models: int) -> None:
    draw = random.Random(seed)
    short, long = Filter(120_000.0, 2000.0, fixed=not models), LongWay(120_000.0, 2000.0, fixed=not models)
    for state in (short, long):
        state.add_model(sure=False)
        state.place(50_000.0, 1e6, [0.0, 1.0, 500.0][: len(state.cov)])
    for _ in range(300):
        gap, charge = draw.choice([0.001, 0.1, 1.0, 60.0]), draw.uniform(1, 20_000)
        look = [1.0, draw.uniform(0, 60), draw.uniform(0, 30_000)][: len(short.cov)]
        noise, off, part = draw.choice([1.0, 1e4, 1e8]), draw.gauss(0.0, 3.0), draw.uniform(0.0, 0.98)
        for state in (short, long):
            state.pass_time(gap)
            state.charge(0, charge, charge * charge)
            cov = state.cov
            after = part * state.loose()
            tied, spread = state.look_through(look, cov[0][0] - after)
            plain = [[*row] for row in cov]
            plain[0][0] -= after
            expected = [sum(p * h for p, h in zip(row, look, strict=True)) for row in plain]
            assert tied == pytest.approx(expected, rel=1e-9, abs=1e-3)
            total = spread + noise
            surprise = off * math.sqrt(total)
            mild = max(-3 * math.sqrt(total), min(3 * math.sqrt(total), surprise))
            state.correct(surprise, tied, total, prior=cov[0][0] - after, after=after, mild=mild)
        assert [*short.cov[0], *short.cov[-1]] == pytest.approx([*long.cov[0], *long.cov[-1]], rel=1e-9)
        assert (short.level, short.others) == pytest.approx((long.level, long.others))


def test_what_no_other_state_explains_of_the_level_is_what_is_left_when_the_others_are_known() -> None:
    state = Filter(120_000.0, 2000.0, fixed=False)
    state.add_model(sure=False)
    state.cov = [[9.0, 2.0, 1.0], [2.0, 4.0, 0.5], [1.0, 0.5, 1.0]]
    state_of_two = Filter(120_000.0, 2000.0, fixed=False)
    state_of_two.add_model(sure=False)
    state_of_two.add_model(sure=False)
    state_of_two.cov = [[9.0, 2.0, 1.0, 0.0], [2.0, 4.0, 0.5, 0.0], [1.0, 0.5, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    assert state.loose() == pytest.approx(state_of_two.loose())
    assert state.loose() == pytest.approx(9.0 - (2.0 * 2.0 * 1.0 - 2 * 2.0 * 0.5 * 1.0 + 4.0 * 1.0) / (4.0 - 0.25))
