"""The simulated API without a socket: a request and its instant go in, a reply comes out. It reads no clock and waits
for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import sha256
from random import Random
from typing import Any
from urllib.parse import unquote

from throttle.simulator.answers import Answer, answer_to
from throttle.simulator.charges import Booking, book
from throttle.simulator.headers import openai_headers
from throttle.simulator.judge import Admission, Judge, Refusal
from throttle.simulator.limits import Family
from throttle.simulator.record import Call, Record, Summary
from throttle.simulator.refusals import error, rate_limit_error, retry_after_headers
from throttle.simulator.settings import Settings
from throttle.simulator.tokens import prompts_of

__all__ = ["Reply", "Service"]

MODEL_ENDPOINTS = ("chat/completions", "responses", "completions", "embeddings")
LISTED_MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-5", "text-embedding-3-small", "gpt-3.5-turbo-instruct")
MOST_INPUTS = 2048
MOST_EMBEDDED_TOKENS = 300_000


@dataclass(slots=True)
class Reply:
    """What to send, and when: `first_s` after the arrival the head, `whole_s` after it the last byte."""

    call: Call
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    events: Sequence[bytes] | None = None
    first_s: float = 0.0
    whole_s: float = 0.0
    sampled_late: bool = False
    settled_tokens: int | None = None
    admission: Admission | None = None
    pools: tuple[str, ...] = ()
    limit_headers: list[tuple[str, str]] = field(default_factory=list)
    generation: int = 0


class Service:
    """One simulated account and its API. Instants are seconds since it began, and must not go back."""

    def __init__(self, settings: Settings) -> None:
        self._generation = 0
        self._begin(settings)

    def _begin(self, settings: Settings) -> None:
        self._generation += 1
        self.settings = settings
        self.account = settings.account
        self.record = Record()
        self._latency = settings.latency
        self._random = Random(settings.seed)
        self.judge = Judge(
            self.account,
            policy=settings.policy,
            start=Fraction(settings.level_at_start),
            window_s=settings.window_s,
            phase_s=settings.phase_s,
            refused_cost=settings.refused_cost,
        )

    def change(self, at: Fraction, **values: Any) -> None:
        """Change settings while it runs; levels stay. Raises `SettingsError`, and then nothing has changed."""
        settings = self.settings.changed(**values)
        if settings.limits != self.settings.limits or settings.projects != self.settings.projects:
            self.account = settings.account
            self.judge.change(at, self.account)
        self._latency = settings.latency
        self.settings = settings

    def reset(self, **values: Any) -> None:
        """Begin anew, at time 0, with the same settings but for `values`."""
        self._begin(self.settings.changed(**values))

    def mark(self) -> None:
        """Begin to sum anew; levels and the record of calls stay."""
        self.judge.mark()
        self.record.mark()

    def summary(self, at: Fraction) -> Summary:
        """Sum up everything since the mark."""
        return self.record.summary(float(at), self.judge.summary(at))

    def receive(self, at: Fraction, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Take a request whose last byte arrived at `at`, and decide everything about it."""
        call = self.record.open(float(at), method, path)
        call.request_id = f"req_{self._random.getrandbits(128):032x}"
        call.retry = int(headers.get("x-stainless-retry-count", "0") or 0)
        call.project = headers.get("openai-project")
        if self.settings.keep_bodies:
            call.headers, call.body = dict(headers), body.decode("utf-8", "replace")
        reply = self._decide(at, call, headers, body)
        call.status = reply.status
        self.record.answered(call)
        reply.headers += self._plain_headers(reply)
        reply.generation = self._generation
        return reply

    def finish(self, at: Fraction, reply: Reply) -> list[tuple[str, str]]:
        """Note that a reply is about to be complete, settle its charge, and give the rate-limit headers as of then."""
        if reply.generation != self._generation:  # begun anew since
            return reply.limit_headers
        if reply.settled_tokens is not None and reply.admission is not None:
            self.judge.settle(at, reply.admission, {"tokens": reply.settled_tokens})
            self.record.settled(reply.call, "tokens", reply.settled_tokens)
            reply.settled_tokens = None
        self.record.close(reply.call, float(at))
        return list(openai_headers(self.judge.standings(at, reply.pools))) if reply.pools else []

    def _decide(self, at: Fraction, call: Call, headers: Mapping[str, str], raw: bytes) -> Reply:
        endpoint, deployment = endpoint_of(call.path)
        call.endpoint = endpoint
        refused = self._check_key(call, headers)
        if refused is not None:
            return refused
        if endpoint == "models" or endpoint.startswith("models/"):
            return self._models(call)
        if endpoint not in MODEL_ENDPOINTS or call.method != "POST":
            return _error(call, 404, error(f"Invalid URL ({call.method} {call.path})"))
        body = _parsed(raw)
        if body is None:
            told = "We could not parse the JSON body of your request. The API expects a JSON payload."
            return _error(call, 400, error(told))
        return self._judge(at, call, endpoint, body, deployment)

    def _judge(self, at: Fraction, call: Call, endpoint: str, body: Mapping[str, Any], deployment: str | None) -> Reply:
        model = body.get("model") or deployment
        if not isinstance(model, str):
            return _error(call, 400, error("you must provide a model parameter"))
        call.model, call.streamed = model, bool(body.get("stream"))
        family = self.account.family_of(model)
        if family is None:
            told = f"The model `{model}` does not exist or you do not have access to it."
            return _error(call, 404, error(told, code="model_not_found"))
        settings = self.settings
        booking = book(
            endpoint, body, model, charge=settings.charge, allowance=settings.allowance, maximum_of=settings.maximum_of
        )
        call.input_tokens = booking.input_tokens
        pools = self.account.pools_of(family, project=call.project, input_tokens=booking.input_tokens)
        verdict = self._ask(at, call, family, pools, booking)
        if isinstance(verdict, Refusal):
            return self._refuse(at, call, pools, verdict)
        wrong = _complaint(endpoint, body, booking.input_tokens)
        if wrong is not None:  # a bad request was charged and its answer carries the headers: 62 of 66 recorded ones
            return self._reply(at, call, pools, 400, json.dumps(wrong).encode())
        low, high = settings.output_range
        answer = answer_to(
            endpoint,
            body,
            model,
            number=call.number,
            input_tokens=booking.input_tokens,
            output_tokens=low if low == high else self._random.randint(low, high),
            echo=settings.echo,
        )
        return self._answer(at, call, verdict, answer, settles=booking.settles)

    def _ask(
        self, at: Fraction, call: Call, family: Family, pools: tuple[str, ...], booking: Booking
    ) -> Admission | Refusal:
        """Ask the judge, and put its verdict on record."""
        weight = family.weight_of(call.model or "")
        charge = {"requests": Fraction(1), "tokens": booking.tokens * weight, "images": Fraction(booking.images)}
        verdict = self.judge.arrive(at, charge, pools)
        call.pool = family.pool
        call.levels = {name: float(level) for name, level in verdict.levels.items()}
        call.charge = {unit: _plain_number(amount) for unit, amount in charge.items() if amount}
        call.admitted = isinstance(verdict, Admission)
        if isinstance(verdict, Refusal):
            call.refused_by, call.refused_pool = verdict.meter, verdict.pool
            call.told_s = None if verdict.told_s is None else float(verdict.told_s)
        self.record.judged(call)
        return verdict

    def _refuse(self, at: Fraction, call: Call, pools: tuple[str, ...], refusal: Refusal) -> Reply:
        told = rate_limit_error(refusal, call.model or "", self.settings.organization)
        reply = self._reply(at, call, pools, 429, json.dumps(told).encode())
        if self.settings.retry_after:
            reply.headers += retry_after_headers(refusal)
        return reply

    def _answer(self, at: Fraction, call: Call, admission: Admission, answer: Answer, *, settles: bool) -> Reply:
        call.input_tokens, call.output_tokens = answer.input_tokens, answer.output_tokens
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        whole = answer.events is None
        reply = self._reply(at, call, admission.pools, 200, body if whole else b"", answer.content_type)
        reply.admission = admission
        reply.whole_s = reply.first_s = self._latency.draw(self._random)
        if answer.events is not None:
            reply.events = [_event(name, told) for name, told in answer.events]
            reply.first_s = reply.whole_s * self.settings.first_chunk_share
        if settles:
            reply.settled_tokens = answer.input_tokens + answer.output_tokens
        sampled = self.settings.sampled
        late = sampled == "completion" or (sampled == "mixed" and self._random.random() < 0.5)
        reply.sampled_late = late and answer.events is None
        return reply

    def _reply(
        self,
        at: Fraction,
        call: Call,
        pools: tuple[str, ...],
        status: int,
        body: bytes,
        content_type: str = "application/json",
    ) -> Reply:
        reply = Reply(call, status, [("content-type", content_type)], body, pools=pools)
        reply.limit_headers = list(openai_headers(self.judge.standings(at, pools)))
        return reply

    def _check_key(self, call: Call, headers: Mapping[str, str]) -> Reply | None:
        given = headers.get("api-key") or headers.get("authorization", "").removeprefix("Bearer").strip()
        if not given:
            told = "You didn't provide an API key. You need to provide your API key in an Authorization header using "
            told += "Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
            return _error(call, 401, error(told))
        call.key = sha256(given.encode()).hexdigest()[:12]
        if self.settings.keys and given not in self.settings.keys:
            told = f"Incorrect API key provided: {given[:3]}****. "
            told += "You can find your API key at https://platform.openai.com/account/api-keys."
            return _error(call, 401, error(told, code="invalid_api_key"))
        return None

    def _models(self, call: Call) -> Reply:
        names = self.account.models or LISTED_MODELS
        asked = call.endpoint.partition("/")[2]
        if asked and self.account.family_of(asked) is None:
            told = f"The model '{asked}' does not exist"
            return _error(call, 404, error(told, param="model", code="model_not_found"))
        listed = [
            {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "system"}
            for name in ([asked] if asked else names)
        ]
        told_all = listed[0] if asked else {"object": "list", "data": listed}
        return Reply(call, 200, [("content-type", "application/json")], json.dumps(told_all).encode())

    def _plain_headers(self, reply: Reply) -> list[tuple[str, str]]:
        return [
            ("x-request-id", reply.call.request_id),
            ("openai-organization", self.settings.organization),
            ("openai-processing-ms", str(round(reply.whole_s * 1000))),
            ("openai-version", "2020-10-01"),
        ]


