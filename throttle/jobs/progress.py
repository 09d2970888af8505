"""How far a job is: counted as it goes, told when asked."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from throttle.jobs.result import Result
from throttle.jobs.usage import Usage

__all__ = ["Progress", "Tally"]

RATE_OVER_S: Final = 10.0
"""The rate is that of so many seconds."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Attributes:
        total: lines of the job.
        answered: lines with an answer, those of earlier runs included.
        failed: lines that failed, those of earlier runs included.
        answered_now, failed_now: of these, in this run.
        waiting: calls that the limiter holds back.
        out: calls sent and not answered.
        per_minute: lines ended in a minute, at the rate of the last seconds.
        elapsed_s: how long this run has gone on.
        eta_s: when it will be through at that rate, in seconds from now; None where there is no rate yet.
        usage: tokens of this run's answers.
        cost: what they cost, where prices are known.
        outage_s: how long the server has been out of reach, None where it isn't.
    """

    total: int
    answered: int
    failed: int
    answered_now: int
    failed_now: int
    waiting: int
    out: int
    per_minute: float
    elapsed_s: float
    eta_s: float | None
    usage: Usage
    cost: float
    outage_s: float | None = None

    @property
    def left(self) -> int:
        return self.total - self.answered - self.failed


@dataclass(slots=True)
class Tally:
    """Counts the results of a run."""

    total: int
    answered_before: int
    failed_before: int
    begun_s: float
    answered: int = 0
    failed: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: float = 0.0
    _marks: deque[tuple[float, int]] = field(default_factory=deque)

    def count(self, result: Result, cost: float, now_s: float) -> None:
        """Count a result that came in now."""
        if result.error is None:
            self.answered += 1
            self.usage += result.usage
            self.cost += cost
        else:
            self.failed += 1
        done = self.answered + self.failed
        if self._marks and now_s - self._marks[-1][0] < RATE_OVER_S / 40:
            self._marks[-1] = self._marks[-1][0], done
        else:
            self._marks.append((now_s, done))
        self._forget(now_s)

    def progress(self, now_s: float, *, waiting: int, out: int, outage_s: float | None) -> Progress:
        """Tell how far the run is."""
        answered = self.answered_before + self.answered
        failed = self.failed_before + self.failed
        per_s = self._per_s(now_s)
        left = self.total - answered - failed
        return Progress(
            total=self.total,
            answered=answered,
            failed=failed,
            answered_now=self.answered,
            failed_now=self.failed,
            waiting=waiting,
            out=out,
            per_minute=per_s * 60,
            elapsed_s=now_s - self.begun_s,
            eta_s=left / per_s if per_s else None,
            usage=self.usage,
            cost=self.cost,
            outage_s=outage_s,
        )

    def _per_s(self, now_s: float) -> float:
        """Tell the rate of the last seconds, of fewer at the beginning."""
        self._forget(now_s)
        since_s = max(self.begun_s, now_s - RATE_OVER_S)
        before = self._marks[0][1] if self._marks and self._marks[0][0] <= now_s - RATE_OVER_S else 0
        return (self.answered + self.failed - before) / (now_s - since_s) if now_s > since_s else 0.0

    def _forget(self, now_s: float) -> None:
        """Forget marks but for the last one from before the span that the rate is of."""
        while len(self._marks) > 1 and self._marks[1][0] <= now_s - RATE_OVER_S:
            self._marks.popleft()
