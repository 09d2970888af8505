"""The pool against a server written apart from it, with fractions: no refusal, and no wait longer than it must be."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from throttle.bucket import NEVER
from throttle.meter import BucketMeter, InFlightMeter
from throttle.pool import ADMITTED, EXPIRED, WAITING, Pool, Ticket

MINUTE_US = 60_000_000


def meter(
    name: str, limit: int, window_us: int = MINUTE_US, burst_us: int | None = None, origin: str = "user"
) -> BucketMeter:
    unit = "requests" if name.startswith("r") else "tokens"
    return BucketMeter(
        name, unit, limit, window_us, now_us=0, burst_us=burst_us or window_us, headroom=0.0, origin=origin
    )


def make_pool(rpm: int, tpm: int) -> Pool:
    return Pool("pool", (meter("rpm", rpm), meter("tpm", tpm)))


def ask(pool: Pool, now_us: int, tokens: int, requests: int = 1) -> Ticket:
    ticket = Ticket(pool, "model", (requests, tokens))
    if not pool.try_take(now_us, ticket):
        pool.enqueue(now_us, ticket)
    return ticket


class Server:
    """Two token buckets in tokens and seconds, as fractions; a call is admitted if both hold what it is charged."""

    def __init__(self, rpm: int, tpm: int) -> None:
        self.limits = (Fraction(rpm), Fraction(tpm))
        self.levels = list(self.limits)
        self.at_s = Fraction(0)

    def take(self, now_us: int, charge: tuple[int, int]) -> bool:
        now_s = Fraction(now_us, 10**6)
        for i, limit in enumerate(self.limits):
            self.levels[i] = min(limit, self.levels[i] + (now_s - self.at_s) * limit / 60)
        self.at_s = now_s
        if any(level < cost for level, cost in zip(self.levels, charge, strict=True)):
            return False
        self.levels = [level - cost for level, cost in zip(self.levels, charge, strict=True)]
        return True


def drain(pool: Pool, now_us: int) -> list[tuple[int, Ticket]]:
    """Let time go on until nobody waits; returns who was decided on when."""
    decided: list[tuple[int, Ticket]] = []
    while pool.waiting:
        next_us = pool.next_at(now_us)
        assert next_us < NEVER
        assert next_us > now_us or not decided
        now_us = max(now_us, next_us)
        decided += [(now_us, ticket) for ticket in pool.tick(now_us)]
    return decided


def test_both_meters_are_charged_at_the_instant_at_which_both_can_pay() -> None:
    # charging each as soon as it can pay lets the tokens refill while the requests delay: 500 tokens too many here
    pool, server = make_pool(2, 1000), Server(2, 1000)
    tickets = [ask(pool, 0, tokens) for tokens in (0, 0, 1000, 1000)]
    assert [ticket.state for ticket in tickets] == [ADMITTED, ADMITTED, WAITING, WAITING]
    assert all(server.take(0, (1, 0)) for _ in range(2))
    instants = [at_us for at_us, _ in drain(pool, 0)]
    assert instants == [30_000_000, 90_000_000]
    assert all(server.take(at_us, (1, 1000)) for at_us in instants)


@settings(max_examples=200)
@given(
    st.sampled_from([(2, 1000), (3, 7), (60, 60), (1, 1), (500, 90_000), (30_000, 150_000_000)]),
    st.lists(st.tuples(st.sampled_from([0, 1, 2, 3]), st.sampled_from([0, 1, 2, 3])), min_size=1, max_size=12),
)
def test_the_server_admits_every_call_at_its_instant_and_would_not_have_a_microsecond_before(
    limits: tuple[int, int], calls: list[tuple[int, int]]
) -> None:
    rpm, tpm = limits
    pool, server = make_pool(rpm, tpm), Server(rpm, tpm)
    sizes = [0, 1, max(1, tpm // 2), tpm]
    gaps_us = [0, 1, MINUTE_US // rpm, MINUTE_US]
    now_us = 0
    admitted: list[tuple[int, Ticket]] = []
    for gap, size in calls:
        until_us = now_us + gaps_us[gap]
        while pool.waiting and (next_us := pool.next_at(now_us)) <= until_us:
            now_us = next_us
            admitted += [(now_us, ticket) for ticket in pool.tick(now_us)]
        now_us = until_us
        ticket = ask(pool, now_us, sizes[size])
        if ticket.state == ADMITTED:
            admitted.append((now_us, ticket))
    admitted += drain(pool, now_us)
    assert len(admitted) == len(calls)
    previous_us = 0
    for at_us, ticket in admitted:
        requests, tokens = int(ticket.amounts[0]), int(ticket.amounts[1])
        if ticket.waited_us and at_us > previous_us:
            early = Server(rpm, tpm)
            early.levels, early.at_s = list(server.levels), server.at_s
            assert not early.take(at_us - 1, (requests, tokens))
        assert server.take(at_us, (requests, tokens))
        previous_us = at_us


def test_a_large_call_is_not_overtaken_by_small_ones() -> None:
    pool = make_pool(1000, 1000)
    ask(pool, 0, 1000)
    large = ask(pool, 0, 900)
    small = [ask(pool, 1_000_000 * i, 1) for i in range(1, 30)]
    order = [ticket for _, ticket in drain(pool, 30_000_000)]
    assert order == [large, *small]


def test_what_is_larger_than_the_bucket_goes_when_it_is_full_and_is_earned_back_afterwards() -> None:
    pool = Pool("pool", (meter("rpm", 1000), meter("tpm", 1000, origin="bundled")))
    ask(pool, 0, 1)
    ask(pool, 0, 1500)
    ask(pool, 0, 1)
    assert [at_us for at_us, _ in drain(pool, 0)] == [60_000, 60_000 + 501 * 60_000]


def test_withdrawing_the_head_lets_the_next_one_go_and_an_admitted_one_gives_its_charge_back() -> None:
    pool = make_pool(1000, 1000)
    first, second, third = (ask(pool, 0, tokens) for tokens in (900, 900, 100))
    assert pool.withdraw(0, second)
    assert pool.tick(0) == [third]
    assert pool.withdraw(0, first)
    assert not pool.withdraw(0, first)
    assert ask(pool, 0, 900).state == ADMITTED
    assert pool.snapshot(0).meters["tpm"].level == 0


def test_a_ticket_with_an_earliest_time_is_in_nobodys_way_and_takes_its_place_by_number() -> None:
    pool = make_pool(1000, 1000)
    later = Ticket(pool, "model", (1, 100))
    later.earliest_us = 5_000_000
    assert not pool.try_take(0, later)
    pool.enqueue(0, later)
    ask(pool, 0, 1000)
    blocked = ask(pool, 0, 1000)
    assert drain(pool, 0) == [(6_000_000, later), (66_000_000, blocked)]


def test_a_pause_holds_everybody_and_the_first_in_line_goes_when_it_ends() -> None:
    pool = make_pool(1000, 1000)
    pool.paused_until_us = 7_000_000
    tickets = [ask(pool, 0, 1) for _ in range(3)]
    assert drain(pool, 0) == [(7_000_000, ticket) for ticket in tickets]


def test_a_deadline_ends_the_waiting_unless_the_turn_comes_at_that_very_instant() -> None:
    pool = make_pool(1000, 1000)
    ask(pool, 0, 1000)
    just, late = Ticket(pool, "model", (1, 1000)), Ticket(pool, "model", (1, 1000))
    just.deadline_us = 60_000_000
    late.deadline_us = 119_999_999
    pool.enqueue(0, just)
    pool.enqueue(0, late)
    assert drain(pool, 0) == [(60_000_000, just), (119_999_999, late)]
    assert (just.state, late.state) == (ADMITTED, EXPIRED)


def test_a_place_in_flight_comes_back_when_a_call_ends_and_not_with_time() -> None:
    pool = Pool("pool", (meter("rpm", 1000), InFlightMeter("max_in_flight", 2, origin="user")))
    first, _second, third = (ask(pool, 0, 1) for _ in range(3))
    assert third.state == WAITING
    assert pool.next_at(0) == NEVER
    assert pool.release(0, first)
    assert pool.tick(0) == [third]


def test_meters_of_minutes_and_days_are_charged_together() -> None:
    day_us = 86_400_000_000
    pool = Pool("pool", (meter("rpm", 60), meter("tpm", 1000), meter("rpd", 2, day_us)))
    for _ in range(2):
        assert pool.try_take(0, Ticket(pool, "model", (1, 1, 1)))
    pool.enqueue(0, Ticket(pool, "model", (1, 1, 1)))
    assert pool.next_at(0) == day_us // 2
    assert pool.foretell(0, "model", (1, 1, 1)).meter == "rpd"


def test_what_is_foretold_is_when_it_goes() -> None:
    pool = make_pool(1000, 1000)
    for _ in range(4):
        ask(pool, 0, 1000)
    hold = pool.foretell(0, "model", (1, 500))
    assert (hold.meter, hold.ready_at_us) == ("tpm", 210_000_000)
    last = ask(pool, 0, 500)
    assert drain(pool, 0)[-1] == (210_000_000, last)


def test_withdrawn_tickets_do_not_pile_up() -> None:
    pool = make_pool(1000, 1000)
    ask(pool, 0, 1000)
    head = ask(pool, 0, 1000)
    for _ in range(10_000):
        ticket = Ticket(pool, "model", (1, 10))
        ticket.deadline_us = 50_000_000
        pool.enqueue(0, ticket)
        pool.withdraw(0, ticket)
    assert len(pool._queue) < 200
    assert len(pool._deadlines) < 200
    assert drain(pool, 0) == [(60_000_000, head)]


@pytest.mark.parametrize("burst_s", [1, 10, 60])
def test_a_window_shorter_than_a_minute_bounds_the_burst(burst_s: int) -> None:
    pool = Pool("pool", (meter("rpm", 600, burst_us=burst_s * 1_000_000),))
    tickets = [Ticket(pool, "model", (1,)) for _ in range(700)]
    assert sum(pool.try_take(0, ticket) for ticket in tickets) == 10 * burst_s


class Traffic(RuleBasedStateMachine):
    """Calls come, go, are withdrawn and expire in any order; the server, which knows of those sent, never refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.server = make_pool(60, 1000), Server(60, 1000)
        self.now_us = 0
        self.waiting: list[Ticket] = []

    def _send(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            self.waiting.remove(ticket)
            if ticket.state == ADMITTED:
                assert self.server.take(self.now_us, (int(ticket.amounts[0]), int(ticket.amounts[1])))

    @rule(
        tokens=st.sampled_from([0, 1, 17, 500, 1000]), patience_us=st.sampled_from([NEVER, 0, 1, 999_999, 30_000_000])
    )
    def ask(self, tokens: int, patience_us: int) -> None:
        ticket = Ticket(self.pool, "model", (1, tokens))
        if patience_us < NEVER:
            ticket.deadline_us = self.now_us + patience_us
        self.waiting.append(ticket)
        if self.pool.try_take(self.now_us, ticket):
            self._send([ticket])
        else:
            self.pool.enqueue(self.now_us, ticket)
            self._send(self.pool.tick(self.now_us))

    @rule(gap_us=st.sampled_from([1, 59_999, 60_000, 60_001, 1_000_000, 17_000_000, 60_000_000]))
    def wait(self, gap_us: int) -> None:
        until_us = self.now_us + gap_us
        while (next_us := self.pool.next_at(self.now_us)) <= until_us:
            self.now_us = next_us
            self._send(self.pool.tick(next_us))
        self.now_us = until_us

    @rule(place=st.integers(0, 100))
    def withdraw(self, place: int) -> None:
        if self.waiting:
            ticket = self.waiting.pop(place % len(self.waiting))
            assert self.pool.withdraw(self.now_us, ticket)
            self._send(self.pool.tick(self.now_us))

    @rule()
    def send_and_take_back(self) -> None:
        # admitted, and withdrawn before it was sent: the server saw nothing
        ticket = Ticket(self.pool, "model", (1, 100))
        if self.pool.try_take(self.now_us, ticket):
            self.pool.withdraw(self.now_us, ticket)

    @invariant()
    def the_books_agree(self) -> None:
        assert self.pool.waiting == len(self.waiting)
        assert all(ticket.state == WAITING for ticket in self.waiting)
        snapshot = self.pool.snapshot(self.now_us)
        for level, name in zip(self.server.levels, ("rpm", "tpm"), strict=True):
            limit = snapshot.meters[name].limit
            now_level = min(
                Fraction(int(limit)), level + (Fraction(self.now_us, 10**6) - self.server.at_s) * int(limit) / 60
            )
            assert Fraction(self._level(name), MINUTE_US) == now_level

    def _level(self, name: str) -> int:
        (found,) = [m for m in self.pool.meters if m.name == name]
        assert isinstance(found, BucketMeter)
        return found.bucket.level_at(self.now_us)


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
