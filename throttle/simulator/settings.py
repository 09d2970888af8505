"""Everything that can be set on a simulated server, checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any

from throttle.simulator.charges import CHARGES
from throttle.simulator.delays import Delay, read_delay
from throttle.simulator.errors import SettingsError
from throttle.simulator.faults import Fault, read_faults
from throttle.simulator.headers import HEADER_FORMS
from throttle.simulator.judge import POLICIES
from throttle.simulator.limits import AccountLimits, read_limits
from throttle.simulator.others import Others, read_others
from throttle.simulator.refusals import REFUSAL_FORMS

__all__ = ["Settings"]

STARTS = {"full": 1.0, "empty": 0.0}
SAMPLED = ("admission", "completion", "mixed")
DEFAULT_LIMITS = {"rpm": 500, "tpm": 200_000}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a simulated server. All are plain values, so that they can be sent to another process.

    Attributes:
        limits: `{"rpm": 600, "tpm": 60_000}`, one pool for every model, or such a mapping for each family of models
            (`read_limits` tells the whole form). With families, a model of none of them gets a 404.
        projects: limits by project, beside the organization's; a call says its project in the header `OpenAI-Project`.
        start: how full every meter is at the start: `"full"`, `"empty"` or a number from 0 to 1.
        policy: how is counted: `"bucket"` (as OpenAI does), `"fixed"` or `"sliding"` windows, `"per-second"`.
        window_s: the span over which is counted, where it isn't the meter's own.
        phase_s: when the first fixed window ends.
        charge: what is booked: `"characters"`, `"input"`, `"maximum"` or `"usage"` (see `throttle.simulator.charges`).
        allowance: what `usage` holds for the output until the answer is done.
        maximum_of: what `maximum` counts as input, `"input"` (real tokens) or `"characters"`.
        refused_cost: what a refused call is charged all the same, such as `{"requests": 1}`.
        lockout_s: for so long after a refusal everything is refused.
        latency_s: how long an answer takes: seconds, a range, or a distribution (see `read_delay`).
        first_chunk_share: the part of it until a stream begins.
        output_tokens: the length of each choice: a number or a range; the body's own maximum cuts it.
        echo: answer every prompt with itself.
        retry_after: whether refusals carry `retry-after` and `retry-after-ms`; OpenAI's never did where recorded.
        sampled: when the level in the headers is looked up: at `"admission"`, `"completion"`, or one or the other
            (`"mixed"`).
        headers: the form of the rate-limit headers, `"openai"`, `"azure"`, `"none"` or another of `HEADER_FORMS`.
        errors: the form of refusals, `"openai"`, `"azure"` or another of `REFUSAL_FORMS`.
        faults: what goes wrong, and when (see `read_faults`).
        others: who else is on the account (see `read_others`).
        changes: settings that change while it runs, such as `{"at_s": 30, "limits": {…}}`.
        compress: whether answers are compressed for clients that take gzip.
        organization: the name in headers and texts.
        keys: the API keys taken; by default any, but there must be one.
        seed: of everything that is drawn.
        keep_bodies: whether headers and bodies of requests are kept, for tests that look at the wire.
        record: a file to which every call is written as a line of JSON.
    """

    limits: Mapping[str, Any] = field(default_factory=lambda: dict(DEFAULT_LIMITS))
    projects: Mapping[str, Any] = field(default_factory=dict)
    start: float | str = "full"
    policy: str = "bucket"
    window_s: float | None = None
    phase_s: float | None = None
    charge: str = "characters"
    allowance: int = 217
    maximum_of: str = "input"
    refused_cost: Mapping[str, int] = field(default_factory=dict)
    lockout_s: float = 0.0
    latency_s: Any = 0.0
    first_chunk_share: float = 0.3
    output_tokens: int | Sequence[int] = 16
    echo: bool = False
    retry_after: bool = False
    sampled: str = "admission"
    headers: str = "openai"
    errors: str = "openai"
    faults: Sequence[Any] = ()
    others: Any = ()
    changes: Sequence[Mapping[str, Any]] = ()
    compress: bool = False
    organization: str = "org-simulator"
    keys: Sequence[str] = ()
    seed: int = 0
    keep_bodies: bool = False
    record: str | None = None

    @classmethod
    def of(cls, **values: Any) -> Settings:
        """Make settings and check them; every mistake is one line.

        Raises:
            SettingsError: if a name is unknown or a value can't be used.
        """
        return cls()._with(values)

    def changed(self, **values: Any) -> Settings:
        """Make a copy with other values, checked in the same way."""
        return self._with(values)

    def _with(self, values: Mapping[str, Any]) -> Settings:
        known = [each.name for each in fields(self)]
        for name in values:
            if name not in known:
                near = get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                raise SettingsError(f"the simulator has no setting {name}; {hint}")
        made = replace(self, **values)
        made.check()
        return made

    def check(self) -> None:
        """Raise `SettingsError` for the first value that can't be used."""
        _one_of("policy", self.policy, POLICIES)
        _one_of("charge", self.charge, CHARGES)
        _one_of("maximum_of", self.maximum_of, ("input", "characters"))
        _one_of("sampled", self.sampled, SAMPLED)
        _one_of("headers", self.headers, tuple(HEADER_FORMS))
        _one_of("errors", self.errors, tuple(REFUSAL_FORMS))
        _within("lockout_s", self.lockout_s, 0, 86_400)
        _within("start", self.level_at_start, 0, 1)
        _within("first_chunk_share", self.first_chunk_share, 0, 1)
        for name, value in (("window_s", self.window_s), ("phase_s", self.phase_s)):
            if value is not None:
                _within(name, value, 1e-3, 2_592_000)
        low, high = self.output_range
        _within("output_tokens", low, 0, high)
        _within("allowance", self.allowance, 0, 1_000_000)
        pools = self.account.pools
        for each in self.crowd:
            if each.pool is not None:
                _one_of("others: pool", each.pool, tuple(pools))
        self._check_changes()
        _ = self.latency, self.script

    def _check_changes(self) -> None:
        plain = replace(self, changes=())
        for change in self.changes:
            values = dict(change)
            _within("changes: at_s", values.pop("at_s", None), 0, 2_592_000)
            plain = plain.changed(**values)

    @property
    def level_at_start(self) -> float:
        """How full every meter is at the start, from 0 to 1."""
        start = STARTS.get(self.start, self.start) if isinstance(self.start, str) else self.start
        if isinstance(start, str):
            try:
                return float(start)
            except ValueError:
                raise SettingsError(f"start: {start!r} is none of full, empty, or a number from 0 to 1") from None
        return start

    @property
    def latency(self) -> Delay:
        """How long an answer takes."""
        return read_delay("latency_s", self.latency_s)

    @property
    def account(self) -> AccountLimits:
        """The account's limits."""
        return read_limits(self.limits, self.projects)

    @property
    def script(self) -> tuple[Fault, ...]:
        """What goes wrong, and when."""
        return read_faults(self.faults)

    @property
    def crowd(self) -> tuple[Others, ...]:
        """Who else is on the account."""
        return read_others(self.others)

    @property
    def output_range(self) -> tuple[int, int]:
        """The shortest and the longest answer, in tokens."""
        told = self.output_tokens
        pair = (told, told) if isinstance(told, int) else tuple(told)
        if len(pair) != 2 or not all(isinstance(n, int) for n in pair):
            raise SettingsError(f"output_tokens: give a number or a range of two, not {told!r}")
        return pair[0], pair[1]

    def plain(self) -> dict[str, Any]:
        """Give every setting as a plain value, for JSON."""
        return asdict(self)


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise SettingsError(f"{name}: {value!r} is none of {', '.join(known)}")


def _within(name: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise SettingsError(f"{name}: {value!r} is not a number from {low} to {high}")
