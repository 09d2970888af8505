"""A small bucket of our own in front of a meter, for servers that take no bursts or to leave others their share."""

from __future__ import annotations

__all__ = ["Trickle"]


class Trickle:
    """Holds `room` at most and refills at `rate` a second; empty at first."""

    __slots__ = ("clock", "level", "rate", "room")

    def __init__(self, rate: float, room: float, now: float) -> None:
        self.rate = rate
        self.room = room
        self.level = 0.0
        self.clock = now

    def wait(self, now: float, need: float) -> float:
        """Tell in how many seconds `need` will be there; what exceeds the room goes when it is full."""
        self._advance(now)
        lack = min(need, self.room) - self.level
        return lack / self.rate if lack > 0.0 else 0.0

    def take(self, now: float, amount: float) -> None:
        """Charge `amount`, whether it is there or not: it has to be earned back before anything else goes."""
        self._advance(now)
        self.level -= amount

    def scale(self, rate: float) -> None:
        """Adopt another rate; the room keeps holding as many seconds of it."""
        self.room *= rate / self.rate
        self.rate = rate

    def _advance(self, now: float) -> None:
        if now > self.clock:
            self.level = min(self.room, self.level + (now - self.clock) * self.rate)
            self.clock = now
