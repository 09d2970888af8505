"""Mistakes made on purpose: each must turn the simulation red, or it proves nothing."""

from __future__ import annotations

import math

import pytest

from tests.simulation.checks import complaints
from tests.simulation.scenarios import BY_NAME
from tests.simulation.world import MINUTE_US, play
from throttle.feedback import belief
from throttle.feedback.belief import Belief, Mark
from throttle.feedback.filter import Filter
from throttle.feedback.headers import Reading
from throttle.feedback.refusals import Refusal

S = 1_000_000


class DebitAtTheAnswer(Belief):
    """Charges a call when its answer comes instead of when it leaves."""

    def take(self, now_us: int, amount: float, model: str) -> Mark:
        mark = super().take(now_us, amount, model)
        self.filter.level += mark.own
        return mark

    def answered(self, now_us: int, mark: Mark, reading: Reading | None) -> None:
        self.filter.level -= mark.own
        super().answered(now_us, mark, reading)


class FloorForCeiling(Belief):
    """Rounds waits down to whole seconds."""

    def ready_at(self, now_us: int, amount: float, model: str, alone: bool) -> int:
        wait_us = super().ready_at(now_us, amount, model, alone) - now_us
        return now_us + wait_us // S * S


class IgnoredAnchor(Belief):
    """Never looks at the first header nor at any other."""

    def answered(self, now_us: int, mark: Mark, reading: Reading | None) -> None:
        super().answered(now_us, mark, None)


class WrongSign(Filter):
    """Corrects in the wrong direction."""

    def correct(
        self, surprise: float, tied: list[float], total: float, *, prior: float, after: float, mild: float
    ) -> None:
        super().correct(-surprise, tied, total, prior=prior, after=after, mild=-mild)


class NeverGivenBack(Belief):
    """Keeps the charge of refused calls, and learns nothing from the refusal."""

    def refused(self, now_us: int, mark: Mark, refusal: Refusal, *, mine: bool | None = True) -> None:
        pass


class DoubleCharge(Belief):
    """Charges every call twice."""

    def take(self, now_us: int, amount: float, model: str) -> Mark:
        super().take(now_us, amount, model)
        return super().take(now_us, amount, model)


def failures(kind: type[Belief], *names: str) -> list[str]:
    def make(name: str, unit: str, limit: float, now_us: int) -> Belief:
        return kind(name, unit, limit, MINUTE_US, now_us=now_us)

    return [line for name in names for line in complaints(play(BY_NAME[name], 0, make))]


@pytest.mark.parametrize(
    ("mutant", "name"),
    [
        (DebitAtTheAnswer, "job-empty-calm"),
        (FloorForCeiling, "job-empty-calm"),
        (IgnoredAnchor, "others-60%"),
        (NeverGivenBack, "no-headers-x1.3"),
        (DoubleCharge, "no-headers"),
    ],
)
def test_a_mutant_of_the_meter_is_found_out(mutant: type[Belief], name: str) -> None:
    assert failures(Belief, name) == []
    assert failures(mutant, name) != []


def test_a_correction_of_the_wrong_sign_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(belief, "Filter", WrongSign)
    assert failures(Belief, "job-empty") != []


@pytest.mark.parametrize(
    ("constant", "value", "name"),
    [
        ("SIGMAS", 0.5, "lags-2s"),
        ("BURST_MOST", 0.0, "others-bursts"),
        ("SILENT_MOST", math.inf, "no-headers"),
    ],
)
def test_without_one_of_its_parts_the_loop_fails(
    monkeypatch: pytest.MonkeyPatch, constant: str, value: float, name: str
) -> None:
    monkeypatch.setattr(belief, constant, value)
    assert failures(Belief, name) != []
