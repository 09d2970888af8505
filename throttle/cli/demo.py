"""`throttle demo`: a real job against a server that enforces limits, with and without throttle, side by side."""

from __future__ import annotations

import json as json_module
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from throttle.cli.failures import FAILURE, INTERRUPTED, UsageMistake
from throttle.cli.options import Json, LimitsFile, Rpm, Tier, Tpm
from throttle.cli.words import amount, duration, percent, plural

if TYPE_CHECKING:
    from rich.console import Console

    from throttle.limits.values import PoolSpec
    from throttle.simulator import Simulator, Summary

__all__ = ["Outcome", "demo"]

MODEL: Final = "gpt-4o-mini"
LATENCY_S: Final = (0.15, 0.6)
REQUESTS: Final = 600
MOST_REQUESTS: Final = 3000
PLAIN_WORKERS: Final = 64
PLAIN_PATIENCE_S: Final = 25.0
LINE_EVERY_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one of the two runs went: what the client saw, and what the server recorded."""

    name: str
    requests: int
    answered: int
    elapsed_s: float
    server: Summary
    waits_s: tuple[float, float] | None = None
    interrupted: bool = False

    @property
    def lost(self) -> int:
        return self.requests - self.answered

    @property
    def refused(self) -> int:
        return self.server.by_status.get("429", 0)


@dataclass(frozen=True, slots=True)
class Stage:
    """The job and the limits that it runs under, both sides told the same."""

    lines: list[dict[str, Any]]
    limits: dict[str, Any]
    charge: str
    title: str
    ideal_s: float


def demo(
    limits: LimitsFile = None,
    tier: Tier = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    requests: Annotated[
        int | None, typer.Option(min=1, max=MOST_REQUESTS, metavar="N", help="How many requests the job has.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, max=60, metavar="S", help="How long the job is to last.")] = 20.0,
    plain: Annotated[bool, typer.Option("--plain/--no-plain", help="Also run the job with the plain client.")] = True,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the job file and the answers in this directory.")
    ] = None,
    json: Json = False,
) -> int:
    """Run a job of real text through a wrapped client against a server that enforces limits, then without throttle.

    The text is the documentation of this Python's standard library. Without --tier or --rpm and --tpm, limits are
    chosen so that the job lasts about 20 seconds. Exits with 1 if the throttled run met a 429 or lost a call.
    """
    import anyio

    from throttle.cli.console import print_json, stderr, stdout

    console, progress = stdout(), None if json else stderr()
    stage = _set_stage(limits, tier, rpm, tpm, requests, seconds)
    if not json:
        _introduce(stage, console)
    with tempfile.TemporaryDirectory(prefix="throttle-demo-") as scratch:
        place = keep or Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        source = place / "job.jsonl"
        source.write_text("".join(json_module.dumps(line) + "\n" for line in stage.lines), encoding="utf-8")
        outcomes = anyio.run(_both, stage, source, place / "answers.jsonl", plain, progress)
    if json:
        print_json({"ideal_s": stage.ideal_s, "limits": stage.limits, "runs": [_as_json(each) for each in outcomes]})
    else:
        _conclude(stage, outcomes, console)
    return _exit_code(outcomes[0])


def _exit_code(throttled: Outcome) -> int:
    if throttled.interrupted:
        return INTERRUPTED
    return FAILURE if throttled.refused or throttled.lost else 0


# the stage


def _set_stage(
    file: Path | None, tier: str | None, rpm: int | None, tpm: int | None, requests: int | None, seconds: float
) -> Stage:
    """Choose the job by the limits, or, where none are given, the limits by the job."""
    from throttle.costs import CallCost

    if file is None and tier is None and rpm is None and tpm is None:
        lines = _lines(requests or REQUESTS)
        booked = [CallCost(line["body"]).booked("characters") for line in lines]
        return _fitting_limits(lines, booked, seconds)
    pool, name = _pool_of(file, tier, rpm, tpm)
    meters = {meter.name: meter.limit for meter in pool.meters if meter.window_s == 60.0}
    charge = "characters" if pool.charge == "auto" else pool.charge
    most = min(MOST_REQUESTS, int(meters.get("rpm", MOST_REQUESTS) * (1 + seconds / 60)) + 1)
    lines = _lines(requests or most)
    booked = [CallCost(line["body"]).booked(charge) for line in lines]
    count = len(lines) if requests else _fitting_count(booked, meters, seconds)
    ideal_s = _ideal_s(booked[:count], meters)
    return Stage(lines[:count], meters, charge, f"{MODEL} at {name}", ideal_s)


def _lines(count: int) -> list[dict[str, Any]]:
    from throttle.cli.documentation import job_lines

    lines = job_lines(count, model=MODEL)
    if not lines:
        raise UsageMistake("this Python has no sources of its standard library, which the demo takes its text from")
    return lines


def _fitting_limits(lines: list[dict[str, Any]], booked: list[int], seconds: float) -> Stage:
    """Choose limits under which the job empties a full bucket and then lasts so long; tokens bind, requests nearly
    do.
    """
    part = 60 / (60 + seconds)
    meters = {"rpm": _round_up(len(lines) * part * 1.1), "tpm": _round_up(sum(booked) * part)}
    return Stage(lines, meters, "characters", f"{MODEL}, limits made for the job", _ideal_s(booked, meters))


def _pool_of(file: Path | None, tier: str | None, rpm: int | None, tpm: int | None) -> tuple[PoolSpec, str]:
    from throttle.cli.options import limits_and_tier
    from throttle.limits import load_limits, resolve

    source, tier = limits_and_tier(file, tier, rpm, tpm)
    resolved = resolve(load_limits(source), tier=tier)
    match = resolved.match(MODEL)
    if match is None or not any(meter.window_s == 60.0 for meter in match.pools[0].meters):
        raise UsageMistake(f"{resolved.source} has no limits by the minute for {MODEL} at {resolved.tier}")
    return match.pools[0], resolved.tier if rpm is None and tpm is None else "these limits"


def _fitting_count(booked: list[int], meters: dict[str, int], seconds: float) -> int:
    """Tell how many of the calls fill so many seconds, after a full bucket."""
    tokens = 0
    for count, each in enumerate(booked, 1):
        tokens += each
        if _ideal_s_of(count, tokens, meters) >= seconds:
            return count
    return len(booked)


def _ideal_s(booked: list[int], meters: dict[str, int]) -> float:
    return _ideal_s_of(len(booked), sum(booked), meters)


def _ideal_s_of(requests: int, tokens: int, meters: dict[str, int]) -> float:
    """Tell when the last call can go at the earliest: what exceeds a full bucket, at the rate of its refill."""
    amounts = {"rpm": requests, "tpm": tokens}
    return max([0.0, *((amounts[name] - limit) * 60 / limit for name, limit in meters.items() if name in amounts)])


def _round_up(number: float) -> int:
    step = 10 if number < 10_000 else 100
    return int(-(-number // step) * step)


# the two runs


async def _both(stage: Stage, source: Path, output: Path, plain: bool, progress: Console | None) -> list[Outcome]:
    from throttle.simulator import running

    with running(limits=stage.limits, charge=stage.charge, latency_s=LATENCY_S, seed=7) as server:
        outcomes = [await _throttled(stage, server, source, output, progress)]
        if plain and not outcomes[0].interrupted:
            server.reset()
            outcomes.append(await _plain(stage, server, progress))
    return outcomes


async def _throttled(stage: Stage, server: Simulator, source: Path, output: Path, progress: Console | None) -> Outcome:
    import throttle
    from throttle.cli.options import client_from_environment
    from throttle.cli.running import run_job
    from throttle.jobs.job import Job

    output.unlink(missing_ok=True)
    limiter = throttle.Limiter({**stage.limits, "charge": stage.charge}, pacing="burst")
    async with client_from_environment(server.base_url, connections=1000) as client:
        with Job(source, output, max_in_flight=1000) as job:
            report = await run_job(
                job,
                throttle.wrap(client, limiter=limiter),
                limiter,
                title="with throttle",
                console=progress,
                line_every_s=LINE_EVERY_S,
            )
    waits = next(iter(limiter.snapshot().pools.values())).waits
    return Outcome(
        "throttle",
        report.total,
        report.answered,
        report.elapsed_s,
        server.summary(),
        (waits.p50_s, waits.p95_s),
        report.stopped is not None,
    )


async def _plain(stage: Stage, server: Simulator, progress: Console | None) -> Outcome:
    """Send the same calls with the SDK alone: so many workers, each call with the SDK's own retries."""
    from throttle.cli.options import client_from_environment
    from throttle.cli.plain import run_plainly

    async with client_from_environment(server.base_url, connections=PLAIN_WORKERS) as client:
        answered, elapsed_s = await run_plainly(
            client,
            stage.lines,
            workers=PLAIN_WORKERS,
            at_most_s=PLAIN_PATIENCE_S,
            console=progress,
            line_every_s=LINE_EVERY_S,
        )
    return Outcome("plain client", len(stage.lines), answered, elapsed_s, server.summary())


