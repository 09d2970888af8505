"""`throttle plan`: how long a job takes under each tier, before anything is sent."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from throttle.cli.options import BaseUrl, Json, LimitsFile, Rpm, Tpm, limits_and_tier
from throttle.cli.words import amount, duration, percent, plural

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from throttle.jobs.planning import Plan, TierPlan

__all__ = ["plan"]


def plan(
    source: Annotated[
        str, typer.Argument(metavar="IN.jsonl", help="The requests, as for `throttle run`; - for standard input.")
    ],
    limits: LimitsFile = None,
    tier: Annotated[
        list[str] | None, typer.Option("--tier", metavar="TIER", help="Only this tier; may be given again. Else all.")
    ] = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    base_url: BaseUrl = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where bodies without a url go; else it is inferred from each.")
    ] = None,
    pack: Annotated[
        bool, typer.Option("--pack", help="Put many prompts in one request, as `run --pack` does.")
    ] = False,
    prices: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Prices a million tokens: model: {input: 0.15, output: 0.60}")
    ] = None,
    latency: Annotated[float, typer.Option(min=0, metavar="S", help="How long an answer takes, in seconds.")] = 1.0,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw the times: .png, .svg, or .html with the table.")
    ] = None,
    json: Json = False,
) -> int:
    """Foretell how long a job takes under each tier, what holds it back, and what it costs. Sends nothing.

    The job's calls go through the same pools as in a run, in virtual time. Exits with 1 if a line can go under no tier.
    """
    from throttle.cli.console import counting, print_json, stdout
    from throttle.jobs.planning import plan as make_plan

    if plot is not None:
        from throttle.cli.plot import check_drawable

        check_drawable(plot)
    table, only = limits_and_tier(limits, tier[0] if tier else None, rpm, tpm)
    with counting("counting lines:") as on_read:
        made = make_plan(
            "/dev/stdin" if source == "-" else source,
            table,
            tiers=tier if only is not None else None,
            endpoint=endpoint,
            pack=pack,
            prices=prices,
            latency_s=latency,
            base_url=base_url,
            on_read=on_read,
        )
    if plot is not None:
        from throttle.cli.plot import draw

        draw(made, plot)
    if json:
        print_json(_as_json(made))
    else:
        _tell(made, stdout())
        if plot is not None:
            print(f"drawn in {plot}")
    return 1 if all(each.too_large or each.unlimited for each in made.tiers) else 0


def _as_json(plan: Plan) -> dict[str, Any]:
    return {**asdict(plan), "pays_off": plan.pays_off}


def _tell(plan: Plan, console: Console) -> None:
    console.print(f"[bold]{plural(plan.lines, 'request')}[/]\n")
    console.print(models_table(plan))
    console.print()
    console.print(tiers_table(plan))
    for line in remarks(plan):
        console.print(f"\n{line}", soft_wrap=True)


def models_table(plan: Plan) -> Table:
    """Make the table of what is asked of each model."""
    costs = any(share.cost is not None for share in plan.models)
    table = _table("model", "requests", "tokens in", "tokens out", *(["cost"] if costs else []))
    for share in plan.models:
        cells = [amount(share.requests), amount(share.input_tokens), amount(share.output_tokens)]
        table.add_row(share.model, *cells, *([_money(share.cost)] if costs else []))
    if len(plan.models) > 1:
        known = [share.cost for share in plan.models if share.cost is not None]
        sums = [
            amount(sum(share.requests for share in plan.models)),
            amount(sum(share.input_tokens for share in plan.models)),
            amount(sum(share.output_tokens for share in plan.models)),
        ]
        table.add_row("in all", *sums, *([_money(sum(known))] if costs else []))
    return table


def tiers_table(plan: Plan) -> Table:
    """Make the table of how long the job takes under each tier."""
    table = _table("tier", "time", "against the one before", "what binds")
    before: TierPlan | None = None
    for each in plan.tiers:
        table.add_row(each.tier, duration(each.duration_s), _against(each, before), _binding(each))
        before = each
    table.columns[3].justify = "left"
    return table


def remarks(plan: Plan) -> list[str]:
    """Say in words what the tables don't."""
    said = []
    for each in plan.tiers:
        if each.too_large:
            lines = ", ".join(map(str, each.too_large_lines))
            more = ", …" if each.too_large > len(each.too_large_lines) else ""
            said.append(
                f"{each.tier}: {plural(each.too_large, 'line')} can never go, larger than the bucket: {lines}{more}"
            )
        if each.unlimited:
            said.append(f"{each.tier}: no limits are known for {', '.join(each.unlimited)}, taken to go at once")
    if plan.pays_off is not None and len(plan.tiers) > 1:
        said.append(f"{plan.pays_off} pays off; a higher one gains less than a tenth of the time")
    return said


def _table(first: str, *others: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold", show_edge=False)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _against(each: TierPlan, before: TierPlan | None) -> str:
    if before is None or not before.duration_s:
        return ""
    return f"{each.duration_s / before.duration_s:.3g} ×"


def _binding(each: TierPlan) -> str:
    if each.binds is None or each.binds.binds is None:
        return "nothing: the buckets hold it all"
    meter = each.binds.binds
    return f"{each.binds.name} {meter} ({percent(each.binds.utilization[meter])})"


def _money(cost: float | None) -> str:
    return "—" if cost is None else f"{cost:,.2f}"
