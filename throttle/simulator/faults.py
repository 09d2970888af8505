"""What goes wrong on purpose: which call it meets, and what it does to the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import Any

from throttle.simulator.errors import SettingsError
from throttle.simulator.headers import HEADER_FORMS

__all__ = ["FAULTS", "Fault", "Script", "read_faults"]

FAULTS: Mapping[str, str] = {
    "status": "an answer of the status given, with the API's text for it",
    "500": "the server's own error; the call was charged",
    "503": "overloaded, in the API's words; the call was not charged",
    "slow_down": "503 with the code slow_down, for growing too fast; not charged",
    "engine_overloaded": "503 with the code engine_overloaded; not charged",
    "quota": "429 insufficient_quota, which waiting does not help; not charged",
    "plain": "503 with a text of a proxy instead of JSON; not charged",
    "html": "502 with a page instead of JSON; not charged",
    "hang": "no answer, ever",
    "reset": "the connection is reset before the answer's first byte",
    "reset_mid_body": "the connection is reset after `share` of the answer",
    "close_mid_body": "the connection is closed after `share` of the answer",
    "trickle": "the answer comes in small pieces, over `seconds`",
    "slow": "the answer takes `seconds`",
    "error_in_stream": "a stream that began with 200 ends in an error after `share` of it",
    "headers": "rate-limit headers of another `form`",
}
"""Every kind of fault, and what it does."""

UNCHARGED = ("503", "slow_down", "engine_overloaded", "quota", "plain", "html")


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault and the calls it meets: those that fit every condition given; all, if none is.

    Attributes:
        kind: one of `FAULTS`.
        rate: the part of the calls it meets, drawn.
        calls: the numbers of the calls it meets, counted from 1.
        every: it meets every so-manieth call.
        between_s: from when to when, in seconds since the server began.
        times: how often at most.
        endpoint, model: only those.
        seconds, share, status, form, code, message: as the kind needs them.
        charged: whether the call is judged and charged first; by default as the kind has it.
    """

    kind: str
    rate: float | None = None
    calls: tuple[int, ...] = ()
    every: int = 0
    between_s: tuple[float, float] | None = None
    times: int | None = None
    endpoint: str | None = None
    model: str | None = None
    seconds: float = 60.0
    share: float = 0.5
    status: int = 500
    form: str = "none"
    code: str | None = None
    message: str | None = None
    charged: bool | None = None

    @property
    def comes_first(self) -> bool:
        """Tell whether it comes before the judge, so that the call isn't charged."""
        return self.kind in UNCHARGED if self.charged is None else not self.charged

    @property
    def replaces_answer(self) -> bool:
        """Tell whether it comes in the place of the answer."""
        return self.kind in ("status", "500", *UNCHARGED)

    def fits(self, number: int, at_s: float, endpoint: str, model: str | None) -> bool:
        """Tell whether it may meet this call; leaves aside what is drawn and how often it was played."""
        return (
            (not self.calls or number in self.calls)
            and (not self.every or number % self.every == 0)
            and (self.between_s is None or self.between_s[0] <= at_s < self.between_s[1])
            and self.endpoint in (None, endpoint)
            and self.model in (None, model)
        )


class Script:
    """The faults in force, and how often each was played."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._faults = faults
        self._played = [0] * len(faults)

    def pick(self, random: Random, number: int, at_s: float, endpoint: str, model: str | None) -> Fault | None:
        """Find the first fault that meets this call; None if all goes well."""
        for index, fault in enumerate(self._faults):
            if not fault.fits(number, at_s, endpoint, model):
                continue
            if fault.times is not None and self._played[index] >= fault.times:
                continue
            if fault.rate is None or random.random() < fault.rate:
                self._played[index] += 1
                return fault
        return None


def read_faults(faults: Sequence[Any]) -> tuple[Fault, ...]:
    """Read the `faults` setting: a list of names, or of mappings such as `{"kind": "500", "rate": 0.01}`.

    Raises:
        SettingsError: if a kind or a key is unknown, or a value can't be used.
    """
    if isinstance(faults, (str, Mapping)):
        faults = [faults]
    return tuple(_read(each) for each in faults)


def _read(told: Any) -> Fault:
    values: dict[str, Any] = {"kind": told} if isinstance(told, (str, int)) else dict(told)
    values["kind"] = str(values.get("kind"))
    known = [each.name for each in fields(Fault)]
    unknown = [name for name in values if name not in known]
    if unknown:
        raise SettingsError(f"faults: unknown key {unknown[0]}; known are {', '.join(known)}")
    if values["kind"] not in FAULTS:
        raise SettingsError(f"faults: {values['kind']!r} is none of {', '.join(FAULTS)}")
    for name in ("calls", "between_s"):
        if values.get(name) is not None:
            values[name] = tuple(values[name])
    fault = Fault(**values)
    if fault.form not in HEADER_FORMS:
        raise SettingsError(f"faults: form {fault.form!r} is none of {', '.join(HEADER_FORMS)}")
    if not 0 <= fault.share <= 1 or not 0 <= fault.seconds <= 3600 or not 100 <= fault.status <= 599:
        raise SettingsError("faults: share is from 0 to 1, seconds from 0 to 3600, status from 100 to 599")
    if fault.rate is not None and not 0 <= fault.rate <= 1:
        raise SettingsError(f"faults: rate {fault.rate!r} is not from 0 to 1")
    return fault
