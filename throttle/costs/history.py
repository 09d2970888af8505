"""What answers have used: how many tokens the next one is expected to have."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

from throttle.costs.endpoints import normalise

__all__ = ["OutputHistory"]

_LEAST: Final = 8
"""Answers that must have been seen before they are believed more than the starting value."""


class OutputHistory:
    """The output tokens of recent answers, by model and endpoint, and a quantile of them.

    Pure and bounded: `recent` answers of each of at most `keys` pairs, the pair unused for longest forgotten first. Not
    safe for threads by itself: its owner has a lock.
    """

    __slots__ = ("_answers", "_keys", "_known", "_quantile", "_recent")

    def __init__(self, *, quantile: float = 0.9, recent: int = 128, keys: int = 256) -> None:
        """Expect what `quantile` of the `recent` answers did not exceed."""
        if not 0 < quantile <= 1:
            raise ValueError(f"quantile is {quantile}; it lies between 0 and 1")
        self._quantile = quantile
        self._recent = max(_LEAST, recent)
        self._keys = max(1, keys)
        self._answers: OrderedDict[tuple[str, str], deque[int]] = OrderedDict()
        self._known: dict[tuple[str, str], int] = {}

    def observe(self, model: str, endpoint: str, output_tokens: int, *, choices: int = 1) -> None:
        """Note what an answer used, hidden tokens included; of several `choices` each is taken to have its part."""
        key = (model, normalise(endpoint))
        answers = self._answers.get(key)
        if answers is None:
            if len(self._answers) >= self._keys:
                self._known.pop(self._answers.popitem(last=False)[0], None)
            answers = self._answers[key] = deque(maxlen=self._recent)
        self._answers.move_to_end(key)
        answers.append(max(0, -(-output_tokens // max(1, choices))))
        self._known.pop(key, None)

    def expected(self, model: str, endpoint: str) -> int | None:
        """Return what one answer is expected to use, or None while too few were seen to tell.

        None makes `CallCost` take its starting value.
        """
        key = (model, normalise(endpoint))
        answers = self._answers.get(key)
        if answers is None or len(answers) < _LEAST:
            return None
        known = self._known.get(key)
        if known is None:
            ranked = sorted(answers)
            known = self._known[key] = ranked[min(len(ranked) - 1, int(self._quantile * len(ranked)))]
        return known