# the words


def _introduce(stage: Stage, console: Console) -> None:
    limits = ", ".join(f"{limit:,} {name}" for name, limit in stage.limits.items())
    console.print(
        f"[bold]{plural(len(stage.lines), 'request')}[/], the documentation of Python's standard library, {stage.title}"
    )
    console.print(f"limits {limits}; buckets full at the start; ideal time {duration(stage.ideal_s)}\n")


def _conclude(stage: Stage, outcomes: list[Outcome], console: Console) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold", show_edge=False)
    table.add_column("")
    for outcome in outcomes:
        table.add_column(outcome.name, justify="right")
    for label, cells in _rows(stage, outcomes):
        table.add_row(label, *cells)
    console.print()
    console.print(table)
    console.print()
    throttled = outcomes[0]
    if _exit_code(throttled) == 0:
        console.print(f"[green]throttle: {plural(throttled.answered, 'call')} answered, none refused, none lost[/]")
    else:
        console.print(f"[red]throttle: {throttled.refused} × 429, {plural(throttled.lost, 'call')} lost[/]")


def _rows(stage: Stage, outcomes: list[Outcome]) -> list[tuple[str, list[str]]]:
    binding = outcomes[0].server.binding
    meter = binding.meter if binding else "tpm"
    unit = {"rpm": "requests"}.get(meter, "tokens")
    return [
        ("answered", [f"{o.answered:,} of {o.requests:,}" for o in outcomes]),
        ("lost", [_marked(o.lost) for o in outcomes]),
        ("429 answers", [_marked(o.refused) for o in outcomes]),
        ("requests sent", [amount(o.server.calls) for o in outcomes]),
        ("tokens booked", [amount(o.server.charged.get("tokens", 0)) for o in outcomes]),
        (f"utilization of {unit} ({meter})", [_utilization(o, meter) for o in outcomes]),
        ("time", [duration(o.elapsed_s) for o in outcomes]),
        ("against the ideal", [_against(o, stage.ideal_s) for o in outcomes]),
        ("waits p50 / p95", [_waits(o) for o in outcomes]),
    ]


