"""The simulated API without a socket: a request and its instant go in, a reply comes out. It reads no clock and waits
for nothing, so that an hour of traffic can be played in a moment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from hashlib import sha256
from heapq import merge
from random import Random
from typing import Any
from urllib.parse import parse_qsl

from throttle.simulator.answers import Answer, answer_to
from throttle.simulator.charges import Booking, book
from throttle.simulator.failures import failed_stream_events, failure_body
from throttle.simulator.faults import Fault, Script
from throttle.simulator.headers import print_headers
from throttle.simulator.judge import Admission, Judge, Refusal
from throttle.simulator.limits import Family
from throttle.simulator.media import MEDIA, media_answer
from throttle.simulator.multipart import parse_multipart
from throttle.simulator.others import Others
from throttle.simulator.paths import endpoint_of
from throttle.simulator.record import Call, Record, Summary
from throttle.simulator.refusals import error, refusal_body, retry_after_headers
from throttle.simulator.reply import Reply, answer_reply, compress, json_reply, reply_with, trickle
from throttle.simulator.resources import Asked, Resources
from throttle.simulator.settings import Settings
from throttle.simulator.tokens import prompts_of

__all__ = ["Service"]

TEXT = ("chat/completions", "responses", "completions", "embeddings")
DEFAULT_MODELS = {
    "moderations": "omni-moderation-latest",
    "images/generations": "gpt-image-1",
    "images/edits": "gpt-image-1",
}
MOST_INPUTS = 2048
MOST_EMBEDDED_TOKENS = 300_000
NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    "(i.e. Authorization: Bearer YOUR_KEY)."
)
BAD_INPUT = "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."
NO_MESSAGES = (
    "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
)
NOT_JSON = "We could not parse the JSON body of your request. The API expects a JSON payload."


@dataclass(frozen=True, slots=True)
class _Visit:
    """One metered call on its way through the service."""

    call: Call
    endpoint: str
    body: Mapping[str, Any]
    model: str
    family: Family
    fault: Fault | None
    takes_gzip: bool
    azure: bool


class Service:
    """One simulated account and its API.

    Instants are seconds since it began; `wall_s` is the time of day then, for headers that tell one.
    """

    def __init__(self, settings: Settings, *, wall_s: float = 0.0) -> None:
        self._generation = 0
        self.wall_s = wall_s
        self._begin(settings)

    def _begin(self, settings: Settings) -> None:
        self._generation += 1
        self.settings = settings
        self.account = settings.account
        self.record = Record()
        self.judge = Judge(
            self.account,
            policy=settings.policy,
            start=Fraction(settings.level_at_start),
            window_s=settings.window_s,
            phase_s=settings.phase_s,
            refused_cost=settings.refused_cost,
            lockout_s=settings.lockout_s,
        )
        self._random = Random(settings.seed)
        self._resources = Resources(self._change_project)
        self._last_headers: list[tuple[str, str]] | None = None
        self._last_at = Fraction(0)
        self._due = sorted(settings.changes, key=lambda change: float(change["at_s"]))
        self._read_settings(after=Fraction(0))

    def _read_settings(self, after: Fraction) -> None:
        """Take over what is read from settings but has a state of its own."""
        settings = self.settings
        self._latency = settings.latency
        self._script = Script(settings.script)
        self._others = _arrivals(settings.crowd, settings.seed, float(after))
        self._next_other = next(self._others, None)

    def change(self, at: Fraction, **values: Any) -> None:
        """Change settings while it runs; levels stay. Raises `SettingsError`, and then nothing has changed."""
        self._catch_up(at)
        before, self.settings = self.settings, self.settings.changed(**values)
        if "limits" in values or "projects" in values:
            self.account = self.settings.account
            self.judge.change(at, self.account)
        if any(getattr(before, name) != getattr(self.settings, name) for name in ("faults", "others", "latency_s")):
            self._read_settings(after=at)

    def reset(self, **values: Any) -> None:
        """Begin anew, at time 0, with the same settings but for `values`."""
        self._begin(self.settings.changed(**values))

    def mark(self) -> None:
        """Begin to sum anew; levels and the record of calls stay."""
        self.judge.mark()
        self.record.mark()

    def summary(self, at: Fraction) -> Summary:
        """Sum up everything since the mark."""
        self._catch_up(at)
        return self.record.summary(float(at), self.judge.summary(at))

    def receive(
        self, at: Fraction, method: str, path: str, headers: Mapping[str, str], body: bytes, query: str = ""
    ) -> Reply:
        """Take a request whose last byte arrived at `at`, and decide everything about it. Header names are in lower
        case.
        """
        self._catch_up(at)
        call = self.record.open(float(at), method, path)
        call.request_id = f"req_{self._random.getrandbits(128):032x}"
        retry = headers.get("x-stainless-retry-count", "0")
        call.retry = int(retry) if retry.isdigit() else 0
        call.project = headers.get("openai-project")
        if self.settings.keep_bodies:
            call.headers, call.body = dict(headers), body.decode("utf-8", "replace")
        reply = self._decide(at, call, headers, body, query)
        call.status = 0 if reply.ending in ("hang", "reset") and not reply.kept else reply.status
        self.record.answered(call)
        reply.headers += self._plain_headers(reply)
        reply.generation = self._generation
        return reply

    def finish(self, at: Fraction, reply: Reply) -> list[tuple[str, str]]:
        """Note that a reply is about to be complete, settle its charge, and give the rate-limit headers as of then."""
        if reply.generation != self._generation or reply.finished:  # begun anew since
            return reply.limit_headers
        reply.finished = True
        if reply.admission is not None:
            if reply.settled_tokens is not None:
                self.judge.settle(at, reply.admission, {"tokens": reply.settled_tokens})
                self.record.settled(reply.call, "tokens", reply.settled_tokens)
            self.judge.release(at, reply.admission)
        self.record.close(reply.call, float(at))
        return self._limit_headers(at, reply.form, reply.pools)

    def _catch_up(self, at: Fraction) -> None:
        """Play whatever happened on the account until `at`: calls of others, and changes that were due."""
        while self._due and Fraction(self._due[0]["at_s"]) <= at:
            change = dict(self._due.pop(0))
            due = Fraction(change.pop("at_s"))
            self.change(max(due, self._last_at), **change)
        self._play_others(at)
        self._last_at = max(at, self._last_at)

    def _play_others(self, until: Fraction) -> None:
        while self._next_other is not None and self._next_other[0] <= until:
            when, other = self._next_other
            pool = other.pool or next(iter(self.account.pools))
            self.judge.arrive(when, {"requests": 1, "tokens": other.tokens, "in_flight": 0}, (pool,), others=True)
            self._next_other = next(self._others, None)

    def _decide(self, at: Fraction, call: Call, headers: Mapping[str, str], raw: bytes, query: str) -> Reply:
        call.endpoint, deployment = endpoint_of(call.path)
        refused = self._check_key(call, headers)
        if refused is not None:
            return refused
        content_type = headers.get("content-type", "")
        asked = Asked(call.method, call.endpoint, dict(parse_qsl(query)), content_type, raw)
        told = self._resources.handle(self.account, call.endpoint, asked)
        if told is not None:
            status, body = told
            if isinstance(body, bytes):
                return reply_with(call, status, body, "application/octet-stream")
            return json_reply(call, status, body)
        if call.endpoint not in TEXT + MEDIA or call.method != "POST":
            return json_reply(call, 404, error(f"Invalid URL ({call.method} {call.path})"))
        parsed = _parsed(content_type, raw)
        if parsed is None:
            return json_reply(call, 400, error(NOT_JSON))
        return self._visit(at, call, parsed, deployment, "gzip" in headers.get("accept-encoding", ""))

    def _visit(
        self, at: Fraction, call: Call, body: Mapping[str, Any], deployment: str | None, takes_gzip: bool
    ) -> Reply:
        """Find out what a metered call is about; then let it meet its fault or the judge."""
        model = body.get("model") or deployment or DEFAULT_MODELS.get(call.endpoint)
        if not isinstance(model, str):
            return json_reply(call, 400, error("you must provide a model parameter"))
        call.model, call.streamed = model, str(body.get("stream")).lower() == "true"
        family = self.account.family_of(model)
        if family is None:
            return json_reply(call, 404, _no_model(model, azure=deployment is not None))
        fault = self._script.pick(self._random, call.number, call.at_s, call.endpoint, model)
        call.fault = fault.kind if fault else None
        visit = _Visit(call, call.endpoint, body, model, family, fault, takes_gzip, deployment is not None)
        if fault is not None and fault.comes_first:
            return self._fail(at, visit, fault, ())
        return self._judge(at, visit)

    def _judge(self, at: Fraction, visit: _Visit) -> Reply:
        settings, call = self.settings, visit.call
        booking = book(
            visit.endpoint,
            visit.body,
            visit.model,
            charge=settings.charge,
            allowance=settings.allowance,
            maximum_of=settings.maximum_of,
        )
        call.input_tokens = booking.input_tokens
        pools = self.account.pools_of(visit.family, project=call.project, input_tokens=booking.input_tokens)
        verdict = self._ask(at, visit, pools, booking)
        if isinstance(verdict, Refusal):
            return self._refuse(at, visit, verdict)
        wrong = _complaint(visit.endpoint, visit.body, booking.input_tokens)
        if wrong is not None:  # a bad request was charged and its answer carries the headers: 62 of 66 recorded ones
            reply = json_reply(call, 400, wrong)
            reply.admission = verdict
            return self._with_limits(at, visit, reply, pools)
        if visit.fault is not None and visit.fault.replaces_answer:
            reply = self._fail(at, visit, visit.fault, pools)
            reply.admission = verdict
            return reply
        return self._answer(at, visit, verdict, booking)

    def _ask(self, at: Fraction, visit: _Visit, pools: tuple[str, ...], booking: Booking) -> Admission | Refusal:
        """Ask the judge, and put its verdict on record."""
        call, weight = visit.call, visit.family.weight_of(visit.model)
        charge = {
            "requests": Fraction(1),
            "tokens": booking.tokens * weight,
            "images": Fraction(booking.images),
            "input_tokens": Fraction(booking.input_tokens),
            "output_tokens": Fraction(booking.output_tokens),
        }
        verdict = self.judge.arrive(at, charge, pools)
        call.pool = visit.family.pool
        call.levels = {name: float(level) for name, level in verdict.levels.items()}
        units = {meter.unit for pool in pools for meter in self.account.pools[pool].meters}
        call.charge = {unit: _plain_number(amount) for unit, amount in charge.items() if amount and unit in units}
        call.admitted = isinstance(verdict, Admission)
        if isinstance(verdict, Refusal):
            call.refused_by, call.refused_pool = verdict.meter, verdict.pool
            call.told_s = None if verdict.told_s is None else float(verdict.told_s)
        self.record.judged(call)
        return verdict

    def _refuse(self, at: Fraction, visit: _Visit, refusal: Refusal) -> Reply:
        settings = self.settings
        body, content_type = refusal_body(settings.errors, refusal, visit.model, settings.organization)
        reply = reply_with(visit.call, 429, body, content_type)
        if settings.retry_after:
            reply.headers += retry_after_headers(refusal)
        return self._with_limits(at, visit, reply, refusal.pools)

    def _fail(self, at: Fraction, visit: _Visit, fault: Fault, pools: tuple[str, ...]) -> Reply:
        status, body, content_type = failure_body(fault)
        return self._with_limits(at, visit, reply_with(visit.call, status, body, content_type), pools)

    def _answer(self, at: Fraction, visit: _Visit, admission: Admission, booking: Booking) -> Reply:
        call, settings = visit.call, self.settings
        low, high = settings.output_range
        length = low if low == high else self._random.randint(low, high)
        if visit.endpoint in MEDIA:
            answer = media_answer(visit.endpoint, visit.body, call.number, booking.input_tokens, length)
        else:
            answer = answer_to(
                visit.endpoint,
                visit.body,
                visit.model,
                number=call.number,
                input_tokens=booking.input_tokens,
                output_tokens=length,
                echo=settings.echo,
            )
        answer = _failing(answer, visit)
        call.input_tokens, call.output_tokens = answer.input_tokens, answer.output_tokens
        reply = answer_reply(call, answer)
        reply.admission = admission
        reply.whole_s = reply.first_s = self._latency.draw(self._random)
        if booking.settles:
            reply.settled_tokens = answer.input_tokens + answer.output_tokens
        late = settings.sampled == "completion" or (settings.sampled == "mixed" and self._random.random() < 0.5)
        reply.sampled_late = late and answer.events is None
        if settings.compress and visit.takes_gzip:
            compress(reply)
        self._spoil(reply, visit.fault)
        if answer.events is not None:
            reply.first_s = min(reply.first_s, reply.whole_s * settings.first_chunk_share)
        return self._with_limits(at, visit, reply, admission.pools)

    def _spoil(self, reply: Reply, fault: Fault | None) -> None:
        """Do to a reply what its fault says."""
        if fault is None:
            return
        if fault.kind in ("hang", "reset"):
            reply.ending = fault.kind
        elif fault.kind in ("reset_mid_body", "close_mid_body"):
            reply.ending, reply.kept = fault.kind.partition("_")[0], fault.share
        elif fault.kind == "slow":
            reply.first_s = reply.whole_s = fault.seconds
        elif fault.kind == "trickle":
            trickle(reply, fault.seconds)

    def _with_limits(self, at: Fraction, visit: _Visit, reply: Reply, pools: tuple[str, ...]) -> Reply:
        """Add the rate-limit headers as of `at`."""
        fault = visit.fault
        reply.form = fault.form if fault is not None and fault.kind == "headers" else self.settings.headers
        reply.pools = pools
        reply.limit_headers = self._limit_headers(at, reply.form, pools)
        return reply

    def _limit_headers(self, at: Fraction, form: str, pools: tuple[str, ...]) -> list[tuple[str, str]]:
        if not pools:
            return []
        standings = self.judge.standings(at, pools)
        printed = print_headers(form, standings, self.wall_s + float(at), self._last_headers)
        if form == "late":
            self._last_headers = print_headers("openai", standings, 0.0)
        return printed

    def _check_key(self, call: Call, headers: Mapping[str, str]) -> Reply | None:
        given = headers.get("api-key") or headers.get("authorization", "").removeprefix("Bearer").strip()
        if not given:
            return json_reply(call, 401, error(NO_KEY))
        call.key = sha256(given.encode()).hexdigest()[:12]
        if self.settings.keys and given not in self.settings.keys:
            told = f"Incorrect API key provided: {given[:3]}****. "
            told += "You can find your API key at https://platform.openai.com/account/api-keys."
            return json_reply(call, 401, error(told, code="invalid_api_key"))
        return None

    def _change_project(self, project: str, model: str, meters: Mapping[str, int]) -> None:
        """Take over limits of a project that were changed by the administration endpoint."""
        family = self.account.family_of(model)
        name = family.pool if family is not None and not self.account.every_model else "*"
        projects = {each: dict(own) for each, own in self.settings.projects.items()}
        own = projects.setdefault(project, {})
        if name == "*":
            own.update(meters)
        else:
            own[name] = {**own.get(name, {}), **meters}
        self.change(self._last_at, projects=projects)

    def _plain_headers(self, reply: Reply) -> list[tuple[str, str]]:
        return [
            ("x-request-id", reply.call.request_id),
            ("openai-organization", self.settings.organization),
            ("openai-processing-ms", str(round(reply.whole_s * 1000))),
            ("openai-version", "2020-10-01"),
        ]


def _arrivals(crowd: tuple[Others, ...], seed: int, after_s: float) -> Iterator[tuple[Fraction, Others]]:
    """Tell when whose calls arrive, in order, from `after_s` on."""

    def of_one(index: int, others: Others) -> Iterator[tuple[Fraction, int]]:
        for at in others.instants(Random(f"{seed}/{index}")):
            yield Fraction(at + after_s), index

    arrivals = merge(*(of_one(index, others) for index, others in enumerate(crowd)))
    return ((at, crowd[index]) for at, index in arrivals)


def _parsed(content_type: str, raw: bytes) -> Mapping[str, Any] | None:
    parts = parse_multipart(content_type, raw)
    if parts is not None:
        return {part.name: part.content.decode("utf-8", "replace") for part in parts if part.filename is None}
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _failing(answer: Answer, visit: _Visit) -> Answer:
    """Have a stream end in an error, where the fault says so."""
    fault = visit.fault
    if fault is None or fault.kind != "error_in_stream" or not answer.events:
        return answer
    kept = answer.events[: max(1, int(len(answer.events) * fault.share))]
    begun = answer.events[0][1]
    response = begun.get("response") if isinstance(begun, Mapping) else None
    return replace(answer, events=(*kept, *failed_stream_events(fault, visit.endpoint, response or {})))


def _no_model(model: str, *, azure: bool) -> dict[str, Any]:
    if azure:
        told = "The API deployment for this resource does not exist. If you created the deployment within the last 5 "
        return error(f"{told}minutes, please wait a moment and try again.", code="DeploymentNotFound")
    return error(f"The model `{model}` does not exist or you do not have access to it.", code="model_not_found")


def _complaint(endpoint: str, body: Mapping[str, Any], input_tokens: int) -> dict[str, Any] | None:
    """Find what the API itself would not take."""
    if endpoint == "chat/completions" and not body.get("messages"):
        return error(NO_MESSAGES, param="messages", code="empty_array")
    if endpoint == "embeddings":
        inputs = prompts_of(body, "input")
        if not inputs or any(each in ("", []) for each in inputs):
            return error(BAD_INPUT)
        if len(inputs) > MOST_INPUTS:
            told = f"Invalid 'input': array too long. Expected an array with maximum length {MOST_INPUTS}, "
            told += f"but got an array with length {len(inputs)} instead."
            return error(told, param="input", code="array_above_max_length")
        if input_tokens > MOST_EMBEDDED_TOKENS:
            told = f"Invalid 'input': maximum request size is {MOST_EMBEDDED_TOKENS} tokens per request."
            return error(told, "max_tokens_per_request", code="max_tokens_per_request")
    return None


def _plain_number(amount: Fraction) -> float:
    return int(amount) if amount.denominator == 1 else float(amount)
