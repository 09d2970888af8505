"""A lane: the lines of a job that share an endpoint and a model, so that a full pool holds up no other pool's lines."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import BinaryIO, Final

import anyio

from throttle.jobs.index import Index
from throttle.jobs.lines import Line, read_line
from throttle.jobs.verdicts import Verdict
from throttle.jobs.window import Window

__all__ = ["Lane", "Load"]

READ_AHEAD: Final = 256
"""How many places are fetched from the index at once."""


@dataclass(slots=True, eq=False)
class Load:
    """What goes in one request: a line, or several that were packed together.

    Attributes:
        lines: the lines.
        earlier: how often each was sent in earlier runs.
        attempts: how often it was sent in this one.
        tries: how often it came back with something that may pass.
    """

    lines: tuple[Line, ...]
    earlier: tuple[int, ...]
    attempts: int = 0
    tries: int = 0


@dataclass(slots=True, eq=False)
class Lane:
    """One lane's lines that are still to be sent, and what is out of it.

    Attributes:
        key: endpoint, model, and whatever else its lines have in common.
        index, source: where its lines are.
        endpoint: what bare bodies are for (None: inferred).
        window: how many may be out where no limit says.
        limited: whether a limit says.
        waiting: calls begun that the limiter hasn't let go yet.
        out: calls sent and not answered.
        answered: whether the server ever gave a good answer here.
        doubts: lines refused in a way that is seldom a line's own fault, before there was any good answer.
        changed: set when something happened that may let the next call begin.
    """

    key: tuple[str, ...]
    index: Index
    source: BinaryIO
    endpoint: str | None
    window: Window
    limited: bool = False
    waiting: int = 0
    out: int = 0
    answered: bool = False
    doubts: list[tuple[Load, Verdict]] = field(default_factory=list)
    changed: anyio.Event = field(default_factory=anyio.Event)
    _number: int = 0
    _ahead: deque[Load] = field(default_factory=deque)
    _later: list[tuple[float, int, Load]] = field(default_factory=list)
    _order: count[int] = field(default_factory=count)
    _read_out: bool = False

    @property
    def model(self) -> str:
        return self.key[1]

    @property
    def busy(self) -> int:
        """How many calls are begun and not ended."""
        return self.waiting + self.out

    @property
    def next_at_s(self) -> float | None:
        """When the first of those that have to wait may go again; None where there is none."""
        return self._later[0][0] if self._later else None

    def take(self, now_s: float) -> Load | None:
        """Take what is to be sent next; None if there is nothing now."""
        if self._later and self._later[0][0] <= now_s:
            return heappop(self._later)[2]
        if not self._ahead and not self._read_out:
            self._read_on()
        return self._ahead.popleft() if self._ahead else None

    def put_first(self, *loads: Load) -> None:
        """Put back what was taken, in front of all others."""
        self._ahead.extendleft(reversed(loads))

    def put_later(self, load: Load, at_s: float) -> None:
        """Put back what may go again at that time."""
        heappush(self._later, (at_s, next(self._order), load))

    @property
    def empty(self) -> bool:
        """Whether nothing is left to be begun."""
        if not self._ahead and not self._read_out:
            self._read_on()
        return not self._ahead and not self._later

    def wake(self) -> None:
        self.changed.set()

    def _read_on(self) -> None:
        places = self.index.open_after(self.key, self._number, READ_AHEAD)
        self._read_out = len(places) < READ_AHEAD
        for place in places:
            self.source.seek(place.offset)
            line = read_line(self.source.read(place.size), place.number, endpoint=self.endpoint)
            self._ahead.append(Load((line,), (place.attempts,)))
            self._number = place.number
