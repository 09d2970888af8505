"""Real text that every machine has: the documentation of Python's own standard library.

Read from the source files, so that nothing of them is imported or run.
"""

from __future__ import annotations

import ast
import random
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["Passage", "job_lines"]

LEFT_OUT: Final = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "turtledemo", "__pycache__"}
)
SHORTEST: Final = 40
LONGEST: Final = 12_000
"""Characters: from a sentence to about three thousand tokens."""

TAIL_PART: Final = 0.1
"""The last part of a job, which has no whole modules: a long call at the very end would leave figures to chance."""

MODULES_PART: Final = 0.06
"""The part of a job that is whole modules; the rest is single functions and classes."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of documentation: of a module with all that is in it, or of one function or class."""

    name: str
    text: str
    whole_module: bool


def job_lines(count: int, *, model: str, seed: int = 7, directory: Path | None = None) -> list[dict[str, Any]]:
    """Make the lines of a job: short and long passages mixed, the same on every run of one Python.

    Fewer than asked for where there is less documentation.
    """
    draw = random.Random(seed)
    wanted_modules = round(count * MODULES_PART)
    modules: list[Passage] = []
    others: list[Passage] = []
    for path, name in _sources(directory or Path(sysconfig.get_paths()["stdlib"]), draw):
        for passage in _of_module(path, name):
            (modules if passage.whole_module else others).append(passage)
        if len(modules) >= wanted_modules and len(others) >= count - wanted_modules:
            break
    chosen = (modules[:wanted_modules] + others)[:count]
    body, tail = chosen[: -round(count * TAIL_PART)], chosen[-round(count * TAIL_PART) :]
    draw.shuffle(body)
    return [_line(number, passage, model) for number, passage in enumerate(body + tail, 1)]


def _sources(root: Path, draw: random.Random) -> list[tuple[Path, str]]:
    """List the source files with the names of their modules, in a drawn order."""
    sources = []
    for path in sorted(root.rglob("*.py")):
        inner = path.relative_to(root).with_suffix("").parts
        if LEFT_OUT.isdisjoint(inner):
            sources.append((path, ".".join(inner).removesuffix(".__init__")))
    draw.shuffle(sources)
    return sources


def _line(number: int, passage: Passage, model: str) -> dict[str, Any]:
    kind = "module" if passage.whole_module else "function or class"
    question = f"In one sentence, what is the Python {kind} {passage.name} for?\n\n{passage.text}"
    return {
        "custom_id": f"{number:05}-{passage.name}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": 40},
    }


def _of_module(path: Path, name: str) -> Iterator[Passage]:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    parts = []
    if text := ast.get_docstring(tree):
        parts.append(text)
    for inner, node in _documented(tree, name):
        text = ast.get_docstring(node) or ""
        parts.append(f"{inner}\n{text}")
        if len(text) >= SHORTEST:
            yield Passage(inner, text[:LONGEST], False)
    page = "\n\n".join(parts)[:LONGEST]
    if len(page) >= SHORTEST:
        yield Passage(name, page, True)


def _documented(
    tree: ast.AST, name: str
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{name}.{node.name}"
            if ast.get_docstring(node):
                yield inner, node
            if isinstance(node, ast.ClassDef):
                yield from _documented(node, inner)
