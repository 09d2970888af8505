"""A smoke pass over the measurements of cost: that they measure, not what comes out."""

from __future__ import annotations

import asyncio

from benchmarks.rig import costs


def test_waiters_are_counted_in_order_and_nobody_is_overtaken_on_a_bare_queue() -> None:
    cpu_us, overtaken = asyncio.run(costs._crowd(20, costs.BareQueue(10_000.0).acquire))
    assert cpu_us > 0
    assert overtaken == 0


def test_who_goes_after_one_that_came_later_was_overtaken() -> None:
    assert costs._overtaken([0, 2, 1, 3]) == 1


def test_a_limiter_that_follows_the_server_has_seen_its_first_answer() -> None:
    limiter = costs._learning_limiter()
    with limiter.acquire(costs.MODEL, tokens=900) as permit:
        assert permit.pool.admitted == 2


def test_the_bare_floor_refuses_what_its_buckets_do_not_hold() -> None:
    bare = costs.Bare(60, 60)
    assert bare.take(1, 50)
    assert not bare.take(1, 50)
