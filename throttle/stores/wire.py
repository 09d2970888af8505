"""How an exchange is written for a script, and how its answer is read: whole numbers as text, exact in any language."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import quote, unquote

from throttle.stores.protocol import (
    OTHER,
    READY,
    Answer,
    Exchange,
    Grant,
    Lesson,
    PoolReport,
    Presence,
    StoredLine,
)

__all__ = ["arguments_of", "read_answer", "read_report"]


def arguments_of(brought: Exchange, now_us: int | None) -> list[str | int]:
    """Write the arguments of `exchange.lua`; `now_us` stands in for the store's own time, for tests."""
    asks = (f"{ask.within_us} {_join(ask.amounts)}" for ask in brought.asks)
    changes = (f"{change.lease} {_join(change.amounts)}" for change in brought.changes)
    definition, presence = brought.definition, brought.presence
    return [
        brought.process,
        brought.number,
        brought.digest,
        brought.version,
        brought.ahead_us,
        max(1, brought.keep_us // 1000),
        brought.pause_until_us,
        "" if presence is None else _presence(presence),
        _join(brought.sent),
        " ".join(changes),
        " ".join(asks),
        "" if brought.lesson is None else _lesson(brought.lesson),
        "" if brought.lesson is None else brought.lesson.text,
        ""
        if definition is None or definition.digest != brought.digest
        else " ".join(f"{line.rate} {line.tick_us} {line.capacity} {line.level}" for line in definition.lines),
        "" if definition is None else definition.text,
        "" if now_us is None else now_us,
    ]


def read_answer(parts: Sequence[bytes | int]) -> Answer:
    """Read what `exchange.lua` returned."""
    status = int(parts[0])
    texts = [part.decode() if isinstance(part, bytes) else str(part) for part in parts[1:]]
    head = _numbers(texts[0])
    if status == OTHER:
        return Answer(OTHER, head[0], definition=(texts[4], texts[5]))
    if status != READY:
        return Answer(status, head[0])
    grants = _numbers(texts[2])
    return Answer(
        READY,
        now_us=head[0],
        clock_us=head[1],
        version=head[2],
        pause_until_us=head[3],
        processes=head[4],
        grants=tuple(Grant(*grants[i : i + 3]) for i in range(0, len(grants), 3)),
        lines=_lines(texts[1]),
        lesson=texts[3] or None,
    )


def read_report(key: str, state: dict[str, str], processes: dict[str, str], leases: int, now_us: int) -> PoolReport:
    """Read the state that `exchange.lua` keeps."""
    head = _numbers(state["h"])
    there = {}
    for name, text in processes.items():
        seen_us, label, *figures = text.split()
        there[name] = (int(seen_us), Presence(unquote(label[1:]), *map(int, figures)))
    return PoolReport(
        key=key,
        text=state["t"],
        lesson=state["b"],
        now_us=max(now_us, head[0]),
        clock_us=head[1],
        pause_until_us=head[4],
        lines=_lines(state["l"]),
        processes=there,
        leases=leases,
    )


def _lines(text: str) -> tuple[StoredLine, ...]:
    figures = _numbers(text)
    return tuple(StoredLine(*figures[i : i + 6]) for i in range(0, len(figures), 6))


def _presence(presence: Presence) -> str:
    figures = (presence.waiting, presence.under_way, presence.admitted, presence.refused)
    return f"{_word(presence.label)} {_join(figures)}"


def _lesson(lesson: Lesson) -> str:
    told = (
        f"{line.rate} {line.capacity} {'-' if line.level is None else line.level} {spent}"
        for line, spent in zip(lesson.lines, lesson.spent, strict=True)
    )
    return f"{lesson.anchor_us} {lesson.at_us} {' '.join(told)}"


def _word(text: str) -> str:
    """Write any text as one word without spaces, an empty one too."""
    return "=" + quote(text, safe="")


def _join(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split()]
