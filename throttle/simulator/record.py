"""What the simulator saw: every call, and their sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from throttle.simulator.judge import MeterSummary

__all__ = ["Call", "Record", "Summary"]

KEPT = 250_000
"""So many calls are kept one by one; the sums go on."""


@dataclass(slots=True)
class Call:
    """One request, from its arrival on. Times are seconds since the server began; nothing of the prompt or the key is
    kept.

    Attributes:
        number: counts from 1.
        at_s, done_s: when its last byte had arrived; when its answer had been sent, None until then.
        endpoint: such as `"chat/completions"`; `path` is as asked for.
        status: of the answer; 0 where there was none.
        admitted: whether it was let through; None where nobody asked the judge (a 401, `GET /models`).
        refused_by, refused_pool: the meter (`"tpm"`) and the pool that refused it.
        charge: what was booked, by unit, corrected when the charge was settled.
        levels: every meter's level just before, by name; meters of further pools as `"pool/meter"`.
        told_s: the wait that the refusal told.
        input_tokens, output_tokens: as in the answer's usage.
        retry: which retry of the SDK's it was, 0 for a first attempt.
        key: a digest that tells keys apart.
        fault: the fault that was played, if any.
        headers, body: of the request, only with `keep_bodies`.
    """

    number: int
    at_s: float
    method: str
    path: str
    endpoint: str = ""
    model: str | None = None
    pool: str | None = None
    project: str | None = None
    streamed: bool = False
    status: int = 0
    admitted: bool | None = None
    refused_by: str | None = None
    refused_pool: str | None = None
    charge: dict[str, float] = field(default_factory=dict)
    levels: dict[str, float] = field(default_factory=dict)
    told_s: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    done_s: float | None = None
    request_id: str = ""
    retry: int = 0
    key: str = ""
    fault: str | None = None
    headers: dict[str, str] | None = None
    body: str | None = None

    def plain(self) -> dict[str, Any]:
        """Give it as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Summary:
    """The sums since the mark (the start, or the last `mark` or `reset`).

    Attributes:
        at_s: now, in seconds since the server began.
        calls: how many came; `judged`, `admitted` and `refused` are those that the limits were asked about.
        by_status, by_refused, by_fault: counts by status, by the meter that refused (`"tpm"`), by fault.
        charged: what was booked of admitted calls, by unit.
        first_at_s, last_admitted_at_s: of judged calls.
        meters: each meter's sums; `utilization` is that of the binding one, the highest.
    """

    at_s: float
    calls: int
    admitted: int
    refused: int
    by_status: Mapping[str, int]
    by_refused: Mapping[str, int]
    by_fault: Mapping[str, int]
    charged: Mapping[str, float]
    input_tokens: int
    output_tokens: int
    first_at_s: float | None
    last_admitted_at_s: float | None
    meters: tuple[MeterSummary, ...]

    @property
    def judged(self) -> int:
        """How many calls the limits were asked about."""
        return self.admitted + self.refused

    @property
    def binding(self) -> MeterSummary | None:
        """The meter that was used most, by the part of what it offered; None before the first call."""
        return max(self.meters, key=lambda meter: meter.utilization, default=None)

    @property
    def utilization(self) -> float:
        """What was charged over what was offered, of the binding meter: 1 is everything."""
        return self.binding.utilization if self.binding else 0.0

    def meter(self, name: str, pool: str | None = None) -> MeterSummary:
        """Find a meter by its name (`"tpm"`) and, where there are several pools, its pool. Raises `KeyError`."""
        for each in self.meters:
            if each.meter == name and pool in (None, each.pool):
                return each
        raise KeyError(f"no meter {name}" + (f" in pool {pool}" if pool else ""))

    def plain(self) -> dict[str, Any]:
        """Give it as plain values, for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Summary:
        """Make it of plain values."""
        meters = tuple(MeterSummary(**each) for each in plain["meters"])
        return cls(**{**plain, "meters": meters})


class Record:
    """All calls, and their sums since the mark."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._numbered = 0
        self.mark()

    def mark(self) -> None:
        """Begin to sum anew; the calls stay."""
        self._marked = self._numbered
        self._status: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._fault: Counter[str] = Counter()
        self._charged: Counter[str] = Counter()
        self._admitted = self._input = self._output = 0
        self._first_at_s: float | None = None
        self._last_at_s: float | None = None

    def open(self, at_s: float, method: str, path: str) -> Call:
        """Note a call that arrives."""
        self._numbered += 1
        call = Call(self._numbered, at_s, method, path)
        self.calls.append(call)
        if len(self.calls) > KEPT + KEPT // 10:
            del self.calls[: KEPT // 10]
        return call

    def judged(self, call: Call) -> None:
        """Count a call that was admitted or refused."""
        if self._first_at_s is None:
            self._first_at_s = call.at_s
        if call.admitted:
            self._admitted += 1
            self._last_at_s = call.at_s
            for unit, amount in call.charge.items():
                self._charged[unit] += amount  # type: ignore[assignment]
        elif call.refused_by:
            self._refused[call.refused_by] += 1

    def settled(self, call: Call, unit: str, amount: float) -> None:
        """Correct what a call was charged."""
        self._charged[unit] += amount - call.charge.get(unit, 0.0)  # type: ignore[assignment]
        call.charge[unit] = amount

    def answered(self, call: Call) -> None:
        """Count the status of an answer, or that there was none."""
        self._status[str(call.status)] += 1
        if call.fault:
            self._fault[call.fault] += 1

    def close(self, call: Call, at_s: float) -> None:
        """Note that the answer was sent."""
        call.done_s = at_s
        if call.admitted:
            self._input += call.input_tokens
            self._output += call.output_tokens

    def since(self, number: int) -> Sequence[Call]:
        """List the calls after the one with this number."""
        first = self.calls[0].number if self.calls else 1
        return self.calls[max(0, number + 1 - first) :]

    def summary(self, at_s: float, meters: tuple[MeterSummary, ...]) -> Summary:
        """Sum up everything since the mark."""
        return Summary(
            at_s=at_s,
            calls=self._numbered - self._marked,
            admitted=self._admitted,
            refused=sum(self._refused.values()),
            by_status=dict(self._status),
            by_refused=dict(self._refused),
            by_fault=dict(self._fault),
            charged=dict(self._charged),
            input_tokens=self._input,
            output_tokens=self._output,
            first_at_s=self._first_at_s,
            last_admitted_at_s=self._last_at_s,
            meters=meters,
        )
