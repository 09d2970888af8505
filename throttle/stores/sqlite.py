"""Pools kept in a SQLite file: processes of one machine, nothing to install, survives the crash of any of them.

Each exchange is one transaction that takes the write lock at once (`BEGIN IMMEDIATE`), in write-ahead mode and without
waiting for the disk: a process that dies loses nothing that was committed; when the machine itself goes down, the last
moments may be lost, and the levels of a machine that was down don't matter any more.

Who finds the lock taken tries again after a moment drawn at random, so that all who wait have the same chance. SQLite's
own handler waits longer each time: with many processes, those that have waited longest then come last.

A file can't call anybody, so the processes do that themselves, see bells.py.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from throttle.bucket import NEVER
from throttle.errors import StoreError
from throttle.stores.bells import LoopbackBells
from throttle.stores.protocol import Answer, Exchange, PoolReport
from throttle.stores.transition import PoolState, exchange

__all__ = ["SqliteStore"]

T = TypeVar("T")

SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS pools (key TEXT PRIMARY KEY, state TEXT NOT NULL, until_us INTEGER NOT NULL)"
)
WRITE: Final = (
    "INSERT INTO pools VALUES (?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET state = excluded.state, until_us = excluded.until_us"
)
CLEAN_EVERY_S: Final = 600.0
AGAIN_STEP_S, AGAIN_MOST_S = 0.001, 0.008
"""Who finds the lock taken tries again after a few times as long as an exchange takes, a step later each time but no
later than this: many who try take the time of the one who holds it.
"""


class SqliteStore:
    """A file of pools."""

    def __init__(self, path: str | Path, *, timeout_s: float = 1.0, clock: Callable[[], int] | None = None) -> None:
        """Name the file; it is opened, and made if need be, at the first exchange.

        Args:
            path: the file.
            timeout_s: how long another process's lock is waited for.
            clock: in whole microseconds, for tests; by default the machine's.
        """
        self.path = Path(path)
        self.timeout_s = timeout_s
        self._clock = clock or _wall_us
        self._connection: sqlite3.Connection | None = None
        self._pid = os.getpid()
        self._inherited: list[sqlite3.Connection] = []
        self._clean_at_s = 0.0
        self._bells = LoopbackBells()
        self._known: dict[str, tuple[str, PoolState]] = {}

    def exchange(self, wants: Sequence[tuple[str, Exchange]]) -> list[Answer]:
        return self._guarded(lambda connection: [self._one(connection, key, brought) for key, brought in wants])

    def report(self, prefix: str) -> list[PoolReport]:
        now_us = self._clock()

        def read(connection: sqlite3.Connection) -> list[PoolReport]:
            rows = connection.execute("SELECT key, state FROM pools WHERE until_us > ? ORDER BY key", (now_us,))
            return [PoolState.from_json(text).report(key, now_us) for key, text in rows if key.startswith(prefix)]

        return self._guarded(read)

    def hear(self, called: Callable[[str], None]) -> str:
        return self._bells.hear(called)

    def ring(self, bells: Sequence[str]) -> None:
        self._bells.ring(bells)

    def close(self) -> None:
        self._bells.close()
        self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._pid == os.getpid():
                connection.close()
            else:
                self._inherited.append(connection)

    def _one(self, connection: sqlite3.Connection, key: str, brought: Exchange) -> Answer:
        self._lock(connection)
        try:
            row = connection.execute("SELECT state, until_us FROM pools WHERE key = ?", (key,)).fetchone()
            now_us = self._clock()  # read under the lock, so that it goes forward from one holder to the next
            before = self._state_of(key, row[0]) if row and row[1] > now_us else None
            state, answer = exchange(before, now_us, brought)
            if state is not None:
                until_us = min(NEVER, max(now_us, state.clock_us, state.pause_until_us) + brought.keep_us)
                text = state.to_json()
                connection.execute(WRITE, (key, text, until_us))
            self._clean(connection, now_us)
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        if state is not None:
            self._known[key] = text, state
        return answer

    def _lock(self, connection: sqlite3.Connection) -> None:
        end_s = time.monotonic() + self.timeout_s
        most_s = 0.0
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= end_s:
                    raise
            most_s = min(AGAIN_MOST_S, most_s + AGAIN_STEP_S)
            time.sleep(random.random() * most_s)

    def _state_of(self, key: str, text: str) -> PoolState:
        """Read a state, unless it is the one that was written here last. It will be changed, so it is known no more."""
        known = self._known.pop(key, None)
        return known[1] if known is not None and known[0] == text else PoolState.from_json(text)

    def _guarded(self, act: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return act(self._open())
        except sqlite3.Error as error:
            if not isinstance(error, sqlite3.OperationalError):
                self._disconnect()
            raise StoreError(f"store sqlite:///{self.path}: {_explain(error)}") from error
        except (ValueError, TypeError, IndexError) as error:
            raise StoreError(
                f"store sqlite:///{self.path}: the state of a pool can't be read ({error}); another version of "
                "throttle may have written it: delete the file, or use another one"
            ) from error
        except OSError as error:
            raise StoreError(f"store sqlite:///{self.path}: {error.strerror or error}") from error

    def _open(self) -> sqlite3.Connection:
        if self._pid != os.getpid():  # a connection must not be used, nor even closed, across a fork
            self._disconnect()
            self._pid = os.getpid()
        connection = self._connection
        if connection is None:
            connection = sqlite3.connect(
                self.path, timeout=self.timeout_s, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=OFF")
                connection.execute(SCHEMA)
                connection.execute("PRAGMA busy_timeout=0")
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return connection

    def _clean(self, connection: sqlite3.Connection, now_us: int) -> None:
        if time.monotonic() >= self._clean_at_s:
            self._clean_at_s = time.monotonic() + CLEAN_EVERY_S
            connection.execute("DELETE FROM pools WHERE until_us <= ?", (now_us,))


def _explain(error: sqlite3.Error) -> str:
    text = str(error)
    remedy = {
        "database is locked": "another process holds it for too long; is one stopped in a debugger, or the disk slow?",
        "attempt to write a readonly database": "give this process the right to write the file and its directory",
        "unable to open database file": "does its directory exist, and may this process write there?",
        "database or disk is full": "make room on the disk",
        "file is not a database": "it is something else; name another file",
        "database disk image is malformed": "it is damaged; delete it, it only holds levels that refill by themselves",
    }.get(text)
    return f"{text}: {remedy}" if remedy else text


def _wall_us() -> int:
    return time.time_ns() // 1000
