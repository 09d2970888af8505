"""The command line: arguments in, words out. `main` is the entry point; everything else is imported when it is
needed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]

LIBRARIES = frozenset({"click", "rich", "typer"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `throttle` with these arguments, by default the process's own; returns the exit code.

    0 only where all is well, 1 where something failed, 2 for a mistake in the command, 130 after Ctrl-C.
    """
    try:
        from throttle.cli.app import run

        return run(arguments)
    except ModuleNotFoundError as missing:
        if missing.name not in LIBRARIES:
            raise
        print(
            f"throttle: the command line needs {missing.name}, which is not installed: "
            "pip install 'openai-throttle[cli]'",
            file=sys.stderr,
        )
        return 1
