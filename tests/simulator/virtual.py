"""A simulated server in virtual time: requests go in at instants of the test's choice."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

from throttle.simulator import Reply, Service, Settings

HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello there"}]}
"""A chat that is charged 5 tokens under `characters`."""


class Virtual:
    """A service and its answers."""

    def __init__(self, **settings: Any) -> None:
        self.service = Service(Settings.of(**settings), wall_s=1_800_000_000.0)

    def post(
        self,
        at: float | Fraction,
        body: Any = None,
        path: str = "/v1/chat/completions",
        *,
        method: str = "POST",
        **headers: str,
    ) -> Reply:
        """Send one request at `at`; header names are written with `_` for `-`."""
        raw = body if isinstance(body, bytes) else json.dumps(HELLO if body is None else body).encode()
        told = {"authorization": "Bearer k", **{name.replace("_", "-"): value for name, value in headers.items()}}
        path, _, query = path.partition("?")
        return self.service.receive(Fraction(at), method, path, told, raw, query)

    def levels(self, at: float | Fraction, pool: str = "default") -> list[Fraction]:
        """Tell every level of a pool."""
        return [standing.level for standing in self.service.judge.standings(Fraction(at), [pool])]


def told(reply: Reply) -> Any:
    """Read the JSON of a reply."""
    return json.loads(reply.body)
