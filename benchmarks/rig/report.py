"""Medians over rounds, as a table for the terminal, JSON, Markdown, a picture, a page."""

from __future__ import annotations

import base64
import html
import io
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.rig.race import Result

__all__ = ["Row", "page", "picture", "rows_of", "table"]


@dataclass(frozen=True, slots=True)
class Row:
    """The medians of one contender in one scenario, and how far the rounds lie apart."""

    contender: str
    scenario: str
    rounds: int
    calls: int
    goodput: float
    refused: float
    lost: float
    unfinished: float
    against_ideal: float | None
    cut_at: float
    spread: float
    p50_s: float
    p95_s: float
    p99_s: float
    cpu_s: float
    peak_mb: float
    error: str

    @property
    def rank(self) -> tuple[bool, bool, float, float]:
        """Order rows: those that lost nothing, then those without a 429, then by time."""
        return (self.lost > 0, self.refused > 0, self.against_ideal or float("inf"), -self.goodput)

    @property
    def time(self) -> str:
        """Write the time against the ideal; how much more it would have been where the run was cut off."""
        if self.unfinished:
            return f"> {self.cut_at:.1f}"
        return "—" if self.against_ideal is None else f"{self.against_ideal:.3f}"


def rows_of(results: Iterable[Result]) -> list[Row]:
    """Take the medians, in order of rank within each scenario."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.scenario, result.contender), []).append(result)
    scenarios = list(dict.fromkeys(scenario for scenario, _ in groups))
    rows = [_row(scenario, contender, group) for (scenario, contender), group in groups.items()]
    return sorted(rows, key=lambda row: (scenarios.index(row.scenario), row.rank))


def _row(scenario: str, contender: str, group: Sequence[Result]) -> Row:
    times = [time for each in group if (time := each.against_ideal) is not None]

    def median(take: Callable[[Result], float]) -> float:
        return statistics.median(take(each) for each in group)

    return Row(
        contender=contender,
        scenario=scenario,
        rounds=len(group),
        calls=group[0].calls,
        goodput=median(lambda each: each.goodput),
        refused=median(lambda each: each.refused),
        lost=median(lambda each: each.lost),
        unfinished=median(lambda each: each.unfinished),
        against_ideal=statistics.median(times) if len(times) * 2 > len(group) else None,
        cut_at=median(lambda each: each.elapsed_s / each.ideal_s),
        spread=max(times) - min(times) if times else 0.0,
        p50_s=median(lambda each: each.p50_s),
        p95_s=median(lambda each: each.p95_s),
        p99_s=median(lambda each: each.p99_s),
        cpu_s=median(lambda each: each.cpu_s),
        peak_mb=median(lambda each: each.peak_mb),
        error=next((error for each in group for error in each.errors), ""),
    )


HEAD = ("", "goodput", "429", "lost", "time/ideal", "±", "p50", "p95", "p99", "CPU")


def cells(row: Row) -> tuple[str, ...]:
    """Write a row's figures."""
    return (
        row.contender,
        f"{row.goodput:.1%}",
        f"{row.refused:,.0f}",
        f"{row.lost:,.0f}",
        row.time,
        f"{row.spread:.3f}" if row.rounds > 1 else "",
        f"{row.p50_s:.2f}",
        f"{row.p95_s:.2f}",
        f"{row.p99_s:.2f}",
        f"{row.cpu_s:.2f}",
    )


def table(rows: Sequence[Row], abouts: Mapping[str, str], *, markdown: bool = False) -> str:
    """Write one table for each scenario."""
    blocks = []
    for scenario in dict.fromkeys(row.scenario for row in rows):
        mine = [row for row in rows if row.scenario == scenario]
        lines = [cells(row) for row in mine]
        title = f"{scenario}: {abouts.get(scenario, '')} ({mine[0].calls:,} calls)"
        if markdown:
            head = ["| " + " | ".join(HEAD) + " |", "|---" + "|---:" * (len(HEAD) - 1) + "|"]
            blocks.append("\n".join([f"### {title}", "", *head, *("| " + " | ".join(line) + " |" for line in lines)]))
            continue
        widths = [max(len(line[k]) for line in [HEAD, *lines]) + 2 for k in range(len(HEAD))]
        written = [_line(line, widths) for line in [HEAD, *lines]]
        blocks.append("\n".join([title, *written]))
    return "\n\n".join(blocks)


