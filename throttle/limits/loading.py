"""From wherever limits are to a checked table: a path, a dict, the environment, the working directory, the bundled
file."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Any

from throttle.errors import LimitsError, Mistake
from throttle.limits.keys import HashedKey
from throttle.limits.meters import KNOWN_METERS
from throttle.limits.places import Places
from throttle.limits.schema import BUNDLED, LimitsTable
from throttle.limits.validating import validated
from throttle.limits.words import nearest

__all__ = ["FLAT_TIER", "LIMITS_VARIABLE", "bundled_path", "find_source", "load_limits", "read_limits"]

LIMITS_VARIABLE = "THROTTLE_LIMITS"
FLAT_TIER = "given"
_NAME = "limits.yaml"
_IN_CODE = "limits="
_MOST_BASES = 5


def load_limits(
    source: str | os.PathLike[str] | Mapping[str, Any] | LimitsTable | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> LimitsTable:
    """Load a table of limits and check all of it.

    Without `source` it is looked for in `THROTTLE_LIMITS`, then in `./limits.yaml`, then in the file that ships with
    the package. A dict is either such a file's content or bare meters, as in `{"rpm": 600, "tpm": 60_000}`: one pool
    for every model. A table that is loaded already is given back as it is.

    Raises:
        LimitsError: it can't be read, or there are mistakes in it; with every one of them.
    """
    environ = os.environ if environ is None else environ
    if isinstance(source, LimitsTable):
        return source
    if isinstance(source, Mapping):
        return _from_mapping(source, environ)
    return read_limits(find_source(source, environ=environ), environ=environ)


def find_source(source: str | os.PathLike[str] | None = None, *, environ: Mapping[str, str] | None = None) -> FilePath:
    """Find the file that counts: the argument, `THROTTLE_LIMITS`, `./limits.yaml`, or the bundled one.

    Raises:
        LimitsError: the argument or `THROTTLE_LIMITS` names a file that isn't there.
    """
    environ = os.environ if environ is None else environ
    if source is not None:
        return _existing(os.fspath(source), "check the path")
    named = environ.get(LIMITS_VARIABLE, "")
    if named:
        return _existing(named, f"it is what {LIMITS_VARIABLE} says: correct or unset it")
    here = FilePath(_NAME)
    return here if here.is_file() else bundled_path()


def bundled_path() -> FilePath:
    """Find the file that ships: inside an installed package, at the top of the repository or of an unpacked sdist."""
    package = FilePath(__file__).resolve().parent.parent
    for path in (package / _NAME, package.parent / _NAME):
        if path.is_file():
            return path
    raise LimitsError(
        str(package / _NAME), [Mistake(0, 0, "the bundled limits are missing", "reinstall openai-throttle")]
    )


def read_limits(path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None) -> LimitsTable:
    """Read and check one file, whatever the search order says.

    Raises:
        LimitsError: it can't be read, or there are mistakes in it; with every one of them.
    """
    environ = os.environ if environ is None else environ
    bundled = bundled_path()
    # In a checkout `./limits.yaml` is the bundled file: one and the same, so its figures are nobody's own.
    if FilePath(path).exists() and bundled.samefile(path):
        status = bundled.stat()
        return _bundled(str(path), status.st_mtime_ns, status.st_size)
    return _read(FilePath(path), environ, "user", _MOST_BASES)


@lru_cache(maxsize=4)
def _bundled(path: str, mtime_ns: int, size: int) -> LimitsTable:
    # The bundled file refers to no variables, so that one reading serves everybody.
    return _read(FilePath(path), {}, BUNDLED, _MOST_BASES)


def _existing(name: str, remedy: str) -> FilePath:
    path = FilePath(name)
    if not path.exists():
        raise LimitsError(name, [Mistake(0, 0, "there is no such file", remedy)])
    return path


def _read(path: FilePath, environ: Mapping[str, str], origin: str, most_bases: int) -> LimitsTable:
    from throttle.limits.nodes import read_yaml

    text = _text_of(path)
    data, places, mistakes = read_yaml(text, environ)
    if mistakes and data is None:
        raise LimitsError(str(path), mistakes)
    return _table(data, places, mistakes, str(path), origin, environ, most_bases)


def _text_of(path: FilePath) -> str:
    from throttle.limits.nodes import MAX_BYTES

    try:
        if path.is_dir():
            raise LimitsError(
                str(path), [Mistake(0, 0, "that is a directory", f"name the file in it, as in {path}/{_NAME}")]
            )
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
            size = max(len(content), os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        raise LimitsError(str(path), [Mistake(0, 0, "there is no such file", "check the path")]) from None
    except OSError as error:
        what = f"it can't be read ({error.strerror or error})"
        raise LimitsError(str(path), [Mistake(0, 0, what, "check the path and its permissions")]) from None
    if len(content) > MAX_BYTES:
        what = f"{size / 1e6:,.0f} MB is too large for a limits file, which may have {MAX_BYTES / 1e6:,.0f} MB"
        raise LimitsError(str(path), [Mistake(0, 0, what, "is it the right file?")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        what = f"the byte 0x{content[error.start]:02x} isn't UTF-8"
        raise LimitsError(str(path), [Mistake(line, column, what, "save the file as UTF-8 text")]) from None


def _from_mapping(source: Mapping[str, Any], environ: Mapping[str, str]) -> LimitsTable:
    keys = set(source)
    if keys & (set(LimitsTable.model_fields) - {"meters"}) or not keys:
        data = _plain(source, (), environ)
        return _table(data, Places.of_data(data, by_path=True), [], _IN_CODE, "user", environ, _MOST_BASES)
    options = {key: source[key] for key in ("charge", "headroom", "window") if key in source}
    meters = {key: value for key, value in source.items() if key not in options}
    _only_meters(meters)
    flat = {"families": {"default": {"models": ["*"], **options}}, "tiers": {FLAT_TIER: {"default": meters}}}
    table = _table(flat, Places.of_data(flat, by_path=False), [], _IN_CODE, "user", environ, _MOST_BASES)
    table._flat = True
    return table


def _only_meters(meters: Mapping[str, Any]) -> None:
    mistakes = []
    for name in meters:
        if name not in KNOWN_METERS:
            near = nearest(str(name), [*KNOWN_METERS, "families", "tiers", "accounts", "charge", "headroom", "window"])
            remedy = f"did you mean {near!r}?" if near else f"there is {', '.join(KNOWN_METERS)}"
            mistakes.append(Mistake(0, 0, f"unknown meter {name!r}", remedy))
    if mistakes:
        raise LimitsError(_IN_CODE, mistakes)


def _plain(value: Any, path: tuple[Hashable, ...], environ: Mapping[str, str]) -> Any:
    """Bring a dict from code into the form that reading a file gives: names as text, `key:` of an account as its
    hash."""
    if isinstance(value, Mapping):
        return {key: _plain(part, (*path, key), environ) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part, (*path, index), environ) for index, part in enumerate(value)]
    if (
        len(path) == 3
        and path[0] == "accounts"
        and path[2] == "key"
        and isinstance(value, str)
        and value.startswith("${")
    ):
        return HashedKey(environ.get(value[2:-1], ""))
    return value


def _table(
    data: Any,
    places: Places,
    mistakes: list[Mistake],
    source: str,
    origin: str,
    environ: Mapping[str, str],
    most_bases: int,
) -> LimitsTable:
    if not isinstance(data, Mapping):
        what = "a limits file is keys and values, and this is something else"
        raise LimitsError(source, [*mistakes, Mistake(*places.of_value(()), what, "begin with `version: 1`")])
    base = _base_of(data, places, source, environ, most_bases)
    merged = data if base is None else _laid_over(base._data, data)
    table, more = validated(merged, places, partial=base is not None)
    if table is None or mistakes:
        # What couldn't be read is none of what it can be, either: one mistake a place.
        told = {(mistake.line, mistake.column) for mistake in mistakes}
        every = [*mistakes, *(mistake for mistake in more if (mistake.line, mistake.column) not in told)]
        raise LimitsError(source, sorted(every, key=lambda mistake: (mistake.line, mistake.column)))
    table._source, table._origin, table._data = source, origin, merged
    table._files = (() if source == _IN_CODE else (source,)) + (base.files if base else ())
    if base is not None:
        own = frozenset(_figures(data))
        table._inherited = (
            frozenset(figure for figure in _figures(base._data) if base.origin_of(*figure) == BUNDLED) - own
        )
    return table


def _base_of(
    data: Mapping[Hashable, Any], places: Places, source: str, environ: Mapping[str, str], most_bases: int
) -> LimitsTable | None:
    """Load the table that this one stands on: what `extends` says, and the bundled one where there are no limits in
    it."""
    named = data.get("extends", None if {"families", "tiers"} & set(data) else BUNDLED)
    if not isinstance(named, str) or not named:
        return None
    if most_bases == 0:
        what = f"more than {_MOST_BASES} files extend each other, or they go round in a circle"
        raise LimitsError(source, [Mistake(*places.of_value(("extends",)), what, "let the first extend `bundled`")])
    if named == BUNDLED:
        return load_limits(bundled_path())
    path = FilePath(named) if source == _IN_CODE else FilePath(source).parent / named
    if not path.is_file():
        what = f"there is no file {str(path)!r}"
        remedy = "write `bundled`, or a path as seen from this file"
        raise LimitsError(source, [Mistake(*places.of_value(("extends",)), what, remedy)])
    return _read(path, environ, "user", most_bases - 1)


def _laid_over(base: Any, own: Any) -> Any:
    """Lay one file's data over another's: keys are merged down to single figures, all else is replaced."""
    if not isinstance(base, Mapping) or not isinstance(own, Mapping):
        return own
    result = dict(base)
    for key, value in own.items():
        result[key] = _laid_over(base[key], value) if key in base else value
    return result


def _figures(data: Any) -> Iterator[tuple[str, str, str, str]]:
    """Name every figure of a file: server, tier, family and meter."""
    for tier, rows in _items(_get(data, "tiers")):
        for family, row in _items(rows):
            yield from (("", tier, family, meter) for meter, _ in _items(row))
    for server, part in _items(_get(data, "servers")):
        yield from ((server, *figure[1:]) for figure in _figures(part))


def _get(data: Any, key: str) -> Any:
    return data.get(key) if isinstance(data, Mapping) else None


def _items(data: Any) -> list[tuple[str, Any]]:
    return [(str(key), value) for key, value in data.items()] if isinstance(data, Mapping) else []
