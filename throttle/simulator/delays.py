"""How long an answer takes: drawn anew for each call from a range or a distribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from random import Random
from typing import Any

from throttle.simulator.errors import SettingsError

__all__ = ["Delay", "read_delay"]

SHAPES = ("uniform", "lognormal", "exponential", "values")
LONGEST_S = 3600.0


@dataclass(frozen=True, slots=True)
class Delay:
    """A distribution of seconds: `uniform` (low, high), `lognormal` (median, sigma), `exponential` (mean), `values`."""

    shape: str
    figures: tuple[float, ...]
    most_s: float = LONGEST_S

    def draw(self, random: Random) -> float:
        """Draw one delay, in seconds."""
        if self.shape == "uniform":
            low, high = self.figures
            return low if low == high else random.uniform(low, high)
        if self.shape == "lognormal":
            median, sigma = self.figures
            return min(self.most_s, random.lognormvariate(log(median), sigma) if median else 0.0)
        if self.shape == "exponential":
            return min(self.most_s, random.expovariate(1 / self.figures[0]) if self.figures[0] else 0.0)
        return random.choice(self.figures)


def read_delay(name: str, value: Any) -> Delay:
    """Read a delay: a number of seconds, `(low, high)`, or `{"lognormal": [median, sigma], "most_s": 60}` and the like.

    Raises:
        SettingsError: if it is none of these, below zero or longer than an hour.
    """
    shape, figures, most_s = "uniform", value, LONGEST_S
    if isinstance(value, Mapping):
        own = dict(value)
        most_s = own.pop("most_s", LONGEST_S)
        if len(own) != 1 or next(iter(own)) not in SHAPES:
            raise SettingsError(f"{name}: give one of {', '.join(SHAPES)}, not {', '.join(own) or 'nothing'}")
        shape, figures = next(iter(own.items()))
    if isinstance(figures, (int, float)):
        figures = (figures, figures) if shape == "uniform" else (figures,)
    numbers = tuple(figures) if isinstance(figures, (list, tuple)) else ()
    wanted = {"uniform": 2, "lognormal": 2, "exponential": 1}.get(shape, len(numbers) or 1)
    if len(numbers) != wanted or not all(isinstance(n, (int, float)) and 0 <= n <= LONGEST_S for n in numbers):
        raise SettingsError(
            f"{name}: {shape} takes {wanted} number(s) of seconds from 0 to {LONGEST_S:.0f}, not {figures!r}"
        )
    if shape == "uniform" and numbers[0] > numbers[1]:
        raise SettingsError(f"{name}: the range begins at {numbers[0]} and ends before that, at {numbers[1]}")
    return Delay(shape, tuple(float(n) for n in numbers), float(most_s))
