"""The endpoints that no limit counts: models, files, token counts, a project's limits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from throttle.simulator.admin import METER_OF, project_rate_limits
from throttle.simulator.files import Files, page_of
from throttle.simulator.limits import AccountLimits
from throttle.simulator.multipart import parse_multipart
from throttle.simulator.refusals import error
from throttle.simulator.tokens import input_tokens

__all__ = ["Resources"]

LISTED_MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-5", "text-embedding-3-small", "gpt-3.5-turbo-instruct")

Told = tuple[int, Mapping[str, Any] | bytes]
"""A status and a body."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to one of these endpoints."""

    method: str
    rest: str
    query: Mapping[str, str]
    content_type: str
    body: bytes


class Resources:
    """Whatever the account keeps. `change_project` is told when a project's limits are changed here."""

    def __init__(self, change_project: Callable[[str, str, Mapping[str, int]], None]) -> None:
        self._files = Files()
        self._change_project = change_project

    def handle(self, account: AccountLimits, endpoint: str, asked: Asked) -> Told | None:
        """Answer a request; None if the endpoint is none of these."""
        if endpoint == "models" or endpoint.startswith("models/"):
            return _models(account, endpoint.partition("/")[2])
        if endpoint == "files" or endpoint.startswith("files/"):
            parts = parse_multipart(asked.content_type, asked.body)
            return self._files.handle(asked.method, endpoint.partition("/")[2], asked.query, parts)
        if endpoint == "responses/input_tokens" and asked.method == "POST":
            return _count(asked.body)
        pieces = endpoint.split("/")
        if pieces[:2] == ["organization", "projects"] and pieces[3:4] == ["rate_limits"]:
            return self._rate_limits(account, pieces[2], pieces[4:], asked)
        return None

    def _rate_limits(self, account: AccountLimits, project: str, rest: list[str], asked: Asked) -> Told:
        rows = project_rate_limits(account, project)
        if asked.method == "GET" and not rest:
            return 200, page_of(rows, asked.query)
        found = [row for row in rows if rest and row["id"] == rest[0]]
        if asked.method != "POST" or not found:
            return 404, error(f"No such rate limit: {'/'.join(rest)}", param="rate_limit_id")
        changes = json.loads(asked.body or b"{}")
        meters = {METER_OF[name]: int(value) for name, value in changes.items() if name in METER_OF}
        self._change_project(project, str(found[0]["model"]), meters)
        return 200, {**found[0], **changes}


def _models(account: AccountLimits, asked: str) -> Told:
    if asked and account.family_of(asked) is None:
        return 404, error(f"The model '{asked}' does not exist", param="model", code="model_not_found")
    names = [asked] if asked else list(account.models or LISTED_MODELS)
    listed = [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "system"} for name in names]
    return 200, listed[0] if asked else {"object": "list", "data": listed}


def _count(raw: bytes) -> Told:
    body = json.loads(raw or b"{}")
    count = input_tokens("responses", body, str(body.get("model") or ""))
    return 200, {"object": "response.input_tokens", "input_tokens": count}
