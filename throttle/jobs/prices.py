"""What tokens cost: a list that the user gives, since prices change and differ by contract."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import yaml

from throttle.errors import LimitsError, Mistake
from throttle.jobs.usage import Usage

__all__ = ["Price", "Prices", "load_prices"]

KEYS: Final = ("input", "output", "cached_input")
MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """A model's price, in the currency of the list, a million tokens."""

    input: float
    output: float = 0.0
    cached_input: float | None = None

    def of(self, usage: Usage) -> float:
        """Return what this usage costs."""
        cached = self.input if self.cached_input is None else self.cached_input
        fresh = usage.input_tokens - usage.cached_tokens
        return (fresh * self.input + usage.cached_tokens * cached + usage.output_tokens * self.output) / MILLION


class Prices:
    """Prices by model: an exact name first, then the longest pattern that fits."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = dict(prices)
        self._patterns = sorted((name for name in prices if "*" in name or "?" in name), key=len, reverse=True)

    def of(self, model: str) -> Price | None:
        """Return the price of a model, None where the list has none."""
        if price := self._prices.get(model):
            return price
        fitting = next((pattern for pattern in self._patterns if fnmatchcase(model, pattern)), None)
        return self._prices[fitting] if fitting else None


def load_prices(source: str | os.PathLike[str] | Mapping[str, Any]) -> Prices:
    """Load a list of prices, `{model: {input: 0.15, output: 0.60, cached_input: 0.075}}`, a million tokens each.

    Args:
        source: a YAML or JSON file, or such a dict. Names may be patterns (`gpt-4o-mini-*`).

    Raises:
        LimitsError: the file is missing or holds something else.
    """
    if isinstance(source, Mapping):
        return Prices(_read(source, "prices="))
    path = Path(source)
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LimitsError(str(path), [Mistake(0, 0, (error.strerror or str(error)).lower())]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise LimitsError(
            str(path), [Mistake(line, column, "not YAML", str(getattr(error, "problem", "") or error))]
        ) from None
    return Prices(_read(value, str(path)))


def _read(value: Any, source: str) -> dict[str, Price]:
    if not isinstance(value, Mapping) or not value:
        raise LimitsError(
            source, [Mistake(0, 0, "prices are a map of models", "gpt-4o-mini: {input: 0.15, output: 0.60}")]
        )
    return {str(model): _read_price(str(model), price, source) for model, price in value.items()}


def _read_price(model: str, price: Any, source: str) -> Price:
    if not isinstance(price, Mapping) or "input" not in price:
        raise LimitsError(
            source, [Mistake(0, 0, f"{model}: a price has at least an input", "{input: 0.15, output: 0.60}")]
        )
    for key, amount in price.items():
        if key not in KEYS:
            raise LimitsError(source, [Mistake(0, 0, f"{model}: unknown key {key!r}", f"one of {', '.join(KEYS)}")])
        if isinstance(amount, bool) or not isinstance(amount, int | float) or amount < 0:
            raise LimitsError(
                source, [Mistake(0, 0, f"{model}: {key} is {amount!r}", "a number of at least 0, a million tokens")]
            )
    return Price(**{key: float(amount) for key, amount in price.items()})
