"""Where words go: to a terminal in colour, to a file or a pipe plainly, to a machine as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

__all__ = ["counting", "print_json", "stderr", "stdout"]

PLAIN_WIDTH = 80
"""How wide tables are where no terminal says."""


def stdout() -> Console:
    """Make the console for what was asked for. It honours NO_COLOR."""
    return _console(sys.stdout)


def stderr() -> Console:
    """Make the console for what is said besides: progress, and why something stopped."""
    return _console(sys.stderr)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far a count has come, inside the block; elsewhere say nothing."""
    console = stderr()
    if not console.is_terminal:
        yield lambda count: None
        return
    with console.status("") as status:
        yield lambda count: status.update(f"{what} {count:,}")


def print_json(value: Any) -> None:
    """Print one JSON value on standard output, and nothing else."""
    print(json.dumps(value, ensure_ascii=False))


def _console(file: Any) -> Console:
    terminal = file.isatty()
    return Console(file=file, width=None if terminal else PLAIN_WIDTH, highlight=False, emoji=False, soft_wrap=False)
