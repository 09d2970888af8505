"""The shape of a limits file: pydantic models, which also give its JSON schema.

Values that people write in several ways (`500`, `"${RPM}"`, `{limit: 500, window: 10s}`; `48h` or `172800`) are
brought into one form here. What can only be judged by looking at several places of a file is in `checking`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    InstanceOf,
    PlainSerializer,
    PrivateAttr,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from throttle.limits.keys import HashedKey
from throttle.limits.meters import KNOWN_METERS, MeterKind

__all__ = [
    "BUNDLED",
    "CHARGES",
    "NO_SECRETS",
    "Account",
    "Deployment",
    "Family",
    "LimitsTable",
    "LongContext",
    "Meter",
    "MeterLimit",
    "Project",
    "Provenance",
    "Row",
    "Server",
    "Source",
    "TierRule",
    "fault",
]

BUNDLED = "bundled"
NO_SECRETS = (
    "an API key doesn't belong in a file",
    "write `key: ${NAME_OF_A_VARIABLE}`, or its hash as `key_hash` (`throttle limits key` prints it)",
)
CHARGES = ("auto", "characters", "input", "maximum", "usage")

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)?\s*")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_RESET = re.compile(r"(?:[01]?\d|2[0-3]):[0-5]\d [A-Za-z_+-]+(?:/[A-Za-z_+-]+)*")
_KEY_HASH = re.compile(r"[0-9a-f]{12,64}")
_REFERENCE: dict[str, Any] = {"type": "string", "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}$"}


def fault(what: str, remedy: str = "") -> PydanticCustomError:
    """Make the error that a validator raises: what is wrong, and how to mend it."""
    return PydanticCustomError("fault", "{what}", {"what": what, "remedy": remedy})


def _whole(lowest: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise fault(f"{_shown(value)} is no whole number", "write it as in 500 or 10_000")
        if value < lowest:
            what = "is below zero" if value < 0 else "is no limit"
            remedy = f"the least is {lowest}" + ("; write null where there is no such limit" if lowest else "")
            raise fault(f"{value} {what}", remedy)
        return value

    return check


def _duration(value: Any) -> float:
    if isinstance(value, str):
        found = _DURATION.fullmatch(value)
        if found:
            unit = found.group(2) or "s"
            return float(found.group(1)) * _SECONDS["ms" if unit == "ms" else unit[0]]
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise fault(f"{_shown(value)} is no time span", "write seconds, or as in 10s, 1m, 48h, 30d")


def _positive_duration(value: Any) -> float:
    span_s = _duration(value)
    if not 0 < span_s < float("inf"):
        raise fault(f"{_shown(value)} is no time span", "it has to be longer than 0 seconds")
    return span_s


def _fraction(value: Any) -> Fraction:
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str, Fraction)):
            raise ValueError
        # By way of its text: 0.04 in a file means 1/25, not the binary number next to it.
        number = Fraction(str(value).replace(" ", ""))
    except (ValueError, ZeroDivisionError):
        raise fault(f"{_shown(value)} is no number", "write it as in 1/25 or 0.04") from None
    if number <= 0:
        raise fault(f"{_shown(value)} is not above zero", "write it as in 1/25 or 0.04")
    return number


def _fraction_text(value: Fraction) -> str:
    return str(value)


def _headroom(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise fault(f"{_shown(value)} is no fraction from 0 to below 1", "0.1 leaves a tenth of every limit to others")
    return float(value)


def _moment(value: Any) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise fault(f"{value!r} is no point in time", "write it as in 2026-11-20T09:00:00Z") from None
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise fault(f"{_shown(value)} is no point in time", "write it as in 2026-11-20T09:00:00Z")


def _day(value: Any) -> str:
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, str):
        return value
    raise fault(f"{_shown(value)} is no date", "write it as in 2026-07-01, or a span as in 2026-07..2026-09")


def _name(value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, str) or value is None:
        raise fault("an empty name", "write the name, or take the entry out")
    raise fault(f"{_shown(value)} is no text", f'put it in quotes: "{value}"')


def _names(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _reset(value: Any) -> str:
    from throttle.limits.resets import zone_of

    if not isinstance(value, str) or not _RESET.fullmatch(value):
        raise fault(
            f"{_shown(value)} is no hour of the day", 'write it as in "00:00 UTC" or "00:00 America/Los_Angeles"'
        )
    if zone_of(value) is None:
        raise fault(
            f"{value.split(' ', 1)[1]!r} is no time zone", 'write it as in "00:00 UTC" or "00:00 America/Los_Angeles"'
        )
    return value


def _key_hash(value: Any) -> str:
    if isinstance(value, str) and value.startswith(("sk-", "sess-")):
        raise fault(*NO_SECRETS)
    text = value.removeprefix("sha256:") if isinstance(value, str) else ""
    if not _KEY_HASH.fullmatch(text):
        raise fault(
            f"{_shown(value)} is no key hash", "12 to 64 hex digits of the key's SHA-256: `throttle limits key`"
        )
    return text


def _shown(value: Any) -> str:
    text = (
        {True: "true", False: "false", None: "null"}[value] if value is None or isinstance(value, bool) else repr(value)
    )
    return text if len(text) <= 60 else text[:57] + "..."


def _no_key(value: Any) -> None:
    if value is not None:
        raise fault(*NO_SECRETS)


_SPAN_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(ms|s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)?\s*$"},
        _REFERENCE,
    ]
}
_LIMIT_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "integer", "minimum": 1}, _REFERENCE]}

Limit = Annotated[int, BeforeValidator(_whole(1)), WithJsonSchema(_LIMIT_SCHEMA)]
Limits = Annotated[
    tuple[Limit, ...],
    BeforeValidator(lambda value: list(value) if isinstance(value, (list, tuple)) else [value]),
    WithJsonSchema({"anyOf": [_LIMIT_SCHEMA, {"type": "array", "items": _LIMIT_SCHEMA}]}),
]
QueueLimit = Annotated[
    int, BeforeValidator(_whole(0)), WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, _REFERENCE]})
]
Span = Annotated[float, BeforeValidator(_positive_duration), WithJsonSchema(_SPAN_SCHEMA)]
Weight = Annotated[
    InstanceOf[Fraction],
    BeforeValidator(_fraction),
    PlainSerializer(_fraction_text, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^\d+(\.\d+)?(\s*/\s*\d+)?$"},
                _REFERENCE,
            ]
        }
    ),
]
Headroom = Annotated[
    float,
    BeforeValidator(_headroom),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0, "exclusiveMaximum": 1}, _REFERENCE]}),
]
Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
Day = Annotated[str, BeforeValidator(_day), WithJsonSchema({"type": "string"})]
Name = Annotated[str, BeforeValidator(_name), WithJsonSchema({"type": "string", "minLength": 1})]
Names = Annotated[
    tuple[Name, ...],
    BeforeValidator(_names),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string", "minLength": 1}}]}
    ),
]
Reset = Annotated[str, BeforeValidator(_reset), WithJsonSchema({"type": "string", "pattern": r"^\d?\d:\d\d \S+$"})]
KeyHash = Annotated[
    str,
    BeforeValidator(_key_hash),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": "^(sha256:)?[0-9a-f]{12,64}$"}, _REFERENCE]}),
]
NoKey = Annotated[None, BeforeValidator(_no_key), WithJsonSchema(_REFERENCE)]
Windows = Annotated[
    Annotated[Span, Tag("span")] | Annotated[dict[Name, Span], Tag("by meter")],
    Discriminator(lambda value: "by meter" if isinstance(value, Mapping) else "span"),
]
Charge = Literal["auto", "characters", "input", "maximum", "usage"]


class _Part(BaseModel):
    """A frozen part of a table; a key that isn't listed is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Provenance(_Part):
    """Where figures come from; information for people, never used in a decision."""

    source: Name | None = Field(default=None, description="Who says so: a name of `sources`, or a text of your own.")
    as_of: Day | None = Field(default=None, description="The day, or the span of days, on which the source was read.")
    verified: bool | None = Field(
        default=None, description="false: second-hand, inferred or contradicted; the note says which."
    )
    note: str | None = Field(default=None, description="What else is known of these figures.")


