"""A limits file that may change while a program runs."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath

from throttle.errors import LimitsError
from throttle.limits.loading import read_limits
from throttle.limits.schema import LimitsTable

__all__ = ["LimitsFile", "Update"]

_SETTLED_S = 2.0
"""A file changed this long ago can't change again within the clock tick of its time stamp without being noticed."""

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Update:
    """What became of a file: a new table, or the error for which the old one stays."""

    table: LimitsTable | None
    error: LimitsError | None


class LimitsFile:
    """A file of limits, with the files that it extends, and the last good table read from it.

    `check` costs a system call or two a file while nothing changes; ask it as often as a change should be noticed. It
    isn't for several threads at once.
    """

    __slots__ = ("_digest", "_environ", "_settled", "_stamp", "path", "table")

    def __init__(self, path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None) -> None:
        """Read a file.

        Raises:
            LimitsError: it can't be read, or there are mistakes in it.
        """
        self.path = FilePath(path)
        self._environ = environ
        self.table = read_limits(self.path, environ=environ)
        self._stamp: Stamp = ()
        self._digest = b""
        self._settled = False
        self._remember(time.time())

    def check(self) -> Update | None:
        """Look whether the file has changed since; None where it says what it said.

        A file that is broken, or gone, is told once; `table` stays what it was until the file is whole again.
        """
        stamp = self._stamp_now()
        if stamp == self._stamp and self._settled:
            return None
        digest = self._digest_now()
        old, self._stamp = self._stamp, stamp
        self._settled = _is_settled(stamp, time.time())
        if digest == self._digest:
            return None
        if not self._size() and old != stamp:
            # Editors and shells empty a file before they write it: look once more before calling it broken.
            self._settled = False
            return None
        self._digest = digest
        return self._read()

    def _read(self) -> Update:
        try:
            table = read_limits(self.path, environ=self._environ)
        except LimitsError as error:
            return Update(None, error)
        self.table = table
        self._remember(time.time())
        return Update(table, None)

    def _remember(self, now_s: float) -> None:
        self._stamp = self._stamp_now()
        self._digest = self._digest_now()
        self._settled = _is_settled(self._stamp, now_s)

    def _files(self) -> tuple[FilePath, ...]:
        return (self.path, *(FilePath(name) for name in self.table.files if FilePath(name) != self.path))

    def _stamp_now(self) -> Stamp:
        return tuple(_stamp(path) for path in self._files())

    def _size(self) -> int:
        return _stamp(self.path)[1]

    def _digest_now(self) -> bytes:
        digest = hashlib.blake2b(digest_size=16)
        for path in self._files():
            try:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "blake2b").digest())
            except OSError as error:
                digest.update(type(error).__name__.encode())
        return digest.digest()


def _stamp(path: FilePath) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, -1, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _is_settled(stamp: Stamp, now_s: float) -> bool:
    newest = max(mtime_ns for mtime_ns, _, _ in stamp)
    return now_s - newest / 1e9 > _SETTLED_S