def endpoint_of(path: str) -> tuple[str, str | None]:
    """Find the endpoint in a path, and the deployment where it is one of Azure's:
    `/openai/deployments/NAME/chat/completions`.
    """
    parts = path.strip("/").split("/")
    if parts[:2] == ["openai", "deployments"] and len(parts) > 3:
        return "/".join(parts[3:]), unquote(parts[2])
    if parts and parts[0] == "openai":
        parts = parts[1:]
    if parts and parts[0] == "v1":
        parts = parts[1:]
    return "/".join(parts), None


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _complaint(endpoint: str, body: Mapping[str, Any], input_tokens: int) -> dict[str, Any] | None:
    """Find what the API itself would not take."""
    if endpoint == "chat/completions" and not body.get("messages"):
        told = (
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
        )
        return error(told, param="messages", code="empty_array")
    if endpoint == "embeddings":
        inputs = prompts_of(body, "input")
        if not inputs or any(each in ("", []) for each in inputs):
            return error(
                "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."
            )
        if len(inputs) > MOST_INPUTS:
            told = f"Invalid 'input': array too long. Expected an array with maximum length {MOST_INPUTS}, "
            told += f"but got an array with length {len(inputs)} instead."
            return error(told, param="input", code="array_above_max_length")
        if input_tokens > MOST_EMBEDDED_TOKENS:
            told = f"Invalid 'input': maximum request size is {MOST_EMBEDDED_TOKENS} tokens per request."
            return error(told, "max_tokens_per_request", code="max_tokens_per_request")
    return None


def _error(call: Call, status: int, told: Mapping[str, Any]) -> Reply:
    return Reply(call, status, [("content-type", "application/json")], json.dumps(told).encode())


def _event(name: str | None, told: Mapping[str, Any] | str) -> bytes:
    data = told if isinstance(told, str) else json.dumps(told)
    return (f"event: {name}\ndata: {data}\n\n" if name else f"data: {data}\n\n").encode()


def _plain_number(amount: Fraction) -> float:
    return int(amount) if amount.denominator == 1 else float(amount)