class Source(_Part):
    """One source of figures."""

    what: Name = Field(description="What it is.")
    where: str | None = Field(default=None, description="Where it can be read.")
    dated: Day | None = Field(default=None, description="When it was read.")


class Meter(_Part):
    """A meter of the file's own."""

    unit: Name | None = Field(default=None, description="What is counted; the meter's own name where it is left out.")
    window: Span | None = Field(
        default=None, description="How long a window is, in seconds or as in 10s, 1m, 1d. Default 60."
    )
    in_flight: bool = Field(default=False, description="true: it counts what is open at once, and nothing refills it.")
    counts: dict[Name, Weight] | None = Field(
        default=None,
        description="What one call is charged: other units with factors, as in {input_tokens: 1, output_tokens: 4}.",
    )
    note: str | None = Field(default=None, description="What it is, for people.")

    def kind(self, name: str) -> MeterKind:
        """Give the plain value of it."""
        window_s = 0.0 if self.in_flight else self.window or 60.0
        return MeterKind(self.unit or name, window_s, tuple((self.counts or {}).items()))


class MeterLimit(_Part):
    """One figure of a row, with what is special about it."""

    limit: Limit = Field(description="How many of its unit a window lets through.")
    window: Span | None = Field(
        default=None, description="The window over which it counts, where it isn't the meter's usual one."
    )
    burst: Span | None = Field(default=None, description="How many seconds of refill may be used at once.")
    resets: Reset | None = Field(
        default=None, description='The hour at which it is full again, as in "00:00 UTC"; left out: it refills evenly.'
    )

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        if isinstance(value, (Mapping, MeterLimit)):
            return value
        return {"limit": value}