def _marked(count: int) -> str:
    return f"[red]{count:,}[/]" if count else "[green]0[/]"


def _utilization(outcome: Outcome, meter: str) -> str:
    try:
        return percent(outcome.server.meter(meter).utilization)
    except KeyError:
        return "—"


def _against(outcome: Outcome, ideal_s: float) -> str:
    """Compare the last admission with the ideal; the latency of the last answer is no waste. A job with losses has no
    time.
    """
    last_s, first_s = outcome.server.last_admitted_at_s, outcome.server.first_at_s
    if outcome.lost or last_s is None or first_s is None or ideal_s <= 0:
        return "—"
    return f"{(last_s - first_s) / ideal_s:.3f} ×"


def _waits(outcome: Outcome) -> str:
    return "—" if outcome.waits_s is None else " / ".join(map(duration, outcome.waits_s))


def _as_json(outcome: Outcome) -> dict[str, Any]:
    binding = outcome.server.binding
    return {
        "name": outcome.name,
        "requests": outcome.requests,
        "answered": outcome.answered,
        "lost": outcome.lost,
        "refused": outcome.refused,
        "elapsed_s": outcome.elapsed_s,
        "binding": binding.meter if binding else None,
        "utilization": outcome.server.utilization,
        "waits_s": outcome.waits_s,
        "server": outcome.server.plain(),
    }
