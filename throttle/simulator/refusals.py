"""The bodies of refusals and of other errors: the API's own words, and those of others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from throttle.simulator.durations import cut_to_ms, go_duration, raised_to_ms
from throttle.simulator.judge import Refusal

__all__ = ["REFUSAL_FORMS", "error", "rate_limit_error", "refusal_body", "retry_after_headers"]

METERS = {
    "rpm": "requests per min (RPM)",
    "rpd": "requests per day (RPD)",
    "tpm": "tokens per min (TPM)",
    "tpd": "tokens per day (TPD)",
    "ipm": "images per min (IPM)",
    "itpm": "input tokens per min (ITPM)",
    "otpm": "output tokens per min (OTPM)",
}
MORE = "Visit https://platform.openai.com/account/rate-limits to learn more."
HELP = "Contact us through our help center at help.openai.com if you continue to have issues."
QUOTA_INCREASE = (
    "Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit."
)


def error(
    message: str, kind: str | None = "invalid_request_error", *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Wrap a message as the API does."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refusal_body(form: str, refusal: Refusal, model: str, organization: str) -> tuple[bytes, str]:
    """Say in one of `REFUSAL_FORMS` why a call was refused; gives the body and its type."""
    told = REFUSAL_FORMS[form](refusal, model, organization)
    if isinstance(told, str):
        return told.encode(), "text/html" if told.startswith("<") else "text/plain"
    return json.dumps(told).encode(), "application/json"


def rate_limit_error(refusal: Refusal, model: str, organization: str) -> dict[str, Any]:
    """Say why a call was refused, in the texts of recorded 429s with the figures of the judge."""
    if refusal.unit == "images" and refusal.told_s is not None:
        return _images(refusal, organization)
    if refusal.unit == "in_flight":
        told = f"Too many requests in flight for {model} in organization {organization}: Limit {refusal.limit}."
        return error(told, "requests", code="rate_limit_exceeded")
    pool = f" (for limit {refusal.pool})" if refusal.pool not in ("default", model) else ""
    where = f"{model}{pool} in organization {organization} on {_meter(refusal)}: Limit {refusal.limit}"
    if refusal.told_s is None:
        told = f"Request too large for {where}, Requested {refusal.requested}. "
        told += f"The input or output tokens must be reduced in order to run successfully. {MORE}"
    else:
        told = f"Rate limit reached for {where}, Used {refusal.used}, Requested {refusal.requested}. "
        told += f"Please try again in {_wait(refusal)}. {MORE}"
    return error(told, _kind(refusal), code="rate_limit_exceeded")


def retry_after_headers(refusal: Refusal) -> list[tuple[str, str]]:
    """Print `retry-after` in whole seconds and `retry-after-ms`, both rounded up; nothing where waiting won't help."""
    if refusal.told_s is None:
        return []
    milliseconds = raised_to_ms(refusal.told_s)
    return [("retry-after", str(-(-milliseconds // 1000))), ("retry-after-ms", str(milliseconds))]


def _meter(refusal: Refusal) -> str:
    return METERS.get(refusal.meter, f"{refusal.unit} ({refusal.meter.upper()})")


def _kind(refusal: Refusal) -> str:
    return "tokens" if "token" in refusal.unit else "requests"


def _wait(refusal: Refusal) -> str:
    return go_duration(max(1, cut_to_ms(refusal.told_s or refusal.period_s)))


def _whole_seconds(refusal: Refusal) -> int:
    return -(-raised_to_ms(refusal.told_s or refusal.period_s) // 1000)


def _images(refusal: Refusal, organization: str) -> dict[str, Any]:
    told = f"Rate limit exceeded for images per minute in organization {organization}. Limit: {refusal.limit}/1min. "
    told += f"Current: {refusal.used + refusal.requested}/1min. Please visit "
    told += "https://help.openai.com/en/articles/6696591 to learn how to increase your rate limit."
    return error(told, "requests", code="rate_limit_exceeded")


def _of_2023(refusal: Refusal, model: str, organization: str) -> dict[str, Any]:
    told = f"Rate limit reached for default-{model} in organization {organization} on {_kind(refusal)} per min. "
    told += f"Limit: {refusal.limit} / min. Please try again in {_wait(refusal)}. {HELP}"
    return error(told, _kind(refusal))


def _of_2022(refusal: Refusal, model: str, organization: str) -> dict[str, Any]:
    current = refusal.used + refusal.requested
    told = f"Rate limit reached for default-{model} in organization {organization} on {_kind(refusal)} per min. "
    told += f"Limit: {refusal.limit:.6f} / min. Current: {current:.6f} / min. "
    told += "Contact support@openai.com if you continue to have issues."
    return error(told, _kind(refusal))


def _azure(refusal: Refusal, model: str, organization: str) -> dict[str, Any]:
    limit = "token rate limit" if _kind(refusal) == "tokens" else "call rate limit"
    told = "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded "
    told += f"{limit} of your current OpenAI S0 pricing tier. Please retry after {_whole_seconds(refusal)} seconds. "
    return {"error": {"code": "429", "message": told + QUOTA_INCREASE}}


def _openrouter(refusal: Refusal, model: str, organization: str) -> dict[str, Any]:
    told = f"Rate limit exceeded: limit_rpm/{model}. Please retry shortly."
    return {"error": {"message": told, "code": 429, "metadata": {"provider_name": None}}, "user_id": "user_simulator"}


def _seconds_only(refusal: Refusal, model: str, organization: str) -> dict[str, Any]:
    wait_s = float(refusal.told_s or refusal.period_s)
    told = f"You've exceeded the rate limit, please slow down and try again after {wait_s:.2f} seconds."
    return error(told, None)


def _lying(refusal: Refusal, model: str, organization: str) -> dict[str, Any]:
    """The figures of one server that always says `Used` is the limit and `Requested` is 1."""
    told = (
        f"Rate limit reached for {model} in organization {organization} on {_meter(refusal)}: Limit {refusal.limit}, "
    )
    told += f"Used {refusal.limit}, Requested 1. Please try again in {_wait(refusal)}. {MORE}"
    return error(told, _kind(refusal), code="rate_limit_exceeded")


def _bare(refusal: Refusal, model: str, organization: str) -> dict[str, Any]:
    return {"error": "Too Many Requests"}


def _plain(refusal: Refusal, model: str, organization: str) -> str:
    return "Too Many Requests"


def _html(refusal: Refusal, model: str, organization: str) -> str:
    return "<html><head><title>429 Too Many Requests</title></head><body><h1>429 Too Many Requests</h1></body></html>"


REFUSAL_FORMS: Mapping[str, Callable[[Refusal, str, str], Mapping[str, Any] | str]] = {
    "openai": rate_limit_error,
    "openai-2023": _of_2023,
    "openai-2022": _of_2022,
    "azure": _azure,
    "openrouter": _openrouter,
    "seconds": _seconds_only,
    "lying": _lying,
    "bare": _bare,
    "plain": _plain,
    "html": _html,
}
"""The forms of refusals known by name; each was seen in recorded or quoted answers."""
