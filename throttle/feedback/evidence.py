"""What a server books of a call, told by what its headers show: which of the charge models explains the levels.

Two answers whose calls left one right after the other show what the second was charged: the level that the first one
left, plus what flowed in since (the bucket may have become full meanwhile), less the level that the second one left.
From a bucket that was full, and so for the very first call, that is exact to the token; else it is off by what flows
in during the jitter of the way there. Each model is scored by how far its amount is from what was seen, in units of
that error.

Pure: the caller says which calls were neighbours, and when they left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["Evidence", "Sample"]

JITTER_S: Final = 0.03
"""The error of the time between two arrivals, where nothing better is known: the way there varies by some hundredths
of a second.
"""

ROUNDING: Final = 2.0
"""Tokens by which a formula may be off and still be the one: the recordings' own scatter."""

OUTLIER: Final = 6.0
"""No sample counts for more than so many errors: calls overtake one another, and others use the account."""

HITS_ENOUGH: Final = 3
"""Exact samples that agree with one model, after which nothing more is asked."""

SAMPLES_ENOUGH: Final = 60
"""Samples after which nothing more is asked."""

SAMPLES_LEAST: Final = 6
"""Inexact samples before they may change anything."""

BETTER: Final = 0.6
"""How much smaller the loss of another model must be."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One answered call.

    Attributes:
        number: its place in the order of leaving, in its pool.
        at_s: when it left.
        remaining: the level that its answer shows.
        limit: what the bucket holds when full.
        rate: what flows in, per second.
    """

    number: int
    at_s: float
    remaining: float
    limit: float
    rate: float


class Evidence:
    """The charge model of one model's calls at one endpoint, followed until it is certain."""

    __slots__ = ("_hits", "_last", "_losses", "_samples", "charge")

    def __init__(self, charge: str) -> None:
        """Begin with what is known of the host and endpoint."""
        self.charge = charge
        self._losses: dict[str, float] = {}
        self._hits = 0
        self._samples = 0
        self._last: Sample | None = None

    @property
    def is_settled(self) -> bool:
        """Whether enough was seen, so that nothing more need be counted for this."""
        return self._hits >= HITS_ENOUGH or self._samples >= SAMPLES_ENOUGH

    def see(self, sample: Sample, amounts: Mapping[str, float]) -> bool:
        """Compare what an answered call was charged with what each model says; tells whether another model is taken
        now.

        Args:
            sample: the call and the level that its answer shows.
            amounts: what each charge model books of it.
        """
        before = self._level_before(sample)
        last = self._last
        if last is None or sample.number > last.number:
            self._last = sample
        if before is None:
            return False
        level, error = before
        seen = level - sample.remaining
        self._samples += 1
        for charge, amount in amounts.items():
            off = abs(seen - amount) / (error + ROUNDING + 0.005 * amount)
            self._losses[charge] = self._losses.get(charge, 0.0) + min(off, OUTLIER)
        return self._choose(seen, error, amounts)

    def _level_before(self, sample: Sample) -> tuple[float, float] | None:
        """Tell the level just before a call arrived, and by how much that may be off; None where nothing tells."""
        if sample.number == 1:
            return sample.limit, 0.0
        last = self._last
        if last is None or sample.number != last.number + 1:
            return None
        level = last.remaining + sample.rate * (sample.at_s - last.at_s)
        error = sample.rate * JITTER_S
        return (sample.limit, 0.0) if level - 2 * error > sample.limit else (min(level, sample.limit), error)

    def _choose(self, seen: float, error: float, amounts: Mapping[str, float]) -> bool:
        ranked = sorted(amounts, key=lambda charge: self._losses[charge])
        best = ranked[0]
        if not error:
            fitting = [charge for charge, amount in amounts.items() if abs(seen - amount) <= ROUNDING + 0.005 * amount]
            if self.charge in fitting:
                self._hits += 1
                return False
            if fitting and best in fitting:
                self.charge, self._hits = best, 1
                return True
        elif self._samples >= SAMPLES_LEAST and self._losses[best] < BETTER * self._losses[self.charge]:
            self.charge, self._hits = best, 0
            return True
        return False
