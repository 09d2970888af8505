"""Where each line of a job is and what became of it: on disk, so that memory stays flat however long the job is.

The index is a private database that SQLite keeps in a temporary file and removes by itself, whatever end the process
meets. It is built anew at each start from the input and the answers, which hold all there is to know; so it can never
contradict them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

__all__ = ["Index", "Place"]

OPEN: Final = 0
FAILED: Final = 1
ANSWERED: Final = 2

CACHE_KIB: Final = 16_384
"""How much of the database stays in memory."""

ROWS_AT_ONCE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line is in the input, and how often it was tried in earlier runs."""

    number: int
    offset: int
    size: int
    attempts: int


class Index:
    """All lines of one job, by number and by name."""

    def __init__(self) -> None:
        self._base = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._base.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._base.execute("PRAGMA journal_mode = OFF")
        self._base.execute("PRAGMA synchronous = OFF")
        self._base.execute(
            "CREATE TABLE lines (number INTEGER PRIMARY KEY, place INTEGER, size INTEGER, lane INTEGER, name BLOB,"
            " digest BLOB, state INTEGER DEFAULT 0, attempts INTEGER DEFAULT 0, answer INTEGER)"
        )
        self._lanes: dict[tuple[str, ...], int] = {}
        self._rows: list[tuple[int, int, int, int, bytes, bytes]] = []

    # filling it

    def add(self, number: int, offset: int, size: int, lane: tuple[str, ...], custom_id: str, digest: bytes) -> None:
        """Note a line. `lane` names what it shares its way with: endpoint, model, and whatever else must be alike."""
        lane_number = self._lanes.setdefault(lane, len(self._lanes))
        self._rows.append((number, offset, size, lane_number, _name(custom_id), digest))
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush()

    def seal(self) -> Iterator[tuple[int, int]]:
        """End the filling; yields `(number, number of the first)` for each line whose name was taken before."""
        self._flush()
        self._base.execute("CREATE INDEX by_name ON lines (name)")
        if len(self._lanes) > 1:
            self._base.execute("CREATE INDEX by_lane ON lines (lane, number)")
        yield from self._base.execute(
            "SELECT number, first FROM lines JOIN (SELECT name AS taken, MIN(number) AS first FROM lines GROUP BY name"
            " HAVING COUNT(*) > 1) ON name = taken WHERE number > first ORDER BY number"
        )

    # what is known of earlier runs

    @contextmanager
    def marking(self) -> Iterator[None]:
        """Mark many lines inside this block: several times faster than one by one."""
        self._base.execute("BEGIN")
        try:
            yield
        finally:
            self._base.execute("COMMIT")

    def mark_answered(self, custom_id: str, digest: bytes | None, at: int) -> bool | None:
        """Note that a line has its answer, at byte `at` of the output.

        Returns:
            True; None if no line has that name; False, and nothing is noted, if the line is another request (its
            digest differs).
        """
        row = self._base.execute("SELECT number, digest FROM lines WHERE name = ?", (_name(custom_id),)).fetchone()
        if row is None:
            return None
        number, mine = row
        if digest is not None and digest != mine:
            return False
        self._base.execute("UPDATE lines SET state = ?, answer = ? WHERE number = ?", (ANSWERED, at, number))
        return True

    def mark_failed(self, custom_id: str, attempts: int, at: int) -> None:
        """Note that a line failed after so many attempts, told at byte `at` of the failures; an answer outranks it."""
        self._base.execute(
            "UPDATE lines SET state = ?, attempts = ?, answer = ? WHERE name = ? AND state <> ?",
            (FAILED, attempts, at, _name(custom_id), ANSWERED),
        )

    def reopen_failed(self) -> None:
        """Let the lines that failed be tried again."""
        self._base.execute("UPDATE lines SET state = ? WHERE state = ?", (OPEN, FAILED))

    def forget_outcomes(self) -> None:
        """Forget what became of the lines, to learn it anew from the files."""
        self._base.execute("UPDATE lines SET state = ?, answer = NULL", (OPEN,))

    # asking it

    def lane_of(self, custom_id: str) -> tuple[str, ...] | None:
        """Return the lane of the line of that name."""
        row = self._base.execute("SELECT lane FROM lines WHERE name = ?", (_name(custom_id),)).fetchone()
        return None if row is None else self.lanes[row[0]]

    @property
    def lanes(self) -> tuple[tuple[str, ...], ...]:
        return tuple(self._lanes)

    def count(self, lane: tuple[str, ...] | None = None) -> int:
        """Tell how many lines there are, or of one lane."""
        if lane is None:
            return self._number("SELECT COUNT(*) FROM lines")
        return self._number("SELECT COUNT(*) FROM lines WHERE lane = ?", self._lanes[lane])

    @property
    def answered(self) -> int:
        return self._number("SELECT COUNT(*) FROM lines WHERE state = ?", ANSWERED)

    @property
    def failed(self) -> int:
        return self._number("SELECT COUNT(*) FROM lines WHERE state = ?", FAILED)

    def open_after(self, lane: tuple[str, ...], number: int, at_most: int) -> list[Place]:
        """Return the next lines of a lane, behind `number`, that have neither an answer nor failed."""
        rows = self._base.execute(
            "SELECT number, place, size, attempts FROM lines WHERE lane = ? AND number > ? AND state = 0"
            " ORDER BY number LIMIT ?",
            (self._lanes[lane], number, at_most),
        )
        return [Place(*row) for row in rows]

    def answers_in_order(self) -> Iterator[int]:
        """Yield where the answers are in the output, in the order of the input."""
        for (at,) in self._base.execute("SELECT answer FROM lines WHERE state = ? ORDER BY number", (ANSWERED,)):
            yield at

    def failures_in_order(self) -> Iterator[int]:
        """Yield where the last word on each failed line is in the failures, in the order of the input."""
        for (at,) in self._base.execute("SELECT answer FROM lines WHERE state = ? ORDER BY number", (FAILED,)):
            yield at

    def close(self) -> None:
        self._base.close()

    # inside

    def _flush(self) -> None:
        self._base.execute("BEGIN")
        self._base.executemany(
            "INSERT INTO lines (number, place, size, lane, name, digest) VALUES (?, ?, ?, ?, ?, ?)", self._rows
        )
        self._base.execute("COMMIT")
        self._rows.clear()

    def _number(self, question: str, *values: int) -> int:
        return int(self._base.execute(question, values).fetchone()[0])


def _name(custom_id: str) -> bytes:
    return blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
