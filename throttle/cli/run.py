"""`throttle run`: a file of requests in, a file of answers out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from throttle.cli.failures import FAILURE, INTERRUPTED, UsageMistake, warn
from throttle.cli.options import (
    BaseUrl,
    Json,
    LimitsFile,
    Pacing,
    Rpm,
    Tier,
    Tpm,
    client_from_environment,
    limits_and_tier,
)
from throttle.cli.words import amount, duration, plural

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from throttle.jobs.job import Job, Report
    from throttle.limiter import Limiter
    from throttle.metering import Pacing as HowToPace

__all__ = ["run"]

MOST_CONNECTIONS = 4000
PACINGS = ("auto", "burst", "smooth")


def run(
    source: Annotated[
        str, typer.Argument(metavar="IN.jsonl", help="The requests, as for OpenAI's Batch API; - for standard input.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT.jsonl", help="Where answers go, as they come.")
    ],
    limits: LimitsFile = None,
    tier: Tier = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    base_url: BaseUrl = None,
    pacing: Pacing = "auto",
    endpoint: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where bodies without a url go; else it is inferred from each.")
    ] = None,
    failures: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where failures go. Else OUT.failed.jsonl.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Send again what failed in earlier runs.")
    ] = False,
    in_order: Annotated[bool, typer.Option("--in-order", help="In the end, sort the output like the input.")] = False,
    pack: Annotated[
        bool, typer.Option("--pack", help="Put many prompts in one request (embeddings, legacy completions).")
    ] = False,
    max_in_flight: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Calls out at once. Else as many as limits and latency call for."),
    ] = None,
    max_tokens_total: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop before the whole job has used more tokens.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0, metavar="AMOUNT", help="Stop before it has cost more; needs --prices.")
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Prices a million tokens: model: {input: 0.15, output: 0.60}")
    ] = None,
    max_tries: Annotated[int, typer.Option(min=1, metavar="N", help="How often to try what may pass.")] = 5,
    json: Json = False,
) -> int:
    """Send every request of a file at the full rate of the account, and keep every answer.

    The same command given again goes on where the last one stopped. Ctrl-C once waits for what is out, twice doesn't.
    """
    import anyio

    import throttle
    from throttle.cli.console import counting, print_json
    from throttle.jobs.job import Job

    if pacing not in PACINGS:
        raise UsageMistake(f"--pacing {pacing!r} is none of {', '.join(PACINGS)}")
    connections = max_in_flight or MOST_CONNECTIONS
    table, tier = limits_and_tier(limits, tier, rpm, tpm)
    client = throttle.wrap(
        client_from_environment(base_url, connections=connections),
        limits=table,
        tier=tier,
        pacing=cast("HowToPace", pacing),
    )
    with counting("checking lines:") as on_read:
        job = Job(
            _source(source),
            output,
            failures=failures,
            endpoint=endpoint,
            retry_failed=retry_failed,
            in_order=in_order,
            pack=pack,
            max_in_flight=connections,
            max_tries=max_tries,
            max_tokens_total=max_tokens_total,
            max_cost=max_cost,
            prices=prices,
            on_read=on_read,
        )
    with job:
        report = anyio.run(_run, job, client, prices is not None, json)
        if json:
            print_json(_as_json(report, job, throttle.limiter_of(client)))
        else:
            _tell(report, job, throttle.limiter_of(client), prices is not None)
    return _exit_code(report)


async def _run(job: Job, client: AsyncOpenAI, costs: bool, json: bool) -> Report:
    import throttle
    from throttle.cli.console import stderr
    from throttle.cli.running import run_job

    async with client:
        return await run_job(
            job,
            client,
            throttle.limiter_of(client),
            title=f"{job.name} → {job.output}",
            console=None if json else stderr(),
            costs=costs,
            notice=warn,
        )


def _source(given: str) -> str:
    return "/dev/stdin" if given == "-" else given


def _exit_code(report: Report) -> int:
    if report.stopped == "interrupted":
        return INTERRUPTED
    return 0 if report.complete else FAILURE


def _tell(report: Report, job: Job, limiter: Limiter, costs: bool) -> None:
    """Sum up, a line a matter."""
    refused = sum(pool.refused for pool in limiter.snapshot().pools.values())
    spent = f", {amount(report.usage.input_tokens)} tokens in, {amount(report.usage.output_tokens)} out"
    money = f", cost {report.cost:.4f}" if costs else ""
    if report.answered_now or not report.stopped:
        print(
            f"{plural(report.answered_now, 'answer')} in {duration(report.elapsed_s)}{spent}{money}, {refused} × 429; "
            f"{report.answered:,} of {report.total:,} lines are in {job.output}"
        )
    if report.failed:
        print(f"{plural(report.failed, 'line')} failed: see {job.failures}; --retry-failed sends them again")
    if report.stopped:
        warn(f"{report.stopped}; {plural(report.left, 'line')} left, the same command goes on")


def _as_json(report: Report, job: Job, limiter: Limiter) -> dict[str, Any]:
    pools = {
        name: {
            "admitted": pool.admitted,
            "refused": pool.refused,
            "wait_p50_s": pool.waits.p50_s,
            "wait_p95_s": pool.waits.p95_s,
            "meters": {meter.name: {"level": meter.level, "limit": meter.limit} for meter in pool.meters.values()},
        }
        for name, pool in limiter.snapshot().pools.items()
    }
    return {
        **asdict(report),
        "left": report.left,
        "complete": report.complete,
        "output": str(job.output),
        "failures": str(job.failures),
        "pools": pools,
    }
