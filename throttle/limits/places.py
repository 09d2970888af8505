"""Where each key and value of a file stands."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

__all__ = ["Path", "Places"]

Path = tuple[Hashable, ...]


class Places:
    """Where each key and value of a file stands; lines and columns count from 1.

    `by_path`: they stand in no file, so that a mistake has to be told by the keys that lead to it.
    """

    __slots__ = ("_keys", "_values", "by_path")

    def __init__(self, *, by_path: bool = False) -> None:
        self.by_path = by_path
        self._keys: dict[Path, tuple[int, int]] = {}
        self._values: dict[Path, tuple[int, int]] = {}

    def note(self, path: Path, key: tuple[int, int], value: tuple[int, int]) -> None:
        """Say where the key and the value at the end of `path` stand."""
        self._keys[path] = key
        self._values[path] = value

    @classmethod
    def of_data(cls, data: object, *, by_path: bool) -> Places:
        """Make the places of data that stand in no file: every path is known, and none has a line."""
        places = cls(by_path=by_path)
        todo: list[tuple[Path, object]] = [((), data)]
        while todo:
            path, value = todo.pop()
            places.note(path, (0, 0), (0, 0))
            if isinstance(value, Mapping):
                todo += [((*path, key), part) for key, part in value.items()]
            elif isinstance(value, (list, tuple)):
                todo += [((*path, index), part) for index, part in enumerate(value)]
        return places

    def of_key(self, path: Path) -> tuple[int, int]:
        """Find the key at the end of `path`, or the nearest thing around it that stands in the file."""
        return self._find(self._keys, path)

    def of_value(self, path: Path) -> tuple[int, int]:
        """Find the value at the end of `path`, or the nearest thing around it that stands in the file."""
        return self._find(self._values, path)

    def known(self, path: Path) -> Path:
        """Leave out the steps of `path` that aren't in the file (names of union members, say)."""
        found: Path = ()
        for step in path:
            if (*found, step) in self._values:
                found = (*found, step)
        return found

    def _find(self, places: Mapping[Path, tuple[int, int]], path: Path) -> tuple[int, int]:
        known = self.known(path)
        if len(known) < len(path):
            places = self._keys
        return places.get(known, (0, 0))
