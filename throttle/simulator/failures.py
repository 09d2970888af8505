"""The answers of faults: what a server says when it fails."""

from __future__ import annotations

import json
from typing import Any

from throttle.simulator.faults import Fault
from throttle.simulator.refusals import error

__all__ = ["failed_stream_events", "failure_body"]

HELP = "You can retry your request, or contact us through our help center at help.openai.com"
SERVER = f"The server had an error processing your request. Sorry about that! {HELP} if you keep seeing this error."
OVERLOADED = f"That model is currently overloaded with other requests. {HELP} if the error persists."
SLOW_DOWN = (
    "Slow down: your request rate grew too fast. Reduce it to its original level, keep it there for at least 15 "
    "minutes, then raise it gradually."
)
ENGINE_OVERLOADED = "The engine is currently overloaded, please try again later."
QUOTA = "You exceeded your current quota, please check your plan and billing details."
PROXY = "upstream connect error or disconnect/reset before headers. reset reason: connection timeout"
PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


def failure_body(fault: Fault) -> tuple[int, bytes, str]:
    """Give the status, the body and its type of a fault that takes the place of the answer."""
    if fault.kind == "plain":
        return 503, PROXY.encode(), "text/plain"
    if fault.kind == "html":
        return 502, PAGE.encode(), "text/html"
    status, told = {
        "500": (500, error(SERVER, "server_error")),
        "503": (503, error(OVERLOADED, "server_error")),
        "slow_down": (503, error(SLOW_DOWN, "server_error", code="slow_down")),
        "engine_overloaded": (503, error(ENGINE_OVERLOADED, "server_error", code="engine_overloaded")),
        "quota": (429, error(QUOTA, "insufficient_quota", code="insufficient_quota")),
    }.get(fault.kind, (fault.status, error(fault.message or SERVER, _kind_of(fault.status), code=fault.code)))
    return status, json.dumps(told).encode(), "application/json"


def failed_stream_events(fault: Fault, endpoint: str, response: Any) -> list[tuple[str | None, Any]]:
    """Give the events with which a stream ends in an error. `response` is the response as begun, of the Responses
    API.
    """
    code, message = fault.code or "server_error", fault.message or SERVER
    if endpoint == "responses":
        failed = {**response, "status": "failed", "error": {"code": code, "message": message}}
        return [("response.failed", {"type": "response.failed", "sequence_number": 999, "response": failed})]
    return [(None, error(message, code if code != "rate_limit_exceeded" else "tokens", code=code))]


def _kind_of(status: int) -> str:
    return "server_error" if status >= 500 else "invalid_request_error"
