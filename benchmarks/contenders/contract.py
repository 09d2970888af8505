"""What a contender is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from openai import AsyncOpenAI

__all__ = ["Body", "Call", "Job", "Make", "client_for"]

Body = Mapping[str, Any]

Call = Callable[[Body], Awaitable[object]]
"""Makes one chat call, as often as it takes; raises what a caller would get."""

PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Job:
    """What all contenders are told alike.

    Attributes:
        base_url: where the server is.
        rpm, tpm: the account's limits.
        workers: how many calls are made at the same time.
        mean_tokens: what a call reserves on average, for those that can only count calls.
    """

    base_url: str
    rpm: int
    tpm: int
    workers: int
    mean_tokens: float

    @property
    def calls_per_s(self) -> float:
        """How many calls the limits allow each second, by those averages."""
        return min(self.rpm, self.tpm / max(1.0, self.mean_tokens)) / 60


Make = Callable[[Job], AbstractAsyncContextManager[Call]]


def client_for(job: Job, *, retries: int) -> AsyncOpenAI:
    """Make the SDK's client, with so many retries of its own."""
    return AsyncOpenAI(base_url=job.base_url, api_key="benchmark", max_retries=retries, timeout=PATIENCE_S)
