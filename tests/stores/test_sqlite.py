"""A SQLite file as a store: what goes wrong with it, each in one line that helps."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from throttle import Limiter, StoreError
from throttle.stores.conformance import Clock
from throttle.stores.protocol import Definition, Exchange, Line
from throttle.stores.sqlite import SqliteStore

POOL = Definition("d", "{}", (Line(60, 1, 3600, 3600),))


def exchange(number: int = 1) -> tuple[str, Exchange]:
    return "k", Exchange("p", number, "d", definition=POOL)


def test_a_file_that_another_process_locks_is_waited_for_and_then_told(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db", timeout_s=0.05)
    store.exchange([exchange()])
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"a\.db: database is locked: another process holds it for too long"):
        store.exchange([exchange(2)])
    other.execute("ROLLBACK")
    other.close()
    store.exchange([exchange(2)])
    store.close()


def test_a_file_that_is_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"no database at all, but long enough to be looked at" * 30)
    store = SqliteStore(tmp_path / "a.db")
    with pytest.raises(StoreError, match="file is not a database: it is something else"):
        store.exchange([exchange()])


def test_a_damaged_file_is_told_and_nothing_else_breaks(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db")
    store.exchange([exchange()])
    store.close()
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("UPDATE pools SET state = '[1, 2'")
    connection.close()
    with pytest.raises(StoreError, match="the state of a pool can't be read"):
        store.exchange([exchange(2)])
    store.close()


def test_a_directory_that_does_not_exist_is_told(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "none" / "a.db")
    with pytest.raises(StoreError, match="does its directory exist"):
        store.exchange([exchange()])


def test_a_file_that_must_not_be_written_is_told(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db")
    store.exchange([exchange()])
    store._open().execute("PRAGMA query_only = ON")  # what the rights of a file bring, but for root
    with pytest.raises(StoreError, match="give this process the right to write"):
        store.exchange([exchange(2)])
    store.close()


def test_a_full_disk_is_told_and_nothing_is_charged(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db")
    store.exchange([exchange()])
    connection = store._open()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    big = Definition("big", "x" * 100_000, POOL.lines)
    with pytest.raises(StoreError, match="database or disk is full: make room"):
        store.exchange([("other", Exchange("p", 1, "big", definition=big))])
    (answer,) = store.exchange([exchange(2)])
    assert answer.lines[0].level == 3600
    store.close()


def test_a_pool_that_nobody_asks_for_is_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    store = SqliteStore(tmp_path / "a.db", clock=clock)
    store.exchange([("k", Exchange("p", 1, "d", definition=POOL, keep_us=1_000_000))])
    assert len(store.report("")) == 1
    clock.now_us += 1_000_001
    assert store.report("") == []
    assert store.exchange([("k", Exchange("p", 2, "d"))])[0].status == 1
    store.close()


def test_a_file_survives_the_limiters_that_used_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    for _ in range(2):
        limiter = Limiter({"tpm": 6000}, store=url)
        limiter.acquire("m", tokens=3000, max_wait=1).__enter__().close()
        del limiter
    with pytest.raises(Exception, match="1 s at most"):
        Limiter({"tpm": 6000}, store=url).acquire("m", tokens=1000, max_wait=1).__enter__()
