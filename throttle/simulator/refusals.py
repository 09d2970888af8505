"""The bodies of refusals and of other errors, in the API's own words."""

from __future__ import annotations

from typing import Any

from throttle.simulator.durations import cut_to_ms, go_duration, raised_to_ms
from throttle.simulator.judge import Refusal

__all__ = ["error", "rate_limit_error", "retry_after_headers"]

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


def error(
    message: str, kind: str | None = "invalid_request_error", *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Wrap a message as the API does."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def rate_limit_error(refusal: Refusal, model: str, organization: str) -> dict[str, Any]:
    """Say why a call was refused: the texts of recorded 429s, with the figures of the judge."""
    pool = f" (for limit {refusal.pool})" if refusal.pool not in ("default", model) else ""
    meter = METERS.get(refusal.meter, f"{refusal.unit} ({refusal.meter.upper()})")
    where = f"{model}{pool} in organization {organization} on {meter}: Limit {refusal.limit}"
    kind = "tokens" if "token" in refusal.unit else "requests"
    if refusal.told_s is None:
        told = f"Request too large for {where}, Requested {refusal.requested}. "
        told += f"The input or output tokens must be reduced in order to run successfully. {MORE}"
    else:
        wait = go_duration(max(1, cut_to_ms(refusal.told_s)))
        told = f"Rate limit reached for {where}, Used {refusal.used}, Requested {refusal.requested}. "
        told += f"Please try again in {wait}. {MORE}"
    return error(told, kind, code="rate_limit_exceeded")


def retry_after_headers(refusal: Refusal) -> list[tuple[str, str]]:
    """Print `retry-after` in whole seconds and `retry-after-ms`, both rounded up; nothing where waiting won't help."""
    if refusal.told_s is None:
        return []
    milliseconds = raised_to_ms(refusal.told_s)
    return [("retry-after", str(-(-milliseconds // 1000))), ("retry-after-ms", str(milliseconds))]
