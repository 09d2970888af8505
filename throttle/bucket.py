"""The exact arithmetic of one token bucket. Time is an argument; nothing here reads a clock.

A bucket refills continuously at `limit` tokens a window and holds at most `capacity` of them. To keep every figure a
whole number, levels are counted in *grains*: one token is `window_us` grains, so that one microsecond refills exactly
`limit` grains and nothing is ever rounded away. A wait is rounded up to the next whole microsecond and never down: at
the announced instant the charge is there, one microsecond before it is not.

Invariant: `level <= capacity`. The level may be below zero, where a charge larger than the bucket was let through or a
correction found less than was believed; it then has to be earned back before anything else goes.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil

__all__ = ["NEVER", "Bucket", "grains_of"]

NEVER = 1 << 62
"""An instant that does not come, in microseconds."""


def grains_of(amount: float | Fraction, window_us: int) -> int:
    """Convert an amount of tokens to grains, rounded up; exact for whole numbers and fractions."""
    if type(amount) is int:
        return amount * window_us
    return ceil(amount * window_us)


class Bucket:
    """One bucket: `level` grains at the instant `at_us`. Most callers want `ready_at`, then `take` at that instant."""

    __slots__ = ("at_us", "capacity", "level", "limit", "window_us")

    def __init__(
        self, limit: int, window_us: int, *, at_us: int, capacity: int | None = None, level: int | None = None
    ):
        """Make a bucket of `limit` tokens each `window_us`.

        Args:
            limit: tokens that flow in during one window; above zero.
            window_us: the window in microseconds; above zero.
            at_us: the instant of the level.
            capacity: what it holds, in grains; one window's worth by default.
            level: what is in it, in grains; full by default.
        """
        if limit <= 0 or window_us <= 0:
            raise ValueError(f"a bucket needs a limit and a window above zero, not {limit} in {window_us} µs")
        self.limit = limit
        self.window_us = window_us
        self.capacity = limit * window_us if capacity is None else capacity
        self.level = self.capacity if level is None else min(level, self.capacity)
        self.at_us = at_us

    def level_at(self, now_us: int) -> int:
        """Tell the level at `now_us`, in grains. A clock that jumped back brings nothing and takes nothing."""
        gap_us = now_us - self.at_us
        if gap_us <= 0:
            return self.level
        level = self.level + gap_us * self.limit
        return level if level < self.capacity else self.capacity

    def ready_at(self, now_us: int, grains: int) -> int:
        """Tell the first instant, not before `now_us`, at which `grains` are there; NEVER where they exceed the
        capacity.
        """
        if grains > self.capacity:
            return NEVER
        lack = grains - self.level_at(now_us)
        if lack <= 0:
            return now_us
        return max(now_us, self.at_us) - (-lack // self.limit)

    def advance(self, now_us: int) -> None:
        """Bring the level up to `now_us`."""
        gap_us = now_us - self.at_us
        if gap_us > 0:
            level = self.level + gap_us * self.limit
            self.level = level if level < self.capacity else self.capacity
            self.at_us = now_us

    def take(self, now_us: int, grains: int) -> None:
        """Charge `grains` at `now_us`, whether they are there or not."""
        self.advance(now_us)
        self.level -= grains

    def give(self, now_us: int, grains: int) -> None:
        """Give `grains` back at `now_us`; what would go over the brim is lost, as it is at the server."""
        self.advance(now_us)
        self.level = min(self.capacity, self.level + grains)

    def resize(self, now_us: int, limit: int, capacity: int) -> None:
        """Change limit and capacity at `now_us`; the level stays, but for what no longer fits."""
        self.advance(now_us)
        self.limit = limit
        self.capacity = capacity
        self.level = min(self.level, capacity)

    def __repr__(self) -> str:
        level, capacity = self.level / self.window_us, self.capacity / self.window_us
        return (
            f"<Bucket {level:.6g} of {capacity:.6g} at {self.at_us} µs, +{self.limit} each {self.window_us / 1e6:g} s>"
        )