class Row(Provenance):
    """The limits of one family in one tier."""

    batch_queue_tokens: QueueLimit | None = Field(
        default=None, description="How many input tokens all unfinished batches may hold; no call is charged for it."
    )
    seen: dict[Name, Limits] = Field(
        default_factory=dict,
        description="By meter: other figures this tier has been seen with; they only help to tell it.",
    )
    meters: dict[str, MeterLimit | None] = Field(default_factory=dict)

    _own_keys: ClassVar[frozenset[str]] = frozenset(
        {"source", "as_of", "verified", "note", "batch_queue_tokens", "seen", "meters"}
    )

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or isinstance(value.get("meters"), Mapping):
            return value
        row = {key: part for key, part in value.items() if key in cls._own_keys}
        row["meters"] = {key: part for key, part in value.items() if key not in cls._own_keys}
        return row

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema: dict[str, Any] = handler.resolve_ref_schema(handler(core_schema))
        figure = schema["properties"].pop("meters")["additionalProperties"]
        parts = [{"type": "integer", "minimum": 1}, _REFERENCE, *figure["anyOf"]]
        schema["additionalProperties"] = {"anyOf": parts}
        for name, kind in KNOWN_METERS.items():
            schema["properties"][name] = {"anyOf": parts, "description": _told(kind)}
        return schema


def _told(kind: MeterKind) -> str:
    what = kind.unit.replace("_", " ")
    spans = {0.0: "Open at once.", 60.0: f"{what.capitalize()} a minute.", 86_400.0: f"{what.capitalize()} a day."}
    return spans[kind.window_s]


class LongContext(_Part):
    """Calls that are longer than usual and draw on limits of their own."""

    over: Limit = Field(description="Calls with more input tokens than this draw on the other family instead.")
    family: Name = Field(description="That family.")