def _line(line: Sequence[str], widths: Sequence[int]) -> str:
    return line[0].ljust(widths[0]) + "".join(
        cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)
    )


def picture(rows: Sequence[Row], abouts: Mapping[str, str]) -> bytes:
    """Draw time against the ideal and refusals, a panel for each scenario; gives a PNG.

    Raises:
        ImportError: the extra `plot` is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    scenarios = list(dict.fromkeys(row.scenario for row in rows))
    most = max(sum(row.scenario == scenario for row in rows) for scenario in scenarios)
    figure, panels = plt.subplots(
        len(scenarios), 2, figsize=(13, 0.5 + len(scenarios) * (1.2 + 0.24 * most)), squeeze=False
    )
    for (left, right), scenario in zip(panels, scenarios, strict=True):
        mine = [row for row in rows if row.scenario == scenario][::-1]
        names = [row.contender for row in mine]
        colours = ["#d1495b" if row.lost else "#edae49" if row.refused else "#2e8b57" for row in mine]
        left.barh(names, [_length(row) for row in mine], color=colours)
        left.axvline(1.0, color="black", linewidth=0.8)
        left.set_title(f"{scenario}: {abouts.get(scenario, '')}", loc="left", fontsize=9)
        left.set_xlabel("time of the job / ideal", fontsize=7)
        for place, row in enumerate(mine):
            told = f" {row.lost:,.0f} lost" if row.lost else f" {row.time}"
            left.text(_length(row), place, told, va="center", fontsize=7)
            right.text(row.refused, place, f" {row.refused:,.0f}", va="center", fontsize=7)
        right.barh(names, [row.refused for row in mine], color=colours)
        right.set_title("refused calls (429)", loc="left", fontsize=9)
        for panel in (left, right):
            panel.tick_params(labelsize=7)
            panel.margins(x=0.12)
    figure.suptitle("green: no 429, nothing lost · yellow: 429s · red: calls lost", fontsize=11)
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    plt.close(figure)
    return file.getvalue()


def _length(row: Row) -> float:
    return 0.0 if row.lost else row.against_ideal or row.cut_at


STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.5rem 0 2rem}
td,th{padding:.15rem .7rem;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}tr.clean td:first-child{font-weight:600;color:#1d6b41}tr.lost{color:#a33}
img{max-width:100%}small{color:#666}"""


def page(rows: Sequence[Row], abouts: Mapping[str, str], about: Mapping[str, Any], notes: Sequence[str]) -> str:
    """Write a page that needs nothing else: tables, notes, and the picture inside."""
    parts = ["<!doctype html><meta charset=utf-8><title>throttle: throughput</title>", f"<style>{STYLE}</style>"]
    parts.append("<h1>The same job, differently throttled</h1>")
    versions = ", ".join(f"{name} {found}" for name, found in about["versions"].items())
    told = f"{about['date']} · {about['processor']}, {about['cores']} cores · Python {about['python']} · {versions}"
    parts.append(f"<p><small>{html.escape(told)}</small></p>")
    for scenario in dict.fromkeys(row.scenario for row in rows):
        mine = [row for row in rows if row.scenario == scenario]
        parts.append(f"<h2>{html.escape(scenario)}</h2><p>{html.escape(abouts.get(scenario, ''))}</p><table><tr>")
        parts += [f"<th>{html.escape(name)}</th>" for name in HEAD] + ["</tr>"]
        for row in mine:
            kind = "lost" if row.lost else "clean" if not row.refused else ""
            parts.append(f"<tr class='{kind}'>" + "".join(f"<td>{html.escape(c)}</td>" for c in cells(row)) + "</tr>")
        parts.append("</table>")
    parts.append(f"<img alt='' src='data:image/png;base64,{base64.b64encode(picture(rows, abouts)).decode()}'>")
    parts.append("<ul>" + "".join(f"<li>{html.escape(note)}</li>" for note in notes) + "</ul>")
    return "\n".join(parts)
