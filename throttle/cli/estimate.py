"""`throttle estimate`: what each line of a job file costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from throttle.cli.options import Json, LimitsFile, Tier

if TYPE_CHECKING:
    from throttle.costs import Cost
    from throttle.jobs.lines import Line

__all__ = ["estimate"]

NO_FAMILY = "(none)"


@dataclass(slots=True)
class Estimate:
    """What one line costs, and the family whose limits it draws on."""

    line: Line
    cost: Cost
    family: str

    def plain(self) -> dict[str, Any]:
        """Tell it as JSON."""
        return {
            "line": self.line.number,
            "custom_id": self.line.custom_id,
            "endpoint": self.line.endpoint,
            "model": self.line.model,
            "family": self.family if self.family != NO_FAMILY else None,
            **_numbers([self]),
        }


def estimate(
    file: Annotated[Path, typer.Argument(help="A job file: lines of the Batch API, or bare bodies.", metavar="FILE")],
    endpoint: Annotated[
        str | None, typer.Option(help="Where bare bodies go. Else told from their keys.", metavar="PATH")
    ] = None,
    limits: LimitsFile = None,
    tier: Tier = None,
    summary: Annotated[bool, typer.Option("--sum", help="Print the sums only.")] = False,
    json: Json = False,
) -> int:
    """Print requests, input and output tokens and the model family of each line, and in sum.

    Output is the maximum a line asks for, or what such answers are expected to have.
    """
    estimates = list(_estimates(file, endpoint, limits, tier))
    if json:
        _print_for_machines(estimates, summary=summary)
    else:
        _print_table(estimates, summary=summary)
    return 0


def _estimates(file: Path, endpoint: str | None, limits: Path | None, tier: str | None) -> Iterator[Estimate]:
    from throttle.costs import CallCost
    from throttle.errors import Mistake
    from throttle.jobs.errors import JobFileError
    from throttle.jobs.lines import MalformedLine, read_line
    from throttle.limits import load_limits, resolve

    resolved = resolve(load_limits(limits), tier=tier)
    with file.open("rb") as lines:
        for number, raw in enumerate(lines, 1):
            if not raw.strip():
                continue
            try:
                line = read_line(raw, number, endpoint=endpoint)
            except MalformedLine as mistake:
                raise JobFileError(str(file), [Mistake(number, 0, str(mistake))]) from None
            match = resolved.match(line.model)
            family = match.pools[0].family if match and match.pools else NO_FAMILY
            yield Estimate(line, CallCost(line.body, line.endpoint).cost, family)


def _numbers(estimates: list[Estimate]) -> dict[str, int]:
    costs = [each.cost for each in estimates]
    return {
        "requests": sum(cost.requests for cost in costs),
        "input_tokens": sum(cost.input_tokens for cost in costs),
        "output_tokens": sum(cost.output_tokens for cost in costs),
        "tokens": sum(cost.tokens for cost in costs),
        "images": sum(cost.images for cost in costs),
    }


def _by_family(estimates: list[Estimate]) -> dict[str, list[Estimate]]:
    families: dict[str, list[Estimate]] = {}
    for each in estimates:
        families.setdefault(each.family, []).append(each)
    return families


def _print_for_machines(estimates: list[Estimate], *, summary: bool) -> None:
    from throttle.cli.console import print_json

    families = {name: _numbers(those) for name, those in _by_family(estimates).items()}
    told: dict[str, Any] = {"total": _numbers(estimates), "families": families}
    print_json(told if summary else {"lines": [each.plain() for each in estimates], **told})


def _print_table(estimates: list[Estimate], *, summary: bool) -> None:
    from rich.table import Table

    from throttle.cli.console import stdout

    images = any(each.cost.images for each in estimates)
    table = Table(box=None, pad_edge=False)
    table.add_column("line")
    for name in ("requests", "input", "output", *(("images",) if images else ())):
        table.add_column(name, justify="right")
    table.add_column("family")

    def add(name: str, those: list[Estimate], family: str) -> None:
        numbers = _numbers(those)
        cells = [numbers["requests"], numbers["input_tokens"], numbers["output_tokens"]]
        cells += [numbers["images"]] if images else []
        table.add_row(name, *(f"{cell:,}" for cell in cells), family)

    if not summary:
        for each in estimates:
            add(each.line.custom_id, [each], each.family)
    families = _by_family(estimates)
    for family, those in families.items():
        add(f"{len(those):,} lines", those, family)
    if len(families) != 1:
        add(f"{len(estimates):,} lines in all", estimates, "")
    stdout().print(table)
