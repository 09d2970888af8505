"""The files that answers and failures are written to, a line each, as they come.

Such a file is its own journal: a line that stands in it with its end is done, whatever happens to the process
afterwards. A last line without its end was torn by the process's or the machine's death and is cut off. Lines are only
ever appended; rewriting (order, clearing out what was retried) goes by way of a second file that takes the first one's
place at once.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from throttle.jobs.errors import OutputError

__all__ = ["Entry", "Journal", "write_anew"]

READ_AT_ONCE: Final = 1 << 20

HEAD: Final = re.compile(rb'\{"id":"([^"\\]*)","custom_id":("(?:[^"\\]|\\.)*"),')
"""How this package's own lines begin; what follows needn't be parsed to know whose answer it is."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the file: where it begins, its id, its name, and the line itself."""

    at: int
    id: str
    custom_id: str
    raw: bytes

    def read(self) -> dict[str, Any]:
        """Parse the whole line."""
        value: dict[str, Any] = json.loads(self.raw)
        return value


class Journal:
    """One such file, open for appending and locked against a second run."""

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            OutputError: it can't be opened, or another run is writing it.
        """
        self.path = path
        try:
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise OutputError(f"{path}: {_reason(error)}") from None
        if not _lock(self._file):
            self._file.close()
            raise OutputError(f"{path}: another run is writing to it; wait for that one, or name another file")
        self._size = os.fstat(self._file.fileno()).st_size
        self._dirty = False

    @property
    def size(self) -> int:
        return self._size

    def entries(self) -> Iterator[Entry]:
        """Read what is there, cutting off a torn last line.

        Raises:
            OutputError: a line other than the last isn't one of a job's output.
        """
        self._cut_torn_line()
        with open(self.path, "rb") as file:
            at = 0
            for number, raw in enumerate(file, 1):
                if at >= self._size:
                    return
                if raw.strip():
                    yield self._entry(raw, at, number)
                at += len(raw)

    def append(self, line: bytes) -> int:
        """Write a line, which ends with a line feed; returns where it begins.

        After this the line survives the process; after `sync`, the machine.

        Raises:
            OutputError: it can't be written (the disk is full, say). Nothing of it stays in the file.
        """
        at = self._size
        try:
            written = self._file.write(line) or 0
            while written < len(line):
                written += self._file.write(line[written:]) or 0
        except OSError as error:
            self._undo(at)
            raise OutputError(f"{self.path}: {_reason(error)}") from None
        self._size += len(line)
        self._dirty = True
        return at

    def sync(self) -> None:
        """Have the operating system put on the disk what was appended. May be called from another thread."""
        if self._dirty:
            self._dirty = False
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                raise OutputError(f"{self.path}: {_reason(error)}") from None

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _entry(self, raw: bytes, at: int, number: int) -> Entry:
        if head := HEAD.match(raw):
            return Entry(at, head[1].decode(errors="replace"), json.loads(head[2]), raw)
        try:
            value = json.loads(raw)
            return Entry(at, str(value.get("id", "")), value["custom_id"], raw)
        except (ValueError, KeyError, AttributeError):
            raise OutputError(
                f"{self.path}:{number}: not a line of a job's output; name another file, or move this one away"
            ) from None

    def _cut_torn_line(self) -> None:
        end = self._whole_lines_end()
        if end == self._size:
            return
        with open(self.path, "rb") as file:
            file.seek(end)
            start = file.read(9)
        if end == 0 and not b'{"id":"'.startswith(start[:7]) and start.strip(b"\0"):
            raise OutputError(f"{self.path}:1: not a line of a job's output; name another file, or move this one away")
        self._undo(end)

    def _whole_lines_end(self) -> int:
        """Find where the last whole line ends, from the back."""
        with open(self.path, "rb") as file:
            at = self._size
            while at > 0:
                start = max(0, at - READ_AT_ONCE)
                file.seek(start)
                found = file.read(at - start).rfind(b"\n")
                if found >= 0:
                    return start + found + 1
                at = start
        return 0

    def _undo(self, size: int) -> None:
        try:
            self._file.truncate(size)
        except OSError:
            pass  # the torn line is cut off when the file is read next
        self._size = size


def write_anew(path: Path, lines: Iterator[int]) -> None:
    """Put the lines that begin at these places, in this order, in place of the whole file; at once, or not at all.

    Raises:
        OutputError: there is no room for it, say. The file is then as it was.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        with open(path, "rb") as source, open(fresh, "wb") as target:
            for at in lines:
                source.seek(at)
                target.write(source.readline())
            target.flush()
            os.fsync(target.fileno())
        os.replace(fresh, path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise OutputError(f"{path}: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _lock(file: BinaryIO | Any) -> bool:
    """Lock the file until it is closed or the process ends; False if somebody else has it locked."""
    try:
        import fcntl
    except ImportError:
        return _lock_on_windows(file)
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks
    return True


def _lock_on_windows(file: Any) -> bool:
    import msvcrt

    lock: Any = getattr(msvcrt, "locking", None)
    try:
        file.seek(1 << 62)
        lock(file.fileno(), getattr(msvcrt, "LK_NBLCK", 2), 1)
    except OSError:
        return False
    finally:
        file.seek(0)
    return True