class Family(Provenance):
    """Models that share one pool of capacity."""

    models: tuple[Name, ...] = Field(
        default=(), description="Names, and patterns with * and ?; the most specific one counts."
    )
    tiers: tuple[Name, ...] | None = Field(
        default=None, description="The tiers that have this family; left out: all of them."
    )
    pool: Name | None = Field(
        default=None, description="The limit's name in the server's refusals, where it isn't the family's."
    )
    weights: dict[Name, Weight] = Field(
        default_factory=dict,
        description="By model or pattern: the part of a family's token that one of its tokens counts.",
    )
    charge: Charge | None = Field(
        default=None, description="What the server books of a call. Default auto: follow the evidence."
    )
    window: Windows | None = Field(
        default=None,
        description="How many seconds of refill may be used at once, for all its meters by the minute or by meter.",
    )
    headroom: Headroom | None = Field(default=None, description="The fraction of every limit that is left to others.")
    per_model: bool = Field(default=False, description="true: every model has a pool of its own with these limits.")
    long_context: LongContext | None = Field(default=None, description="What long calls draw on instead.")
    service_tiers: dict[Name, Name] = Field(
        default_factory=dict, description="By `service_tier` of a call: the family it draws on instead."
    )
    hosts: Names | None = Field(
        default=None, description="The hosts (patterns) for which this family holds; left out: all."
    )
    status: Literal["current", "deprecated", "shut-down"] | None = Field(default=None, description="For people.")
    shutdown: Day | None = Field(
        default=None, description="The day on which the models are or were taken away; for people."
    )


class TierRule(Provenance):
    """What is known of a tier apart from its limits."""

    becomes: Name | None = Field(default=None, description="The tier that follows by itself.")
    after: Span | None = Field(default=None, description="How long after an account's `since` that is.")
    paid_usd: float | None = Field(default=None, description="What has to have been paid; for people.")
    days: int | None = Field(default=None, description="Days since the first payment; for people.")
    monthly_usage_limit_usd: float | None = Field(default=None, description="The most a month may cost; for people.")
    qualification: str | None = Field(default=None, description="What else it takes; for people.")

    @model_validator(mode="after")
    def _both_or_none(self) -> TierRule:
        if (self.becomes is None) != (self.after is None):
            raise fault(
                "`becomes` and `after` belong together", "write both, as in {becomes: pay-as-you-go, after: 48h}"
            )
        return self


class FineTuned(Provenance):
    """What calls to fine-tuned models draw on."""

    draws_on: Literal["base", "own"] = Field(
        "base", description="The base model's pool, or one of its own with its limits."
    )


class Project(_Part):
    """A project's own limits, which hold beside the organization's."""

    limits: dict[Name, Row] = Field(default_factory=dict, description="By family; `*` for every other.")
    headroom: Headroom | None = Field(default=None, description="The fraction of every limit that is left to others.")
    note: str | None = Field(default=None, description="What else is known of it; for people.")


class Account(_Part):
    """Who is on which tier."""

    tier: Name | None = Field(default=None, description="Its tier; left out: THROTTLE_TIER, else tier-1.")
    since: Moment | None = Field(default=None, description="When the tier began; it decides when the next one follows.")
    key_hash: KeyHash | None = Field(default=None, description="It is this account if the API key's SHA-256 begins so.")
    key: NoKey = Field(default=None, description="Its API key, as a reference to a variable; only its hash is kept.")
    organization: Name | None = Field(
        default=None, description="It is this account if the client has this organization."
    )
    server: Name | None = Field(default=None, description="The server of `servers` that it is an account of.")
    limits: dict[Name, Row] = Field(default_factory=dict, description="By family: figures that replace the tier's.")
    headroom: Headroom | None = Field(default=None, description="The fraction of every limit that is left to others.")
    projects: dict[Name, Project] = Field(
        default_factory=dict, description="By project id: limits of the project's own."
    )
    note: str | None = Field(default=None, description="What else is known of it; for people.")

    @model_validator(mode="before")
    @classmethod
    def _hash_key(cls, value: Any) -> Any:
        """Take `key: ${NAME}` for the hash of what the variable holds; the key itself is not kept."""
        if not isinstance(value, Mapping) or not isinstance(value.get("key"), HashedKey):
            return value
        rest = {name: part for name, part in value.items() if name != "key"}
        digest = value["key"].digest
        return {"key_hash": digest, **rest} if digest else rest


