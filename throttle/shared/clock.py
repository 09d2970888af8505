"""The store's clock in terms of our own, learned from the round trips."""

from __future__ import annotations

__all__ = ["StoreClock"]

LEAK = 1e-4
"""How much faster the store's clock may go than ours: a hundred parts in a million is a bad quartz."""


class StoreClock:
    """Turns instants of the store into our own, never too early.

    The store read its clock somewhere between our sending and our receiving, so its lead over ours lies between
    `now - received` and `now - sent`. The largest lower bound is kept: with it an instant comes late by the fastest
    way back that was seen, and never early.
    """

    __slots__ = ("_at_us", "lead_us")

    def __init__(self) -> None:
        self.lead_us: int | None = None
        self._at_us = 0

    def see(self, sent_us: int, now_us: int, received_us: int) -> None:
        """Learn from a round trip: when it began and ended by our clock, and what the store's clock said."""
        least, most = now_us - received_us, now_us - sent_us
        if self.lead_us is None:
            self.lead_us = least
        else:
            aged = self.lead_us - int(LEAK * (received_us - self._at_us))
            self.lead_us = max(least, aged) if aged <= most else least  # else the store's clock was set back
        self._at_us = received_us

    def to_local(self, store_us: int) -> int:
        """Turn an instant of the store into one of ours."""
        return store_us - (self.lead_us or 0)

    def to_store(self, local_us: int) -> int:
        """Turn an instant of ours into one of the store."""
        return local_us + (self.lead_us or 0)
