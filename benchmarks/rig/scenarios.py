"""The jobs that are run, and the servers that they meet.

Nothing runs on a changed clock: limits are a minute's, and high, so that a job of some seconds is already bound by
them. Each job takes `seconds` at the server's full rate, whatever is in the buckets at the start comes on top.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from throttle.simulator.charges import book

__all__ = ["BY_NAME", "SCENARIOS", "Scenario"]

MODEL: Final = "gpt-4o-mini"
WORDS: Final = ("limit", "queue", "token", "meter", "bucket", "minute", "answer")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A job and its server.

    Attributes:
        name, about: for the tables.
        rpm, tpm: what the server enforces, and what everyone is told.
        words: how long prompts are, drawn evenly.
        max_tokens: set on each call; None: on none.
        start: how full the server is at the start.
        latency_s: between which an answer takes, drawn evenly.
        server: its other settings.
    """

    name: str
    about: str
    rpm: int = 6_000
    tpm: int = 360_000
    words: tuple[int, ...] = (20, 60, 200, 400)
    max_tokens: int | None = 200
    start: float = 0.0
    latency_s: tuple[float, float] = (0.1, 0.4)
    server: Mapping[str, Any] = field(default_factory=dict)

    @property
    def charge(self) -> str:
        """What the server books."""
        return str(self.server.get("charge", "characters"))

    def settings(self, seed: int) -> dict[str, Any]:
        """Tell the simulator's settings."""
        told: dict[str, Any] = {"latency_s": list(self.latency_s), "output_tokens": [20, 120], "others": []}
        told |= {"charge": self.charge, **self.server, "seed": seed, "start": self.start}
        return {**told, "limits": {"rpm": self.rpm, "tpm": self.tpm}}

    def bodies(self, seconds: float, seed: int) -> list[dict[str, Any]]:
        """Make the calls that the server lets through in `seconds`, the level at the start included."""
        draw = random.Random(seed)
        bodies: list[dict[str, Any]] = []
        tokens, share = 0.0, self.start + seconds / 60 * (1 - self.taken)
        while tokens < self.tpm * share and len(bodies) < self.rpm * share:
            bodies.append(self._body(draw))
            tokens += self.booked(bodies[-1])
        return bodies

    @property
    def taken(self) -> float:
        """The part of the limits that others on the account take."""
        others = self.server.get("others")
        return float(others["rpm"] * others["tokens"]) / self.tpm if others else 0.0

    def booked(self, body: Mapping[str, Any]) -> float:
        """Tell what the server books in the end, on average where that depends on the answer."""
        booking = book("chat/completions", body, MODEL, charge=self.charge)
        if not booking.settles:
            return booking.tokens
        low, high = self.server.get("output_tokens", (20, 120))
        return float(booking.input_tokens + (low + high) / 2)

    def ideal_s(self, requests: int, tokens: float) -> float:
        """Tell when the last of so many calls, booked at so many tokens, can be let through at the earliest."""
        free = 1 - self.taken
        each = (requests / self.rpm, tokens / self.tpm)
        return max(0.0, *((part - self.start) * 60 / free for part in each))

    def _body(self, draw: random.Random) -> dict[str, Any]:
        text = " ".join(draw.choice(WORDS) for _ in range(draw.choice(self.words)))
        body: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
        return body if self.max_tokens is None else {**body, "max_tokens": self.max_tokens}


SCENARIOS: Final = (
    Scenario("requests", "rpm binds, server empty", rpm=1_800, tpm=4_000_000, words=(10, 20), max_tokens=16),
    Scenario("tokens", "tpm binds, booked as OpenAI's chat today, server empty"),
    Scenario("tokens-full", "the same with longer prompts, server full", words=(200, 400, 800), start=1.0),
    Scenario("tokens-2024", "tpm binds, max_tokens booked as until March 2025, server empty",
             server={"charge": "maximum"}),
    Scenario("mixed", "both bind, calls from 5 to 1,700 tokens, server half full", rpm=900, words=(4, 40, 400, 1_200),
             max_tokens=100, start=0.5),
    Scenario("others", "others take 40 % of the tokens, server empty",
             server={"others": {"pattern": "poisson", "rpm": 720, "tokens": 200}}),
    Scenario("under-estimated", "usage is booked, no max_tokens, answers of 300 to 500, server empty", words=(20, 60),
             max_tokens=None, server={"charge": "usage", "output_tokens": (300, 500)}),
)  # fmt: skip

BY_NAME: Final = {each.name: each for each in SCENARIOS}