class Deployment(_Part):
    """An Azure deployment: a name of its own for a model, with limits of its own."""

    model: Name = Field(description="The model behind it.")
    limits: Row | None = Field(
        default=None, description="The quota given to the deployment; left out: the model's limits."
    )
    charge: Charge | None = Field(default=None, description="What the server books of a call.")
    headroom: Headroom | None = Field(default=None, description="The fraction of every limit that is left to others.")


class Server(Provenance):
    """Another server that speaks OpenAI's protocol, chosen by its address."""

    base_url: Names | None = Field(
        default=None, description="Addresses (patterns with *) it is known by; []: only accounts lead to it."
    )
    inherit: bool = Field(
        default=False, description="true: the families above hold for it too, where it has none of its own."
    )
    tier: Name | None = Field(default=None, description="The tier to start from where none is given.")
    families: dict[Name, Family] = Field(default_factory=dict, description="As above, for this server only.")
    tiers: dict[Name, dict[Name, Row | None]] = Field(
        default_factory=dict, description="As above, for this server only."
    )
    deployments: dict[Name, Deployment] = Field(default_factory=dict, description="Azure: its deployments by name.")
    headers: dict[Name, Name] = Field(
        default_factory=dict, description="What its rate-limit headers count: header to meter."
    )
    charge: Charge | None = Field(default=None, description="What it books of a call, where the family doesn't say.")
    window: Windows | None = Field(default=None, description="As a family's, where the family doesn't say.")


class LimitsTable(_Part):
    """A whole limits file, checked."""

    version: Literal[1] = Field(default=1, description="The version of this format.")
    extends: Name | None = Field(
        default=None, description="`bundled`, or the path of a file: what this one doesn't say is taken from there."
    )
    meters: dict[Name, Meter] = Field(default_factory=dict, description="Meters beside rpm, rpd, tpm, tpd, ipm, …")
    sources: dict[Name, Source] = Field(default_factory=dict, description="Where figures come from.")
    families: dict[Name, Family] = Field(default_factory=dict, description="Models that share a pool of capacity.")
    tiers: dict[Name, dict[Name, Row | None]] = Field(
        default_factory=dict, description="By tier and family: the limits. null: none known. `*`: every other family."
    )
    tier_rules: dict[Name, TierRule] = Field(default_factory=dict, description="What else is known of the tiers.")
    fine_tuned: FineTuned | None = Field(default=None, description="What calls to fine-tuned models draw on.")
    accounts: dict[Name, Account] = Field(default_factory=dict, description="Who is on which tier.")
    servers: dict[Name, Server] = Field(default_factory=dict, description="Other servers that speak the protocol.")

    _source: str = PrivateAttr("limits=")
    _origin: str = PrivateAttr("user")
    _flat: bool = PrivateAttr(False)
    _data: Any = PrivateAttr(None)
    _files: tuple[str, ...] = PrivateAttr(())
    _inherited: frozenset[tuple[str, str, str, str]] = PrivateAttr(frozenset())

    @property
    def source(self) -> str:
        """The path of the file, or `limits=` where it was given in code."""
        return self._source

    @property
    def files(self) -> tuple[str, ...]:
        """The files it was read from: its own, and those that it extends."""
        return self._files

    @property
    def origin(self) -> str:
        """`bundled` for the file that ships with the package, else `user`."""
        return self._origin

    @property
    def flat(self) -> bool:
        """Whether it was given as bare meters, one pool for every model and with no tiers."""
        return self._flat

    def origin_of(self, server: str, tier: str, family: str, meter: str) -> str:
        """Tell whether a figure is the bundled file's or the user's own."""
        return BUNDLED if (server, tier, family, meter) in self._inherited else self._origin

    def kinds(self) -> dict[str, MeterKind]:
        """Give every meter that this table may use: the known ones and its own."""
        return {**KNOWN_METERS, **{name: meter.kind(name) for name, meter in self.meters.items()}}
