"""YAML text to plain data with the place of every value, read as if a stranger had written it.

PyYAML composes a graph of nodes that know their line and column; the data are built here, not by its constructors, so
that duplicate keys, aliases that refer to themselves or blow up, and tags that would make objects are seen before
they do harm.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import yaml

from throttle.errors import Mistake
from throttle.limits.keys import HashedKey
from throttle.limits.places import Path, Places

__all__ = ["MAX_BYTES", "read_yaml"]

MAX_BYTES = 4_000_000
"""A table of a thousand families has some 200 kB; what is larger is another file."""

_MAX_DEPTH = 24
_MAX_VALUES = 300_000
_CONTROL = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ENV = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(text: str, environ: Mapping[str, str]) -> tuple[Any, Places, list[Mistake]]:
    """Read one document; give its data, the place of everything in it, and the mistakes of its writing.

    `${NAME}` and `${NAME:-otherwise}` in a value are filled in from `environ`. Data are None where the text can't be
    read.
    """
    places = Places()
    broken = _first_break(text)
    if broken:
        return None, places, broken
    loader = _LOADER(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None, places, [Mistake(1, 1, "the file is empty", "begin with `version: 1`")]
        broken = _explosions(root)
        if broken:
            return None, places, broken
        builder = _Builder(loader.construct_object, places, environ)
        data = builder.build(root, (), None)
        return data, places, builder.mistakes
    except yaml.YAMLError as error:
        return None, places, [_unreadable(error, text)]
    finally:
        loader.dispose()


def _place(node: yaml.Node | yaml.Event) -> tuple[int, int]:
    mark = node.start_mark
    return (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)


def _first_break(text: str) -> list[Mistake]:
    """Find what keeps the text from being parsed at all, without building anything yet."""
    odd = _CONTROL.search(text)
    if odd:
        line, column = _line_and_column(text, odd.start())
        what = f"the character {odd.group()!r} can't stand in YAML"
        return [Mistake(line, column, what, "remove it; the file has to be plain UTF-8 text")]
    loader = _LOADER(text)
    depth = 0
    try:
        while loader.check_event():
            event = loader.get_event()
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > _MAX_DEPTH:
                    what = f"nested more than {_MAX_DEPTH} levels deep"
                    return [Mistake(*_place(event), what, "a limits file needs at most ten")]
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except yaml.YAMLError as error:
        return _tabs(text) or [_unreadable(error, text)]
    finally:
        loader.dispose()
    return []


def _line_and_column(text: str, index: int) -> tuple[int, int]:
    before = text[:index]
    return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1


def _tabs(text: str) -> list[Mistake]:
    """Find every line indented with a tab, the usual reason why YAML can't be read."""
    mistakes = []
    for number, line in enumerate(text.split("\n"), start=1):
        indent = line[: len(line) - len(line.lstrip(" \t"))]
        if "\t" in indent and line.strip():
            column = indent.index("\t") + 1
            mistakes.append(Mistake(number, column, "indented with a tab", "YAML wants spaces: use two for each level"))
    return mistakes


def _unreadable(error: yaml.YAMLError, text: str) -> Mistake:
    """Turn PyYAML's error into one mistake at the place it means."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
    problem = str(getattr(error, "problem", None) or error).split("\n")[0].strip()
    if "undefined alias" in problem:
        return Mistake(line, column, problem, "define the anchor (&name) above its use (*name)")
    if "expected a single document" in str(error) or "another document" in problem:
        return Mistake(line, column, "a second document begins here", "a limits file is one document: remove the `---`")
    return Mistake(line, column, f"not readable as YAML ({problem})", _hint(problem, text, line))


def _hint(problem: str, text: str, line: int) -> str:
    lines = text.split("\n")
    here = lines[line - 1] if 0 < line <= len(lines) else ""
    if "${" in here:
        return 'between { and } a reference needs quotes: "${NAME}"'
    if "mapping values are not allowed" in problem:
        return "a text with `: ` in it needs quotes, and a key on a line of its own needs the indent of its neighbours"
    if "could not find expected ':'" in problem or "expected ':'" in problem:
        return "write `key: value`, with a space after the colon"
    if "cannot start any token" in problem:
        return "put the text in quotes"
    if "expected ',' or" in problem or "flow" in problem or "{" in here or "[" in here:
        return "check that every { and [ is closed and that entries are parted by commas"
    if "block end" in problem or "block mapping" in problem:
        return "give the keys of one level the same indent"
    return "check the line and the one above it"


def _explosions(root: yaml.Node) -> list[Mistake]:
    """Find aliases that contain themselves, or that would expand to far more than any table holds."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()
    mistakes: list[Mistake] = []

    def size_of(node: yaml.Node) -> int:
        key = id(node)
        if key in sizes:
            return sizes[key]
        if key in open_nodes:
            mistakes.append(Mistake(*_place(node), "an alias that contains itself", "write the values out"))
            return 1
        open_nodes.add(key)
        total = 1 + sum(size_of(child) for child in _children(node))
        open_nodes.discard(key)
        sizes[key] = total
        return total

    total = size_of(root)
    if total > _MAX_VALUES and not mistakes:
        worst = max(_children(root), key=lambda node: sizes.get(id(node), 0), default=root)
        what = f"the aliases expand to {_about(total)} values, more than the {_MAX_VALUES:,} that a table may have"
        mistakes.append(Mistake(*_place(worst), what, "write the values out"))
    return mistakes


