"""How an exchange is written for a script, and how its answer is read: whole numbers as packed doubles, which hold
them exactly up to 2**53.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack, unpack
from typing import Final
from urllib.parse import quote, unquote

from throttle.stores.protocol import (
    OTHER,
    READY,
    Answer,
    Ask,
    Change,
    Exchange,
    Grant,
    PoolReport,
    Presence,
    Sent,
    StoredLine,
)
from throttle.stores.transition import LEASE_US

__all__ = ["ARGUMENTS", "arguments_of", "read_answer", "read_report"]

ARGUMENTS: Final = 7
"""How many arguments an exchange has."""


def arguments_of(brought: Exchange, now_us: int | None) -> list[str | bytes]:
    """Write the arguments of `exchange.lua`; `now_us` stands in for the store's own time, for tests."""
    asks, changes, lesson, definition = brought.asks, brought.changes, brought.lesson, brought.definition
    if definition is not None and definition.digest != brought.digest:
        definition = None
    charges: tuple[Ask | Change | Sent, ...] = asks or changes or brought.sent
    width = len(charges[0].amounts) if charges else 0
    figures: list[int] = [
        brought.number,
        brought.version,
        brought.ahead_us,
        max(1, brought.keep_us // 1000),
        brought.pause_until_us,
        -1 if now_us is None else now_us,
        width,
        len(brought.sent),
        len(changes),
        len(asks),
        0 if lesson is None else len(lesson.lines),
        0 if definition is None else len(definition.lines),
        brought.places,
        brought.holds,
        brought.leaves,
        len(brought.resets),
        *brought.resets,
    ]
    for sent in brought.sent:
        figures.append(sent.lease)
        figures += sent.amounts
    for change in changes:
        figures.append(change.lease)
        figures += change.amounts
    for ask in asks:
        figures.append(ask.within_us)
        figures += ask.amounts
    if lesson is not None:
        figures += (lesson.anchor_us, lesson.at_us)
        for line, spent in zip(lesson.lines, lesson.spent, strict=True):
            figures += (line.rate, line.capacity, line.level is not None, line.level or 0, spent)
    if definition is not None:
        for defined in definition.lines:
            figures += (defined.rate, defined.tick_us, defined.capacity, defined.level)
    return [
        brought.process,
        brought.digest,
        pack(f"<{len(figures)}d", *figures),
        "" if brought.presence is None else _presence(brought.presence),
        "" if lesson is None else lesson.text,
        "" if definition is None else definition.text,
        brought.bell,
    ]


def read_answer(parts: bytes | Sequence[bytes]) -> Answer:
    """Read what `exchange.lua` returned: figures, and texts where there are any to tell."""
    if isinstance(parts, bytes):
        parts = (parts,)
    figures = _numbers(parts[0])
    status = figures[0]
    if status == OTHER:
        return Answer(OTHER, figures[1], definition=(parts[1].decode(), parts[2].decode()))
    if status != READY:
        return Answer(status, figures[1])
    _, now_us, clock_us, version, pause_until_us, processes, full, granted = figures[:8]
    lines_from = 8 + 3 * granted
    return Answer(
        READY,
        now_us,
        clock_us,
        version,
        pause_until_us,
        processes,
        tuple([Grant(*figures[i : i + 3]) for i in range(8, lines_from, 3)]),
        _lines(figures, lines_from),
        (parts[1].decode() or None) if len(parts) > 1 else None,
        full=full == 1,
        called=tuple(parts[2].decode().split()) if len(parts) > 2 else (),
    )


def read_report(key: str, state: Sequence[bytes], processes: dict[str, str], leases: int, now_us: int) -> PoolReport:
    """Read the state that `exchange.lua` keeps: its head, lines, text and lesson."""
    head = _numbers(state[0])
    there = {}
    for name, text in processes.items():
        seen_us, label, *figures = text.split()
        if int(seen_us) > now_us - LEASE_US:
            there[name] = (int(seen_us), Presence(unquote(label[1:]), *map(int, figures)))
    return PoolReport(
        key=key,
        text=state[2].decode(),
        lesson=state[3].decode(),
        now_us=max(now_us, head[0]),
        clock_us=head[1],
        pause_until_us=head[4],
        lines=_lines(_numbers(state[1]), 0),
        processes=there,
        leases=leases,
    )


def _lines(figures: list[int], start: int) -> tuple[StoredLine, ...]:
    return tuple([StoredLine(*figures[i : i + 6]) for i in range(start, len(figures), 6)])


def _presence(presence: Presence) -> str:
    figures = (presence.waiting, presence.under_way, presence.admitted, presence.refused)
    return f"{_word(presence.label)} {' '.join(map(str, figures))}"


def _word(text: str) -> str:
    """Write any text as one word without spaces, an empty one too."""
    return "=" + quote(text, safe="")


def _numbers(packed: bytes) -> list[int]:
    return list(map(int, unpack(f"<{len(packed) // 8}d", packed)))
