"""The plan of a job as a picture."""

from __future__ import annotations

import html
import importlib.util
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throttle.cli.failures import UsageMistake
from throttle.cli.words import duration

if TYPE_CHECKING:
    from throttle.jobs.planning import Plan

__all__ = ["check_drawable", "draw"]

FORMATS = (".png", ".svg", ".html")

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>throttle plan: {title}</title>
<style>
body {{font-family: sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em}}
svg {{max-width: 100%; height: auto}}
</style>
</head>
<body>
<h1>{title}</h1>
{picture}
<pre>{text}</pre>
</body>
</html>
"""


def check_drawable(path: Path) -> None:
    """Find out beforehand whether a picture can be drawn there.

    Raises:
        UsageMistake: the file's name ends in something else than .png, .svg or .html, or matplotlib is missing.
    """
    if path.suffix not in FORMATS:
        raise UsageMistake(f"--plot {path}: its name has to end in one of {', '.join(FORMATS)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageMistake("--plot needs matplotlib, which is not installed: pip install 'openai-throttle[plot]'")


def draw(plan: Plan, path: Path) -> None:
    """Draw how long the job takes under each tier.

    Raises:
        UsageMistake: as `check_drawable`.
    """
    check_drawable(path)
    figure = _figure(plan)
    if path.suffix == ".html":
        path.write_text(_page(plan, figure), encoding="utf-8")
        return
    picture = BytesIO()
    figure.savefig(picture, format=path.suffix[1:], dpi=150)
    path.write_bytes(picture.getvalue())


def _figure(plan: Plan) -> Any:
    from matplotlib.figure import Figure

    tiers = plan.tiers[::-1]
    figure = Figure(figsize=(8, 1.2 + 0.45 * len(tiers)), layout="constrained")
    axes = figure.add_subplot()
    times_s = [max(each.duration_s, 0.1) for each in tiers]
    colours = ["tab:green" if each.tier == plan.pays_off else "tab:blue" for each in tiers]
    bars = axes.barh([each.tier for each in tiers], times_s, color=colours)
    labels = [
        duration(each.duration_s) + (f"  {each.binds.name} {each.binds.binds}" if each.binds else "") for each in tiers
    ]
    axes.bar_label(bars, labels, padding=4, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(min(times_s) / 2, max(times_s) * 100)
    axes.set_xlabel("seconds (logarithmic)")
    axes.set_title(f"{plan.lines:,} requests: time by tier, and what binds", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _page(plan: Plan, figure: Any) -> str:
    """Make one page of its own, without anything to be fetched."""
    from rich.console import Console

    from throttle.cli.plan import models_table, remarks, tiers_table

    picture = StringIO()
    figure.savefig(picture, format="svg")
    svg = picture.getvalue()
    text = StringIO()
    console = Console(file=text, width=100, highlight=False)
    console.print(models_table(plan))
    console.print()
    console.print(tiers_table(plan))
    for line in remarks(plan):
        console.print(f"\n{line}", soft_wrap=True)
    return PAGE.format(
        title=f"{plan.lines:,} requests", picture=svg[svg.index("<svg") :], text=html.escape(text.getvalue())
    )
