from __future__ import annotations

import io
from typing import Any

import anyio
import pytest
from rich.console import Console

from throttle.cli.display import View, follow, plain_line, render
from throttle.cli.words import amount, duration, percent, plural
from throttle.jobs.progress import Progress, Tally
from throttle.jobs.result import Failure, Result
from throttle.jobs.usage import Usage
from throttle.meter import MeterSnapshot
from throttle.pool import PoolSnapshot, Waits


def meter(name: str, level: float, capacity: float = 100.0) -> MeterSnapshot:
    return MeterSnapshot(name, "tokens", level, capacity, 60.0, capacity, "user")


def view(**changes: Any) -> View:
    progress = Progress(
        total=1000,
        answered=412,
        failed=3,
        answered_now=412,
        failed_now=3,
        waiting=32,
        out=12,
        per_minute=312.4,
        elapsed_s=83.2,
        eta_s=112.0,
        usage=Usage(123_456, 45_678),
        cost=0.0412,
        **changes,
    )
    busy = PoolSnapshot(
        "gpt-4o-mini", {"rpm": meter("rpm", 80), "tpm": meter("tpm", -3)}, 30, 412, 1, 12, Waits(0, 0, 0, 0)
    )
    idle = PoolSnapshot("gpt-4o", {"rpm": meter("rpm", 100)}, 0, 0, 0, 0, Waits(0, 0, 0, 0))
    return View("in.jsonl → out.jsonl", progress, (busy, idle), costs=True)


def drawn(width: int = 80, *, colour: bool = False, **changes: Any) -> str:
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=colour, color_system="standard" if colour else None)
    console.print(render(view(**changes), width))
    return text.getvalue()


@pytest.mark.parametrize("width", [80, 60, 120])
def test_the_block_fits_its_width_and_tells_everything(width: int) -> None:
    lines = drawn(width).splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for said in ("415 of 1,000", "ETA 1m52s", "312/min", "12 out", "32 waiting", "1 × 429", "3 failed", "123,456 in"):
        assert said in text


def test_the_emptiest_meter_of_the_fullest_queue_is_what_binds() -> None:
    assert view().binding == ("gpt-4o-mini", "tpm")
    (line,) = [line for line in drawn().splitlines() if line.rstrip().endswith("binds")]
    assert "tpm" in line
    assert "0 of 100" in line


def test_an_outage_is_told() -> None:
    assert "can't be reached" in drawn(outage_s=65.0)
    assert "server out of reach" in plain_line(view(outage_s=65.0))


def test_no_colour_reaches_what_is_no_terminal() -> None:
    assert "\x1b" not in drawn()
    assert "\x1b" in drawn(colour=True)


def test_a_line_tells_the_same_where_there_is_no_terminal() -> None:
    assert plain_line(view()) == (
        "1m23s · 415 of 1,000 · 312/min · 32 waiting · 1 × 429 · 3 failed · gpt-4o-mini rpm 80"
        " · gpt-4o-mini tpm 0 (binds) · gpt-4o rpm 100 · cost 0.0412 · ETA 1m52s"
    )


def test_following_prints_lines_until_it_is_cancelled() -> None:
    text = io.StringIO()

    async def main() -> None:
        with anyio.move_on_after(0.5):
            await follow(view, Console(file=text, width=200), line_every_s=0.01)

    anyio.run(main)
    lines = text.getvalue().splitlines()
    assert len(lines) > 2
    assert set(lines) == {plain_line(view())}


def test_a_tally_tells_rate_and_end() -> None:
    tally = Tally(total=100, answered_before=10, failed_before=0, begun_s=1000.0)
    good = Result(1, "a", "/chat/completions", 200, None, b"{}", None, 1, b"")
    bad = Result(1, "a", "/chat/completions", 400, None, b"{}", Failure("bad", "no"), 1, b"")
    for i in range(30):
        tally.count(good if i % 3 else bad, 0.5, 1000.0 + i / 10)
    told = tally.progress(1003.0, waiting=1, out=2, outage_s=None)
    assert (told.answered, told.failed, told.left) == (30, 10, 60)
    assert told.per_minute == pytest.approx(600)
    assert told.eta_s == pytest.approx(6.0)
    assert told.cost == pytest.approx(10.0)
    later = tally.progress(1100.0, waiting=0, out=0, outage_s=None)
    assert later.per_minute == 0
    assert later.eta_s is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "—"), (0.123, "0.12 s"), (12.34, "12.3 s"), (65, "1m05s"), (3725, "1h02m"), (90_000, "1d01h")],
)
def test_durations_are_told_in_two_units(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_figures_are_told_as_people_write_them() -> None:
    assert (amount(1234), amount(12_345_678)) == ("1,234", "12.3M")
    assert (percent(0.99999), percent(1.0), percent(0.5)) == ("99.9 %", "100.0 %", "50.0 %")
    assert (plural(1, "line"), plural(2, "line"), plural(1000, "query", "queries")) == (
        "1 line",
        "2 lines",
        "1,000 queries",
    )
