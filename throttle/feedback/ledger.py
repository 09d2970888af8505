"""What was sent and when, so that a late answer can be placed: how much left after its call, how much left around it.

Sums are cumulative, so any span is a difference of two of them, and forgetting old entries loses resolution but never
an amount. Memory is bounded: the older half of a full ledger keeps every second entry, so a quiet meter remembers
minutes call by call, and a busy one the last seconds call by call and minutes in steps.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque

__all__ = ["MOST_ENTRIES", "Ledger"]

MOST_ENTRIES = 8192
MOST_VOIDS = (
    1024  # refused calls that are remembered: a server that refuses more than that at a time isn't learned from
)
KEEP_S = 200.0  # three times the longest answer that loops are expected to close over


class Ledger:
    """The sent calls of one meter. `sums` counts own charge as believed when sent, `totals` the estimates of each
    model."""

    __slots__ = ("number", "squares", "sums", "times", "totals", "voids")

    def __init__(self) -> None:
        self.number = 0
        self.times: list[float] = []
        self.sums: list[float] = [0.0]
        self.squares: list[float] = [0.0]
        self.totals: list[float] = []
        self.voids: deque[tuple[float, int, int, float, float, float]] = deque(maxlen=MOST_VOIDS)

    def add(self, now: float, k: int, estimate: float, own: float) -> tuple[int, tuple[float, ...], float]:
        """Enter a call of model `k`; returns its number, all totals, and the sum of own charge, this call included."""
        totals, sums, squares = self.totals, self.sums, self.squares
        totals[k] += estimate
        self.times.append(now)
        total = sums[-1] + own
        sums.append(total)
        squares.append(squares[-1] + own * own)
        self.number += 1
        if len(self.times) > MOST_ENTRIES:
            self.thin(now)
        return self.number, tuple(totals), total

    def void(self, now: float, number: int, k: int, estimate: float, at: float, own: float) -> None:
        """Note that so much of a call that left at `at`, or all of it, was not charged after all."""
        voids = self.voids
        while voids and voids[0][0] < now - KEEP_S:
            voids.popleft()
        voids.append((now, number, k, estimate, at, own))

    def since(self, number: int, totals: tuple[float, ...]) -> list[float]:
        """Tell the estimates of each model that left after the call that got this number and these totals."""
        gone = [total - then for total, then in zip(self.totals, totals, strict=False)]
        gone += self.totals[len(gone) :]
        for _, voided, k, estimate, _, _ in self.voids:
            if voided > number:
                gone[k] -= estimate
        return gone

    def between(self, start: float, end: float) -> float:
        """Tell how much own charge left from `start` to `end`."""
        return self.sums[bisect_right(self.times, end)] - self.sums[bisect_left(self.times, start)]

    def returned(self, start: float) -> float:
        """Tell how much own charge of the calls that left after `start` was not charged after all."""
        back = 0.0
        for voided_at, _, _, _, at, own in reversed(self.voids):
            if voided_at < start:
                break  # and so were all before it
            if at >= start:
                back += own
        return back

    def around(self, at: float, reach_s: float) -> tuple[float, float]:
        """Tell the sums of own charge just before and just after `at` plus and minus `reach_s`."""
        times, sums = self.times, self.sums
        return sums[bisect_left(times, at - reach_s)], sums[bisect_right(times, at + reach_s)]

    def squares_since(self, start: float) -> float:
        """Tell the sum of the squares of the charges that left after `start`."""
        return self.squares[-1] - self.squares[bisect_right(self.times, start)]

    def reached_at(self, total: float) -> float | None:
        """Tell when the sum of own charge came to `total`; None where that is longer ago than remembered."""
        at = bisect_left(self.sums, total)
        return self.times[min(at, len(self.times)) - 1] if at > 0 and self.times else None

    def thin(self, now: float) -> None:
        """Forget what is older than any answer may be, and of the older half of the rest every second entry."""
        first = bisect_left(self.times, now - KEEP_S)
        del self.times[:first], self.sums[:first], self.squares[:first]
        half = len(self.times) // 2
        if len(self.times) > MOST_ENTRIES // 2:
            # an entry's sum stands one place behind its time: dropping both of a pair adds the call to the next one
            del self.times[0:half:2], self.sums[1 : half + 1 : 2], self.squares[1 : half + 1 : 2]
