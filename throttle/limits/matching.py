"""From a model's name to its family: exact names, patterns, dated snapshots, fine-tuned models."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Names", "Pattern", "bases_of"]

T = TypeVar("T")

_DATE = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|\d{4})$")
_MOST_REMEMBERED = 4096


def bases_of(model: str) -> Iterator[str]:
    """Give the models that `model` falls to, nearest first: without its date, then what it was fine-tuned from.

    `gpt-4o-2024-08-06` and `gpt-4-0613` are dated; `ft:BASE:org:name:id` and, before mid-2023, `BASE:ft-org-date` are
    fine-tuned, and their base may be dated in turn.
    """
    undated = _DATE.sub("", model)
    if undated != model and undated:
        yield undated
    base = _tuned_from(model)
    if base:
        yield base
        yield from bases_of(base)


def _tuned_from(model: str) -> str:
    if model.startswith("ft:"):
        return model.split(":")[1]
    base, mark, _ = model.partition(":ft-")
    return base if mark else ""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A name with `*` (any text) and `?` (any character) in it."""

    text: str

    @property
    def plain(self) -> bool:
        """Whether it is a name, with neither of the two."""
        return "*" not in self.text and "?" not in self.text

    @property
    def rank(self) -> tuple[int, int]:
        """How specific it is: by the characters it fixes, then by those it counts."""
        counted = self.text.count("?")
        return (len(self.text) - counted - self.text.count("*"), counted)

    @property
    def stem(self) -> str:
        """What stands before its first wildcard."""
        return re.split(r"[*?]", self.text, maxsplit=1)[0]

    def compiled(self) -> re.Pattern[str]:
        """Give it as a regular expression for whole names; case counts."""
        parts = {"*": ".*", "?": "."}
        return re.compile("".join(parts.get(letter) or re.escape(letter) for letter in self.text), re.DOTALL)

    def covers(self, other: Pattern) -> bool:
        """Tell whether every name that `other` matches is matched by this one."""
        return _walk(self.text, other.text, covering=True)

    def meets(self, other: Pattern) -> bool:
        """Tell whether some name is matched by both."""
        shorter, longer = sorted((self.stem, other.stem), key=len)
        return longer.startswith(shorter) and _walk(self.text, other.text, covering=False)


def _walk(one: str, two: str, *, covering: bool) -> bool:
    """Walk two patterns side by side; `covering` asks whether `one` takes whatever `two` may stand for."""
    todo, seen = [(0, 0)], {(0, 0)}
    while todo:
        i, j = todo.pop()
        if i == len(one) and j == len(two):
            return True
        for step in _steps(one[i : i + 1], two[j : j + 1], covering):
            following = (i + step[0], j + step[1])
            if following not in seen:
                seen.add(following)
                todo.append(following)
    return False


def _steps(a: str, b: str, covering: bool) -> list[tuple[int, int]]:
    steps = []
    if a == "*":
        steps.append((1, 0))
        if b:
            steps.append((0, 1))
    if not covering and b == "*":
        steps.append((0, 1))
        if a:
            steps.append((1, 0))
    letters = a and b and a != "*" and b != "*"
    if letters and (a == b or a == "?" or (b == "?" and not covering)):
        steps.append((1, 1))
    return steps


class Names(Generic[T]):
    """Things found by a model's name: the exact name first, then the most specific pattern.

    A dated snapshot and a fine-tuned model fall to the model they were made of, unless a pattern says more of their
    name than that; `*` alone comes last of all.
    """

    __slots__ = ("_exact", "_other", "_patterns")

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        self._exact: dict[str, T] = {}
        self._other: T | None = None
        ranked: list[tuple[tuple[int, int], re.Pattern[str], T]] = []
        for text, thing in entries:
            pattern = Pattern(text)
            if text == "*":
                self._other = thing
            elif pattern.plain:
                self._exact.setdefault(text, thing)
            else:
                ranked.append((pattern.rank, pattern.compiled(), thing))
        self._patterns = tuple(sorted(ranked, key=lambda entry: entry[0], reverse=True))

    def find(self, model: str) -> T | None:
        """Find the thing for a model; None where no name and no pattern is for it."""
        found = self._named(model)
        return self._other if found is None else found

    def _named(self, model: str) -> T | None:
        exact = self._exact.get(model)
        if exact is not None:
            return exact
        base = next((base for base in bases_of(model) if base in self._exact), "")
        for (fixed, _), pattern, thing in self._patterns:
            if base and fixed <= len(base):
                break
            if pattern.fullmatch(model):
                return thing
        if base:
            return self._exact[base]
        for base in bases_of(model):
            for _, pattern, thing in self._patterns:
                if pattern.fullmatch(base):
                    return thing
        return None


def remembered(find: Callable[[str], T], most: int = _MOST_REMEMBERED) -> Callable[[str], T]:
    """Remember what was found for each name; forget all of it where a caller invents names without end.

    Threads may look at once: the worst that happens is that a name is looked for twice.
    """
    known: dict[str, T] = {}

    def recall(model: str) -> T:
        try:
            return known[model]
        except KeyError:
            if len(known) >= most:
                known.clear()
            found = known[model] = find(model)
            return found

    return recall
