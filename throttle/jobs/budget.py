"""A bound on what a whole job may use. Pure: reserved before a call begins, settled when its usage is known."""

from __future__ import annotations

from dataclasses import dataclass

from throttle.jobs.usage import Usage

__all__ = ["Budget"]


@dataclass(slots=True)
class Budget:
    """What a job has used and may use.

    Reservations are for the largest a call may come to, so that the bound holds as far as an estimate of tokens does.

    Attributes:
        max_tokens: the most tokens, in and out; None for any number.
        max_cost: the most money; None for any.
        tokens, cost: used so far.
        reserved_tokens, reserved_cost: held for calls that are out.
    """

    max_tokens: int | None = None
    max_cost: float | None = None
    tokens: int = 0
    cost: float = 0.0
    reserved_tokens: int = 0
    reserved_cost: float = 0.0

    @property
    def bounded(self) -> bool:
        return self.max_tokens is not None or self.max_cost is not None

    def reserve(self, tokens: int, cost: float) -> bool:
        """Hold so much for a call; False, and nothing is held, if that might exceed the budget."""
        if self.max_tokens is not None and self.tokens + self.reserved_tokens + tokens > self.max_tokens:
            return False
        if self.max_cost is not None and self.cost + self.reserved_cost + cost > self.max_cost:
            return False
        self.reserved_tokens += tokens
        self.reserved_cost += cost
        return True

    def settle(self, tokens: int, cost: float) -> None:
        """Let go what was held for a call."""
        self.reserved_tokens -= tokens
        self.reserved_cost = self.reserved_cost - cost if self.reserved_tokens else 0.0

    def use(self, usage: Usage, cost: float) -> None:
        """Count what an answer used."""
        self.tokens += usage.tokens
        self.cost += cost

    def told(self) -> str:
        """Tell in words what it has come to."""
        parts = []
        if self.max_tokens is not None:
            parts.append(f"{self.tokens:,} of {self.max_tokens:,} tokens")
        if self.max_cost is not None:
            parts.append(f"{self.cost:.4f} of {self.max_cost:g} in money")
        return " and ".join(parts)
