"""What goes wrong on a command line, in one line, with the exit code that belongs to it."""

from __future__ import annotations

import sys

__all__ = ["FAILURE", "INTERRUPTED", "USAGE", "UsageMistake", "tell", "warn"]

FAILURE = 1
USAGE = 2
INTERRUPTED = 130


class UsageMistake(Exception):
    """A command that can't be carried out as it was given; the text says what would be right."""


def warn(text: str) -> None:
    """Say something on standard error, in one line."""
    print(f"throttle: {text}", file=sys.stderr)


def tell(error: Exception) -> int | None:
    """Say an error of the user's or the world's on standard error; returns the exit code, None for an error of our own.

    Mistakes in a file come one a line, each beginning with its place, as compilers write them.
    """
    import openai

    from throttle.errors import LimitsError, ThrottleError
    from throttle.jobs.errors import JobFileError

    if isinstance(error, LimitsError | JobFileError):
        print(error, file=sys.stderr)
        return USAGE
    if isinstance(error, UsageMistake) or hasattr(error, "format_message"):
        text = str(error) if isinstance(error, UsageMistake) else error.format_message()
        warn(_in_one_line(text))
        return USAGE
    if isinstance(error, ThrottleError | openai.OpenAIError) or type(error).__module__.startswith("throttle."):
        warn(_in_one_line(str(error)))
        return FAILURE
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        warn(_in_one_line(f"{place}{(error.strerror or str(error)).lower()}"))
        return FAILURE
    return None


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
