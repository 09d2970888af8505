"""Whether a request's body can be sent a second time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["Body"]

PLAIN: Final = (str, bytes, bytearray, int, float, bool)

Place = tuple[Any, int]


class Body:
    """The body of a call that may have to be sent again. Files are wound back to where they stood."""

    __slots__ = ("_places",)

    def __init__(self, options: Any) -> None:
        """Note where the files of a call stand, before any of them is read."""
        self._places: list[Place] | None = []
        for part in _parts(options):
            if part is None or isinstance(part, PLAIN) or hasattr(part, "__fspath__"):
                continue
            place = _place(part)
            if place is None:
                self._places = None  # a stream that is gone once it was sent
                return
            self._places.append(place)

    def rewind(self) -> bool:
        """Make the body ready to be sent again; False where that can't be done."""
        if self._places is None:
            return False
        try:
            for file, position in self._places:
                file.seek(position)
        except (OSError, ValueError):
            return False
        return True


def _parts(options: Any) -> Iterator[Any]:
    """Yield what may be something else than plain data: raw content and the contents of files."""
    content = getattr(options, "content", None)
    if content is not None:
        yield content
    files = getattr(options, "files", None)
    if not files:
        return
    entries = files.values() if isinstance(files, Mapping) else (entry[1] for entry in files)
    for entry in entries:
        yield entry[1] if isinstance(entry, tuple) and len(entry) > 1 else entry


def _place(part: Any) -> Place | None:
    try:
        if part.seekable():
            return part, part.tell()
    except (AttributeError, OSError, ValueError):
        pass
    return None
