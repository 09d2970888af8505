"""The errors of this package: a small tree under `ThrottleError`.

Every one is also an `openai.OpenAIError`, so that `except` clauses which people already have keep working, and so that
every supported SDK lets it pass as it is: never retried, never wrapped in `APIConnectionError`.
"""

from __future__ import annotations

from dataclasses import dataclass

from openai import OpenAIError

__all__ = ["LimitsError", "Mistake", "RequestTooLarge", "StoreError", "ThrottleError", "WaitTimeout"]


class ThrottleError(OpenAIError):
    """The root: whatever this package raises of its own accord."""


class WaitTimeout(ThrottleError, TimeoutError):
    """The call would have had to wait longer than its `max_wait`; nothing was sent and nothing was charged.

    Attributes:
        pool: the pool in which the call waited.
        meter: the meter that held it back (`"tpm"`, …), or None where it stood behind other calls only.
        max_wait_s: the bound that was given, in seconds.
        ready_in_s: when it would have gone, in seconds from now, as far as known; None where that can't be foretold.
    """

    def __init__(
        self, message: str, *, pool: str, meter: str | None, max_wait_s: float, ready_in_s: float | None
    ) -> None:
        super().__init__(message)
        self.pool = pool
        self.meter = meter
        self.max_wait_s = max_wait_s
        self.ready_in_s = ready_in_s


class RequestTooLarge(ThrottleError):
    """The call costs more than its bucket can ever hold; nothing was sent and nothing was charged.

    Attributes:
        pool: the pool it was meant for.
        meter: the meter that can't hold it.
        requested: what the call costs in that meter's unit.
        capacity: what the bucket holds when full.
    """

    def __init__(self, message: str, *, pool: str, meter: str, requested: float, capacity: float) -> None:
        super().__init__(message)
        self.pool = pool
        self.meter = meter
        self.requested = requested
        self.capacity = capacity


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong in a limits file: where (1-based; 0 where there is no such place), what, and how to mend
    it.
    """

    line: int
    column: int
    what: str
    remedy: str = ""

    def at(self, source: str) -> str:
        """Tell it in one line, with the place in front as compilers do."""
        place = f"{source}:{self.line}:{self.column}" if self.line else source
        return f"{place}: {self.what}{': ' if self.remedy else ''}{self.remedy}"


class LimitsError(ThrottleError, ValueError):
    """Limits that can't be used: a file that is missing or wrong, an unknown tier, a contradiction.

    Attributes:
        source: the file's path, or what else the limits came from.
        mistakes: every mistake that was found, each with its line and column.
    """

    def __init__(self, source: str, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(mistake.at(source) for mistake in mistakes))
        self.source = source
        self.mistakes = tuple(mistakes)


class StoreError(ThrottleError):
    """The store in which levels live can't be used; nothing was sent and nothing was charged."""
