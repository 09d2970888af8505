"""Plain data to a checked table, with every mistake at its place: those of single values and those between them."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Hashable, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from throttle.errors import Mistake
from throttle.limits.checking import Finding, check_table
from throttle.limits.places import Path, Places
from throttle.limits.schema import NO_SECRETS, LimitsTable
from throttle.limits.words import unknown

__all__ = ["validated"]

_ROUNDS = 4
_KEY = re.compile(r"sk-[\w-]{8,}")
_SECRET = re.compile("key|token|secret|password", re.IGNORECASE)


def validated(
    data: Mapping[Hashable, Any], places: Places, *, partial: bool = False
) -> tuple[LimitsTable | None, list[Mistake]]:
    """Check data in the shape of a limits file; give the table, or None and all that is wrong.

    Where single values are wrong, they are taken out and the rest is judged all the same, so that one reading finds
    all. With `partial`, the data stand on another table and needn't have limits for every family in every tier.
    """
    findings: list[Finding] = []
    faulty: list[Path] = []
    table: LimitsTable | None = None
    for _ in range(_ROUNDS):
        try:
            table = LimitsTable.model_validate(data)
            break
        except ValidationError as error:
            wrong = error.errors(include_url=False)
            findings += [_finding(entry, places) for entry in wrong]
            faulty += [places.known(_path(entry)) for entry in wrong]
            data = _without(data, [places.known(_path(entry)) for entry in wrong])
    if table is not None:
        between = check_table(table, partial=partial)
        findings += [finding for finding in between if not (finding.lack and _above(finding.path, faulty))]
    mistakes = {_mistake(finding, places) for finding in findings}
    if mistakes:
        return None, sorted(mistakes, key=lambda mistake: (mistake.line, mistake.column, mistake.what))
    return table, []


def _above(path: Path, others: list[Path]) -> bool:
    return any(other[: len(path)] == path for other in others)


def _mistake(finding: Finding, places: Places) -> Mistake:
    line, column = (places.of_key if finding.at_key else places.of_value)(finding.path)
    what = finding.what
    if places.by_path and finding.path:
        around = ".".join(str(step) for step in finding.path[:-1])
        what = f"{around}: {what}" if around else what
    # Whatever stands where a name belongs is shown as it is, unless it looks like a key.
    return Mistake(line, column, _KEY.sub("sk-…", what), finding.remedy)


def _path(entry: Mapping[str, Any]) -> Path:
    return tuple(step for step in entry["loc"] if step != "[key]")


def _finding(entry: Mapping[str, Any], places: Places) -> Finding:
    """Put one of pydantic's errors into our words."""
    kind, value = entry["type"], entry.get("input")
    path = _path(entry)
    where = places.known(path)
    if kind == "fault":
        context = entry["ctx"]
        name = _named(where)
        return Finding(where, f"{name}{context['what']}", context["remedy"])
    if kind == "extra_forbidden" and path[0] == "accounts" and _SECRET.search(str(path[-1])):
        return Finding(where, *NO_SECRETS, at_key=True)
    if kind == "extra_forbidden":
        what, remedy = unknown("key", str(path[-1]), _keys_at(path[:-1]))
        return Finding(where, what, remedy, at_key=True)
    if kind == "missing":
        return Finding(where, f"{_named(where)}the key {str(path[-1])!r} is missing", f"add `{path[-1]}:`", at_key=True)
    if kind == "literal_error":
        return Finding(
            where, f"{_named(where)}{value!r} is none of what it can be", f"write {entry['ctx']['expected']}"
        )
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return Finding(
            where, f"{_named(where)}{_told(value)} where keys and values belong", "write `name: value` below it"
        )
    if kind in ("tuple_type", "list_type"):
        return Finding(where, f"{_named(where)}{_told(value)} where a list belongs", 'write it as in ["one", "two"]')
    return Finding(where, f"{_named(where)}{_told(value)} doesn't belong here", _wanted(kind))


def _wanted(kind: str) -> str:
    wanted = {"bool": "true or false", "float": "a number", "int": "a whole number", "string": "a text in quotes"}
    return next((f"write {words}" for start, words in wanted.items() if kind.startswith(start)), "see the reference")


def _named(path: Path) -> str:
    names = [str(step) for step in path if not isinstance(step, int)]
    return f"{names[-1]}: " if names else ""


def _told(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "keys and values"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _keys_at(path: Path) -> list[str]:
    """List the keys that the schema has at a path."""
    annotation: Any = LimitsTable
    for step in path:
        annotation = _inside(annotation, step)
    model = _model_of(annotation)
    return [name for name in model.model_fields if name != "meters" or model is LimitsTable] if model else []


def _inside(annotation: Any, step: Hashable) -> Any:
    model = _model_of(annotation)
    if model is not None:
        if step in model.model_fields:
            return model.model_fields[str(step)].annotation
        return None
    for candidate in _members(annotation):
        if get_origin(candidate) is dict:
            return get_args(candidate)[1]
        if get_origin(candidate) is tuple:
            return get_args(candidate)[0]
    return None


def _members(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return [inner for part in get_args(annotation) for inner in _members(part)]
    if origin is typing.Annotated:
        return _members(get_args(annotation)[0])
    return [annotation]


def _model_of(annotation: Any) -> type[BaseModel] | None:
    for candidate in _members(annotation):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


_INSTEAD: Mapping[str, Any] = types.MappingProxyType(
    {"families": {}, "accounts": {}, "servers": {}, "tiers": {"*": None}}
)


def _without(data: Mapping[Hashable, Any], paths: list[Path]) -> dict[Hashable, Any]:
    """Take the values at `paths` out, leaving something harmless where other places refer to them by name."""
    copy = _copied(data)
    for path in sorted(paths, key=_depth_first):
        holder: Any = copy
        for step in path[:-1]:
            holder = holder[step] if _has(holder, step) else None
        if not path or not _has(holder, path[-1]):
            continue
        if (
            len(path) >= 2
            and path[-2] in _INSTEAD
            and isinstance(holder, dict)
            and holder[path[-1]] != _INSTEAD[str(path[-2])]
        ):
            holder[path[-1]] = _copied(_INSTEAD[str(path[-2])])
        elif len(path) >= 3 and path[-3] == "tiers" and holder[path[-1]] is not None:
            holder[path[-1]] = None
        else:
            del holder[path[-1]]
    return dict(copy)


def _depth_first(path: Path) -> tuple[int, int]:
    last = path[-1] if path else 0
    return (-len(path), -last if isinstance(last, int) else 0)


def _has(holder: Any, step: Hashable) -> bool:
    if isinstance(holder, dict):
        return step in holder
    return isinstance(holder, list) and isinstance(step, int) and step < len(holder)


def _copied(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _copied(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_copied(value) for value in data]
    return data
