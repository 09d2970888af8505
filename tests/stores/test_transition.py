"""What the transition promises, where it can be said in a line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from throttle.bucket import Bucket
from throttle.stores.protocol import (
    OTHER,
    READY,
    WANTED,
    Ask,
    Change,
    Definition,
    Exchange,
    Lesson,
    LessonLine,
    Line,
    Presence,
    Sent,
)
from throttle.stores.transition import BEAT_US, DEAD_MOST, LEASE_US, LINE_US, PLACE_US, PoolState, exchange

MINUTE_US = 60_000_000
START_US = 1_000_000_000_000
RPM = Line(60, 1, 60 * MINUTE_US, 60 * MINUTE_US)
TPM = Line(6000, 1, 6000 * MINUTE_US, 6000 * MINUTE_US)
POOL = Definition("d", "{}", (RPM, TPM))


def ask(requests: int, tokens: int, within_us: int = -1) -> Ask:
    return Ask((requests * MINUTE_US, tokens * MINUTE_US), within_us)


class World:
    def __init__(self, definition: Definition = POOL) -> None:
        self.state: PoolState | None = None
        self.now_us = START_US
        self.definition = definition
        self.numbers: dict[str, int] = {}

    def bring(self, process: str = "p", *asks: Ask, **more: object) -> tuple[int, ...]:
        """Returns in how many µs each call goes."""
        self.numbers[process] = self.numbers.get(process, 0) + 1
        brought = Exchange(process, self.numbers[process], self.definition.digest, asks=asks)
        brought = replace(brought, definition=self.definition, presence=Presence("l"), **more)  # type: ignore[arg-type]
        self.state, self.answer = exchange(self.state, self.now_us, brought)
        return tuple(grant.wait_us for grant in self.answer.grants)

    def calls(self) -> list[str]:
        """Returns whose bells are to be rung after the last exchange."""
        return list(self.answer.called)

    def level(self, line: int) -> int:
        assert self.state is not None
        stored = self.state.lines[line]
        bucket = Bucket(stored.rate, MINUTE_US, at_us=stored.at, capacity=stored.capacity, level=stored.level)
        return bucket.level_at(self.now_us) // MINUTE_US


def test_all_lines_are_charged_at_the_instant_at_which_all_can_pay() -> None:
    world = World()
    assert world.bring("p", ask(1, 6000)) == (0,)
    assert world.bring("p", ask(1, 600)) == (6_000_000,)
    world.now_us += 6_000_000
    assert world.level(0) == 59  # refilled to the brim while the tokens delayed the call, then charged


def test_a_large_call_is_not_starved_by_small_ones_of_other_processes() -> None:
    world = World()
    world.bring("p", ask(1, 6000))
    assert world.bring("large", ask(1, 3000)) == (30_000_000,)
    assert world.bring("small", ask(1, 1)) == (30_010_000,)


def test_a_call_that_can_not_go_in_time_is_not_charged() -> None:
    world = World()
    world.bring("p", ask(1, 6000))
    assert world.bring("p", ask(1, 600, within_us=5_999_999)) == (6_000_000,)
    assert world.answer.grants[0].at_us == -1
    assert world.bring("p", ask(1, 600, within_us=6_000_000)) == (6_000_000,)
    assert world.answer.grants[0].at_us == START_US + 6_000_000


def test_calls_behind_one_that_waits_are_not_tried() -> None:
    world = World()
    assert world.bring("p", ask(1, 6000), ask(1, 600), ask(1, 1)) == (0, 6_000_000)


def test_a_reservation_that_is_given_back_takes_the_clock_with_it() -> None:
    world = World()
    world.bring("p", ask(1, 6000))
    world.bring("large", ask(1, 6000))
    (lease,) = (grant.lease for grant in world.answer.grants)
    world.bring("large", changes=(Change((0, 0), lease),))
    assert world.bring("small", ask(1, 100)) == (1_000_000,)


def test_what_a_dead_process_had_reserved_comes_back() -> None:
    world = World()
    world.bring("other", ask(1, 6000))
    world.bring("dead", ask(1, 6000))
    world.now_us += LEASE_US
    world.bring("other")
    assert world.answer.processes == 1
    assert world.level(1) == 1000
    assert world.bring("other", ask(1, 1100)) == (1_000_000,)


def test_what_a_dead_process_may_have_sent_stays_charged() -> None:
    world = World()
    world.bring("other", ask(1, 6000))
    assert world.bring("dead", ask(1, 100)) == (1_000_000,)  # due before anybody could have noticed
    world.now_us += LEASE_US
    world.bring("other")
    assert world.level(1) == 900
    assert BEAT_US > 1_000_000


def test_what_a_dead_process_had_sent_stays_charged() -> None:
    world = World()
    world.bring("other", ask(1, 6000))
    world.bring("dead", ask(1, 600))
    (lease,) = (grant.lease for grant in world.answer.grants)
    world.now_us += 6_000_000
    world.bring("dead", sent=(Sent(lease, ask(1, 600).amounts),))
    world.now_us += LEASE_US
    world.bring("other")
    assert world.level(1) == 1000


def test_an_exchange_that_is_repeated_is_answered_again_and_nothing_is_done() -> None:
    world = World()
    world.bring("p", ask(1, 6000))
    world.bring("p", ask(1, 600))
    first = world.answer
    world.numbers["p"] -= 1
    world.bring("p", ask(1, 600))
    assert world.answer == first


def lesson(anchor_us: int, at_us: int, tokens: int, spent: int) -> Lesson:
    lines = (LessonLine(60, 60 * MINUTE_US), LessonLine(6000, 6000 * MINUTE_US, tokens * MINUTE_US))
    return Lesson(anchor_us, at_us, lines, (0, spent), "text")


def test_a_drift_that_many_processes_saw_is_corrected_once() -> None:
    world = World()
    world.bring("p", ask(1, 1000))
    spent = world.answer.lines[1].spent
    for i, process in enumerate(("p", "q", "r")):
        world.bring(process, lesson=lesson(START_US + i, START_US, 4000, spent))
        assert world.level(1) == 4000


def test_a_lesson_knows_nothing_of_what_was_charged_after_it() -> None:
    world = World()
    world.bring("p", ask(1, 1000))
    spent = world.answer.lines[1].spent
    world.bring("q", ask(1, 500))
    world.now_us += 1_000_000
    world.bring("p", lesson=lesson(START_US + 1, START_US, 4000, spent))
    assert world.level(1) == 4000 - 500 + 100


def test_a_lesson_knows_nothing_of_what_was_given_back_after_it() -> None:
    # others settle a call to less than was reserved: the sum of charges goes down
    world = World()
    world.bring("p", ask(1, 1000))
    spent = world.answer.lines[1].spent
    world.bring("q", changes=(Change((0, 300 * MINUTE_US)),))
    world.bring("p", lesson=lesson(START_US + 1, START_US, 4000, spent))
    assert world.level(1) == 4300


def test_an_older_lesson_is_no_news() -> None:
    world = World()
    world.bring("p", lesson=lesson(START_US, START_US, 4000, 0))
    world.bring("q", lesson=lesson(START_US, START_US, 10, 0))
    assert world.level(1) == 4000
    assert world.answer.lesson == "text"


def test_nobody_goes_before_the_pause_is_over_whoever_asked_for_it() -> None:
    world = World()
    world.bring("p", pause_until_us=START_US + 2_000_000)
    assert world.bring("q", ask(1, 1)) == (2_000_000,)


def test_a_clock_that_jumps_back_brings_nothing_and_keeps_nobody_waiting() -> None:
    world = World()
    world.bring("p", ask(1, 6000))
    world.now_us -= 3_600_000_000
    assert world.bring("p", ask(1, 100)) == (1_000_000,)
    world.now_us -= 500
    world.bring("p")
    assert world.answer.now_us == world.now_us + 500


def test_a_new_definition_keeps_how_full_the_pool_is() -> None:
    world = World()
    world.bring("p", ask(30, 1500))
    double = Line(120, 1, 120 * MINUTE_US, 0)
    world.definition = Definition("e", "{}", (double, TPM))
    world.bring("q")
    assert (world.level(0), world.level(1)) == (60, 4500)


def test_a_pool_that_is_missing_or_another_one_is_told() -> None:
    state, answer = exchange(None, START_US, Exchange("p", 1, "d"))
    assert (state, answer.status) == (None, WANTED)
    state, answer = exchange(None, START_US, Exchange("p", 1, "d", definition=POOL))
    assert answer.status == READY
    _, answer = exchange(state, START_US, Exchange("q", 1, "e"))
    assert (answer.status, answer.definition) == (OTHER, ("d", "{}"))


@pytest.mark.parametrize("tick_us", [1, 1000])
def test_a_coarse_tick_loses_nothing_in_the_long_run(tick_us: int) -> None:
    day_us = 86_400_000_000
    line = Line(1000, tick_us, 1000 * (day_us // tick_us), 0)
    world = World(Definition("day", "", (line,)))
    amount = day_us // tick_us
    gone_us = 0
    world.bring("p")
    for _ in range(50):
        world.now_us = START_US + gone_us + 12_345
        (wait_us,) = world.bring("p", Ask((amount,)))
        gone_us = world.now_us + wait_us - START_US
    assert gone_us == 50 * day_us // 1000


def test_places_of_a_process_that_died_come_back() -> None:
    world = World()
    assert world.bring("dead", ask(1, 0), ask(1, 0), places=2) == (0, 0)
    assert world.bring("other", ask(1, 0), places=2) == ()
    assert world.answer.full
    world.now_us += LEASE_US - 1
    assert world.bring("other", ask(1, 0), places=2) == ()
    world.now_us += 1_000_000
    assert world.bring("other", ask(1, 0), places=2) == (0,)
    assert not world.answer.full


def test_who_is_in_line_for_a_place_comes_first_once() -> None:
    world = World()
    world.bring("one", ask(1, 0), places=1)
    world.bring("two", ask(1, 0), places=1)
    world.bring("three", ask(1, 0), places=1)
    assert world.bring("one", ask(1, 0), places=1, holds=0) == ()  # it gave its place back, and is the third in line
    assert world.bring("three", ask(1, 0), places=1) == ()
    assert world.bring("two", ask(1, 0), ask(1, 0), places=1) == (0,)
    assert world.bring("two", places=1, holds=0) == ()
    assert world.bring("two", ask(1, 0), places=1, holds=0) == ()
    assert world.bring("three", ask(1, 0), places=1) == (0,)


def test_who_stops_asking_for_a_place_leaves_the_line() -> None:
    world = World()
    world.bring("one", ask(1, 0), places=1)
    world.bring("two", ask(1, 0), places=1)
    world.now_us += PLACE_US
    assert world.bring("one", ask(1, 0), places=1, holds=0) == (0,)


def test_whose_exchange_asks_for_no_place_leaves_the_line() -> None:
    world = World()
    world.bring("one", ask(1, 0), places=1)
    world.bring("two", ask(1, 0), places=1)
    world.bring("two", places=1, holds=0)
    assert world.bring("one", ask(1, 0), places=1, holds=0) == (0,)


def test_who_has_a_bell_is_called_once_when_its_turn_has_come() -> None:
    world = World()
    world.bring("one", ask(1, 0), places=1)
    world.bring("two", ask(1, 0), places=1, bell="2")
    world.bring("three", ask(1, 0), places=1, bell="3")
    assert world.calls() == []
    world.now_us += LINE_US - 1  # it needn't ask meanwhile
    world.bring("one", places=1, holds=0)
    assert world.calls() == ["2"]
    world.bring("one", places=1, holds=0)
    assert world.calls() == []
    assert world.bring("three", ask(1, 0), places=1, bell="3") == ()
    assert world.bring("two", ask(1, 0), places=1) == (0,)
    world.bring("two", places=1, holds=0)
    assert world.calls() == ["3"]


def test_who_waits_behind_a_call_that_goes_at_once_or_not_at_all_is_in_line() -> None:
    world = World()
    world.bring("one", ask(1, 0), places=1)
    world.bring("two", ask(1, 0, 0), ask(1, 0), places=1, bell="2")
    world.bring("one", places=1, holds=0)
    assert world.calls() == ["2"]


def test_who_is_called_and_does_not_come_leaves_the_line_to_the_next() -> None:
    world = World()
    world.bring("one", ask(1, 0), places=1)
    world.bring("dead", ask(1, 0), places=1, bell="2")
    world.bring("three", ask(1, 0), places=1, bell="3")
    world.bring("one", places=1, holds=0)
    assert world.calls() == ["2"]
    world.now_us += PLACE_US
    assert world.bring("three", ask(1, 0), places=1) == (0,)


def test_a_place_that_a_dead_process_held_calls_who_is_in_line() -> None:
    world = World()
    world.bring("dead", ask(1, 0), places=1)
    world.now_us += LEASE_US - 1_000_000
    world.bring("two", ask(1, 0), places=1, bell="2")
    world.now_us += 1_000_000
    world.bring("three", places=1)
    assert world.calls() == ["2"]


def test_a_process_that_leaves_is_forgotten_and_its_places_are_free() -> None:
    world = World()
    world.bring("one", ask(1, 0), places=1)
    world.bring("two", ask(1, 0), places=1, bell="2")
    assert world.answer.processes == 2
    world.bring("one", places=1, holds=1, leaves=True)
    assert world.answer.processes == 1
    assert world.calls() == ["2"]
    assert world.state is not None
    assert list(world.state.processes) == list(world.state.replies) == ["two"]


def test_of_the_dead_only_so_many_are_remembered() -> None:
    world = World()
    for number in range(2 * DEAD_MOST):
        world.bring(f"p{number}", ask(1, 0))
        world.now_us += 1000
    world.now_us += LEASE_US
    world.bring("living", ask(1, 0))
    assert world.state is not None
    assert list(world.state.processes) == [f"p{number}" for number in range(DEAD_MOST, 2 * DEAD_MOST)] + ["living"]
    assert world.state.replies.keys() == world.state.processes.keys()
