"""Words for mistakes: the nearest right name for a wrong one, and names in a list."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["listed", "nearest", "unknown"]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Find the known name that `name` was most likely meant to be; None where none is near."""
    names = list(known)
    folded = {other.lower().replace("_", "-"): other for other in names}
    wanted = name.lower().replace("_", "-")
    if wanted in folded:
        return folded[wanted]
    # Two letters changed places is the usual slip, and counts as two changes: so not too strict with short names.
    close = difflib.get_close_matches(wanted, folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def listed(names: Iterable[str], most: int = 8) -> str:
    """Join names by commas, with a count in place of the rest where there are many."""
    every = list(names)
    shown = ", ".join(every[:most])
    return f"{shown} and {len(every) - most} more" if len(every) > most else shown


def unknown(what: str, name: str, known: Iterable[str]) -> tuple[str, str]:
    """Say that there is no such name, and which is meant or which there are."""
    names = list(known)
    near = nearest(name, names)
    if near is not None:
        return f"unknown {what} {name!r}", f"did you mean {near!r}?"
    return f"unknown {what} {name!r}", f"there is {listed(names)}" if names else "there is none"
