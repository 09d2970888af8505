"""Every store answers random exchanges exactly as the pure transition does."""

from __future__ import annotations

from pathlib import Path

from throttle.stores.conformance import check_store
from throttle.stores.memory import MemoryStore
from throttle.stores.redis import RedisStore
from throttle.stores.sqlite import SqliteStore


def test_the_memory_store_is_the_transition() -> None:
    check_store(lambda clock: MemoryStore(clock=clock), seeds=range(5))


def test_a_sqlite_file_keeps_every_figure(tmp_path: Path) -> None:
    check_store(lambda clock: SqliteStore(tmp_path / "a.db", clock=clock), seeds=range(40))


def test_the_script_computes_what_the_transition_computes(redis_url: str) -> None:
    check_store(lambda clock: RedisStore(redis_url, clock=clock), seeds=range(80))