def _about(number: int) -> str:
    return f"{number:,}" if number < 10**12 else f"over {10**12:,}"


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


class _Builder:
    """Builds plain data of nodes, noting places and mistakes on the way."""

    def __init__(self, scalar: Callable[[yaml.Node], Any], places: Places, environ: Mapping[str, str]) -> None:
        self.mistakes: list[Mistake] = []
        self._scalar_of = scalar
        self._places = places
        self._environ = environ

    def build(self, node: yaml.Node, path: Path, key: yaml.Node | None) -> Any:
        self._places.note(path, _place(key or node), _place(node))
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN_TAGS:
            what = f"the tag {node.tag} isn't allowed"
            self.mistakes.append(Mistake(*_place(node), what, "write plain keys, values and lists"))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*path, index), None) for index, child in enumerate(node.value)]
        if len(path) == 3 and path[0] == "accounts" and path[2] == "key":
            return self._key_behind(node)
        return self._scalar(node)

    def _key_behind(self, node: yaml.Node) -> Any:
        """Take the hash of the key that a variable holds; an unset one is no key: files serve several machines."""
        found = _ENV.fullmatch(node.value)
        return HashedKey(self._environ.get(found.group(1), found.group(2) or "")) if found else node.value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[Hashable, Any]:
        data: dict[Hashable, Any] = {}
        seen: dict[Hashable, int] = {}
        for key_node, value in self._merged(node, path, data):
            key = self._key(key_node)
            if key in seen:
                what = f"the key {_shown(key)} stands here a second time; the first is on line {seen[key]}"
                self.mistakes.append(Mistake(*_place(key_node), what, "keep one of the two"))
                continue
            seen[key] = _place(key_node)[0]
            data[key] = self.build(value, (*path, key), key_node)
        return data

    def _merged(
        self, node: yaml.MappingNode, path: Path, data: dict[Hashable, Any]
    ) -> list[tuple[yaml.Node, yaml.Node]]:
        """Take in what `<<:` refers to, and give the mapping's own pairs, which win over it."""
        own = []
        for key_node, value in node.value:
            if key_node.tag != "tag:yaml.org,2002:merge":
                own.append((key_node, value))
                continue
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(source, yaml.MappingNode):
                    what = "`<<:` takes in a mapping, and this is none"
                    self.mistakes.append(
                        Mistake(*_place(value), what, "refer to a mapping by its alias, as in `<<: *base`")
                    )
                    continue
                for name, taken in self._mapping(source, path).items():
                    data.setdefault(name, taken)
        return own

    def _key(self, node: yaml.Node) -> Hashable:
        if isinstance(node, yaml.ScalarNode):
            # Keys stay as they are written: `2024-08-06:` and `1e3:` are names here, not dates and numbers.
            return node.value if node.tag != "tag:yaml.org,2002:null" else "null"
        self.mistakes.append(Mistake(*_place(node), "a key has to be a name", "write `name: value`"))
        return f"<line {_place(node)[0]}>"

    def _scalar(self, node: yaml.Node) -> Any:
        if "${" in node.value:
            filled = self._filled(node)
            if getattr(node, "style", None) in ("'", '"') and not _ENV.fullmatch(node.value):
                return filled
            again = _LOADER(filled) if filled else None
            plain = yaml.ScalarNode(node.tag, filled, node.start_mark, node.end_mark)
            if again is not None:
                plain.tag = again.resolve(yaml.ScalarNode, filled, (True, False))
                again.dispose()
            node = plain
        try:
            return self._scalar_of(node)
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            problem = str(getattr(error, "problem", None) or error)
            if "could not determine a constructor" in problem:
                what, remedy = f"the tag {node.tag} isn't allowed", "write a plain value"
            else:
                what, remedy = f"{node.value!r} is no such value ({problem})", "put it in quotes if it is meant as text"
            self.mistakes.append(Mistake(*_place(node), what, remedy))
            return None

    def _filled(self, node: yaml.Node) -> str:
        def value_of(found: re.Match[str]) -> str:
            name, otherwise = found.group(1), found.group(2)
            value = self._environ.get(name, otherwise)
            if value is None:
                what = f"the environment variable {name} isn't set"
                remedy = f"set it, or write ${{{name}:-VALUE}} for when it isn't"
                self.mistakes.append(Mistake(*_place(node), what, remedy))
                return "1"
            return value

        return _ENV.sub(value_of, node.value)


def _shown(key: Hashable) -> str:
    return repr(key) if isinstance(key, str) else str(key)
