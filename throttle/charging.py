"""What a server books of a call: as the limits file says, or else as the levels that answers show tell of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from throttle.costs import CHARGES, CallCost, default_charge
from throttle.feedback.belief import Belief
from throttle.feedback.evidence import Evidence, Sample
from throttle.feedback.headers import Reading
from throttle.learning import readings_by_meter
from throttle.pool import Ticket

__all__ = ["ChargeBook", "Clue"]

FOLLOWED_MOST: Final = 1000
"""For how many models at an endpoint of a server is followed what it books; of others the default is believed."""


class Clue(NamedTuple):
    """What the answer of a call can tell of its charge model: the evidence that it counts for, and what it cost."""

    evidence: Evidence
    cost: CallCost

    def amounts(self, weight: float) -> dict[str, float]:
        """Tell what each charge model books of the call; counts its text, so not under a lock."""
        return {charge: self.cost.booked(charge) * weight for charge in CHARGES}

    def weigh(self, ticket: Ticket, amounts: Mapping[str, float], readings: Sequence[Reading]) -> None:
        """See which charge model explains the level of tokens that the answer shows; under the limiter's lock."""
        found = readings_by_meter(ticket.meters, readings)
        for meter, mark, reading in zip(ticket.meters, ticket.marks, found, strict=True):
            if not isinstance(meter, Belief) or meter.unit != "tokens" or reading is None:
                continue
            if reading.remaining is not None and reading.limit:
                rate = reading.limit / meter.window_s
                self.evidence.see(Sample(mark.number, mark.at, reading.remaining, reading.limit, rate), amounts)
                return


class ChargeBook:
    """The charge model of each model's calls at each endpoint of each server, followed where the limits file leaves it
    open.
    """

    __slots__ = ("_evidence",)

    def __init__(self) -> None:
        self._evidence: dict[tuple[str, str, str, str], Evidence] = {}

    def look_up(self, account: str, given: str, host: str, cost: CallCost) -> tuple[str, Evidence | None]:
        """Tell what the server books of a call, and the evidence of it where `given`, what the limits file says, is
        `auto`. Any thread may ask at any time.
        """
        if given != "auto":
            return given, None
        key = (account, host, cost.model or "", cost.endpoint)
        evidence = self._evidence.get(key)
        if evidence is None:
            evidence = Evidence(default_charge(host, cost.endpoint, cost.model or ""))
            if len(self._evidence) < FOLLOWED_MOST:
                evidence = self._evidence.setdefault(key, evidence)
        return evidence.charge, evidence

    def believed(self) -> dict[str, str]:
        """Tell what each model is believed to be booked by, as `model endpoint`; where there are several servers, as
        `model endpoint@host`.
        """
        followed = list(self._evidence.items())
        several = len({host for (_, host, _, _), _ in followed}) > 1
        return {
            f"{model} {endpoint}@{host}" if several else f"{model} {endpoint}": seen.charge
            for (_, host, model, endpoint), seen in followed
        }
