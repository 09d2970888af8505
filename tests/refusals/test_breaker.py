"""What holds a pool back after a refusal, one call at a time: pure, in explicit time."""

from __future__ import annotations

from typing import Any

import pytest

from throttle.feedback.refusals import Refusal
from throttle.meter import BucketMeter
from throttle.pool import ADMITTED, Pool, Ticket

S = 1_000_000
RATE = Refusal(kind="rate", retry=True)


def make_pool() -> Pool:
    made: dict[str, Any] = {"now_us": 0, "burst_us": 60 * S, "headroom": 0.0, "origin": "user"}
    return Pool("pool", (BucketMeter("rpm", "requests", 60_000, 60 * S, **made),))


def ask(pool: Pool, now_us: int) -> Ticket:
    ticket = Ticket(pool, "model", (1,))
    if not pool.try_take(now_us, ticket):
        pool.enqueue(now_us, ticket)
        pool.tick(now_us)
    return ticket


def refuse(pool: Pool, now_us: int, ticket: Ticket, pause_us: int, *, told: bool = False) -> None:
    pool.hold_back(now_us, ticket, pause_us, "a refusal", told=told)
    pool.refused(now_us, ticket, RATE)


def admitted(tickets: list[Ticket]) -> int:
    return sum(ticket.state >= ADMITTED for ticket in tickets)


def test_after_a_pause_that_was_told_everybody_goes() -> None:
    pool = make_pool()
    refuse(pool, 0, ask(pool, 0), S, told=True)
    waiting = [ask(pool, 0) for _ in range(5)]
    assert pool.next_at(0) == S
    assert len(pool.tick(S)) == len(waiting)


def test_where_no_time_was_told_one_goes_and_the_others_wait_for_its_answer() -> None:
    pool = make_pool()
    refuse(pool, 0, ask(pool, 0), S)
    waiting = [ask(pool, 0) for _ in range(5)]
    assert pool.tick(S - 1) == []
    assert pool.tick(S) == [waiting[0]]
    assert pool.tick(2 * S) == []
    pool.answered(2 * S, waiting[0], ())
    assert pool.tick(2 * S) == waiting[1:]


def test_a_probe_that_is_refused_is_followed_by_a_longer_pause_and_one_probe() -> None:
    pool = make_pool()
    first = ask(pool, 0)
    assert pool.refusals_in_row(first) == 1
    refuse(pool, 0, first, S)
    waiting = [ask(pool, 0) for _ in range(5)]
    pool.tick(S)
    assert pool.refusals_in_row(waiting[0]) == 2
    refuse(pool, S, waiting[0], 2 * S)
    assert pool.next_at(S) == 3 * S
    assert pool.tick(3 * S) == [waiting[1]]
    assert pool.refusals_in_row(waiting[1]) == 3


def test_a_hundred_refused_at_once_are_one_refusal() -> None:
    pool = make_pool()
    out = [ask(pool, 0) for _ in range(100)]
    for i, ticket in enumerate(out):
        assert pool.refusals_in_row(ticket) == 1
        refuse(pool, 1000 + i, ticket, S)
    again = [ask(pool, 2000) for _ in range(100)]
    assert pool.next_at(2000) == S + 1099
    pool.tick(S + 1099)
    assert admitted(again) == 1


def test_an_answer_that_was_on_its_way_does_not_end_the_pause() -> None:
    pool = make_pool()
    early, late = ask(pool, 0), ask(pool, 0)
    refuse(pool, 10, early, S)
    pool.answered(20, late, ())
    pool.release(30, late)
    assert ask(pool, 40).state != ADMITTED


def test_a_probe_that_takes_long_is_waited_for_a_while_only() -> None:
    pool = make_pool()
    refuse(pool, 0, ask(pool, 0), 7 * S)
    waiting = [ask(pool, 0) for _ in range(3)]
    pool.tick(7 * S)
    assert pool.next_at(7 * S) == 14 * S
    pool.tick(14 * S)
    assert admitted(waiting) == 2


def test_a_probe_that_was_not_sent_hands_its_turn_on() -> None:
    pool = make_pool()
    refuse(pool, 0, ask(pool, 0), S)
    waiting = [ask(pool, 0) for _ in range(3)]
    pool.tick(S)
    pool.withdraw(S + 5, waiting[0])
    assert pool.tick(S + 5) == [waiting[1]]


@pytest.mark.parametrize("how", ["answered", "release"])
def test_a_probe_that_ends_without_a_refusal_lets_everybody_go(how: str) -> None:
    pool = make_pool()
    refuse(pool, 0, ask(pool, 0), S)
    waiting = [ask(pool, 0) for _ in range(3)]
    pool.tick(S)
    if how == "answered":
        pool.answered(S, waiting[0], (), is_error=True)
    else:
        pool.release(S, waiting[0])
    assert pool.tick(S) == waiting[1:]


def test_an_old_refusal_takes_nothing_away_from_a_probe_under_way() -> None:
    pool = make_pool()
    first, old = ask(pool, 0), ask(pool, 0)
    refuse(pool, 10, first, S)
    waiting = [ask(pool, 20) for _ in range(3)]
    pool.tick(S + 10)
    refuse(pool, S + 11, old, S)
    pool.answered(S + 12, waiting[0], ())
    assert pool.tick(S + 12) == waiting[1:]


def test_an_answer_ends_the_row_of_refusals() -> None:
    pool = make_pool()
    for _ in range(3):
        refuse(pool, 0, ask(pool, 0), 0, told=True)
    assert pool.refusals_in_row(ask(pool, 0)) == 4
    pool.answered(0, ask(pool, 0), ())
    assert pool.refusals_in_row(ask(pool, 0)) == 1


def test_a_probe_that_hears_when_to_come_back_ends_the_probing() -> None:
    pool = make_pool()
    refuse(pool, 0, ask(pool, 0), S)
    waiting = [ask(pool, 0) for _ in range(4)]
    pool.tick(S)
    refuse(pool, S, waiting[0], 2 * S, told=True)
    assert pool.tick(3 * S) == waiting[1:]
