"""Where the lines of a job come from, and the reading of all of them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Final, cast

from throttle.errors import Mistake
from throttle.jobs.errors import JobFileError
from throttle.jobs.lines import Line, MalformedLine, read_line

__all__ = ["Scan", "Source", "name_of", "open_source"]

Source = str | os.PathLike[str] | Iterable[Mapping[str, Any]]
"""A job file, or its lines as dicts."""

MISTAKES_TOLD: Final = 20
TELL_EVERY: Final = 5000


class Scan:
    """Reads every line and gathers the mistakes, so that all can be told at once."""

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        *,
        endpoint: str | None = None,
        on_read: Callable[[int], None] = lambda lines: None,
    ) -> None:
        """Make a scan of an open file.

        Args:
            file: at its beginning.
            name: what mistakes call it.
            endpoint: where bare bodies go; None to infer it from each.
            on_read: is told now and then how many lines were read.
        """
        self._file = file
        self._name = name
        self._endpoint = endpoint
        self._on_read = on_read
        self._mistakes: list[Mistake] = []
        self._count = 0
        self._lines = 0

    def __iter__(self) -> Iterator[tuple[Line, int, int]]:
        """Yield each good line with the byte it begins at and its length."""
        offset = 0
        for number, raw in enumerate(self._file, 1):
            if raw.strip():
                try:
                    line = read_line(raw, number, endpoint=self._endpoint)
                except MalformedLine as error:
                    self.mistake(number, str(error))
                else:
                    self._lines += 1
                    yield line, offset, len(raw)
            offset += len(raw)
            if number % TELL_EVERY == 0:
                self._on_read(number)

    def mistake(self, number: int, what: str) -> None:
        """Note a mistake in a line."""
        self._count += 1
        if len(self._mistakes) < MISTAKES_TOLD:
            self._mistakes.append(Mistake(number, 0, what))

    def end(self) -> None:
        """Raise `JobFileError` if there was any mistake, or no line at all."""
        if self._mistakes:
            raise JobFileError(self._name, sorted(self._mistakes, key=lambda mistake: mistake.line), self._count)
        if not self._lines:
            raise JobFileError(self._name, [Mistake(0, 0, "holds no requests")])


def name_of(source: Source) -> str:
    """Return what to call a source."""
    return os.fspath(source) if isinstance(source, str | os.PathLike) else "source"


def open_source(source: Source) -> BinaryIO:
    """Open the input; what isn't a file is written to one first, which vanishes with the job."""
    if not isinstance(source, str | os.PathLike):
        return _spool(json.dumps(dict(line)).encode() + b"\n" for line in source)
    path = os.fspath(source)
    try:
        file = open(path, "rb")  # noqa: SIM115
        if file.seekable():
            return cast(BinaryIO, file)
        with file:
            return _spool(file)
    except OSError as error:
        raise JobFileError(path, [Mistake(0, 0, (error.strerror or str(error)).lower())]) from None


def _spool(lines: Iterable[bytes]) -> BinaryIO:
    spool = cast(BinaryIO, tempfile.TemporaryFile(dir=_disk()))  # noqa: SIM115
    for line in lines:
        spool.write(line)
    spool.seek(0)
    return spool


def _disk() -> str | None:
    """Name a directory for large temporary files: `/tmp` is in memory on many machines."""
    if "TMPDIR" in os.environ or not os.access("/var/tmp", os.W_OK):
        return None
    return "/var/tmp"
