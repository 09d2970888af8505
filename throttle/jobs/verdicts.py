"""What an error means for the line that met it, and for the lines behind it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final, Literal

import openai

from throttle.errors import RequestTooLarge, ThrottleError, WaitTimeout
from throttle.feedback.refusals import read_refusal
from throttle.jobs.result import Failure

__all__ = ["HOPELESS", "Verdict", "judge"]

What = Literal["failed", "again", "unreachable", "stop"]

HOPELESS: Final = frozenset({401, 403, 404})
"""Statuses that are seldom one line's own fault: wrong key, no access, no such model or path."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do.

    Attributes:
        what: `failed` the line is at fault and stays so; `again` it may succeed later; `unreachable` nothing came
            back, so it says nothing of the line; `stop` every other line would meet the same.
        failure: why.
        status_code, request_id, raw: the server's answer, where there was one.
        wait_s: how long the server asked to be left alone, 0 where it didn't say.
    """

    what: What
    failure: Failure
    status_code: int | None = None
    request_id: str | None = None
    raw: bytes = b""
    wait_s: float = 0.0


def judge(error: openai.OpenAIError) -> Verdict:
    """Judge an error that a call through the SDK ended with, its own retries spent."""
    if isinstance(error, openai.APIStatusError):
        return _judge_status(error)
    if isinstance(error, openai.APITimeoutError):
        return Verdict("again", Failure("timeout", "no answer within the client's timeout"))
    if isinstance(error, openai.APIConnectionError):
        return Verdict("unreachable", Failure("connection", _root_cause(error)))
    if isinstance(error, RequestTooLarge):
        return Verdict("failed", Failure("request_too_large", str(error)))
    if isinstance(error, WaitTimeout):
        return Verdict("again", Failure("wait_timeout", str(error)))
    if isinstance(error, ThrottleError):
        return Verdict("stop", Failure("throttle", str(error)))
    if isinstance(error, openai.APIError):
        return Verdict("again", Failure(error.code or "api_error", error.message))
    return Verdict("stop", Failure("client", str(error)))


def _judge_status(error: openai.APIStatusError) -> Verdict:
    response = error.response
    refusal = read_refusal(error.status_code, response.headers, response.content, wall_s=time.time())
    code = error.code or refusal.code or str(error.status_code)
    what: What = "failed"
    if error.status_code == 401 or refusal.kind == "quota":
        what = "stop"
    elif refusal.kind == "rate" or refusal.retry:
        what = "again"
    return Verdict(
        what,
        Failure(str(code), _message(error)),
        error.status_code,
        error.request_id,
        response.content.translate(None, b"\r\n"),
        refusal.wait_s or 0.0,
    )


def _message(error: openai.APIStatusError) -> str:
    body: Any = error.body
    message = body.get("message") if isinstance(body, dict) else None
    text = str(message or error.message)
    return " ".join(text.split())[:1000]


def _root_cause(error: BaseException) -> str:
    """Find the words of what lies at the bottom of a connection error."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return " ".join((str(error) or type(error).__name__).split())
