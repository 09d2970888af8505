"""`throttle serve`: the simulator, until interrupted."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from throttle.cli.options import Json

__all__ = ["serve"]


def serve(
    port: Annotated[int, typer.Option(help="The port; 0 for any that is free.", min=0, max=65535)] = 8000,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    rpm: Annotated[int | None, typer.Option("--rpm", help="Requests a minute.", min=1, metavar="N")] = None,
    tpm: Annotated[int | None, typer.Option("--tpm", help="Tokens a minute.", min=1, metavar="N")] = None,
    start: Annotated[str, typer.Option(help="How full the buckets are at first: full, empty, or 0.0 to 1.0.")] = "full",
    policy: Annotated[str, typer.Option(help="How is counted: bucket, fixed, sliding or per-second.")] = "bucket",
    charge: Annotated[str, typer.Option(help="What is booked: characters, input, maximum or usage.")] = "characters",
    latency: Annotated[str, typer.Option(help="Seconds until an answer comes: 0.5, or a range 0.2-1.5.")] = "0",
    output_tokens: Annotated[int, typer.Option(help="How long an answer is, in tokens.", min=0)] = 16,
    retry_after: Annotated[bool, typer.Option("--retry-after", help="Send retry-after with refusals.")] = False,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    json: Json = False,
) -> int:
    """Run a simulated OpenAI server that enforces limits, on this machine only, until Ctrl-C."""
    from throttle.cli.console import print_json
    from throttle.cli.failures import warn
    from throttle.simulator import serve as serve_simulator
    from throttle.simulator.handle import Simulator

    def ready(simulator: Simulator) -> None:
        if json:
            print_json({"base_url": simulator.base_url, "port": simulator.port})
        else:
            print(f"{simulator.base_url} answers until Ctrl-C", flush=True)

    summary = serve_simulator(
        host=host,
        port=port,
        on_ready=ready,
        limits=_limits(rpm, tpm),
        start=start,
        policy=policy,
        charge=charge,
        latency_s=_latency(latency),
        output_tokens=output_tokens,
        retry_after=retry_after,
        seed=seed,
    )
    if json:
        print_json(summary.plain())
    else:
        warn(f"{summary.calls:,} calls, {summary.admitted:,} admitted, {summary.refused:,} refused for their rate")
    return 0


def _limits(rpm: int | None, tpm: int | None) -> dict[str, Any]:
    from throttle.simulator.settings import DEFAULT_LIMITS

    given = {name: limit for name, limit in (("rpm", rpm), ("tpm", tpm)) if limit is not None}
    return given or dict(DEFAULT_LIMITS)


def _latency(text: str) -> float | list[float]:
    from throttle.cli.failures import UsageMistake

    try:
        parts = [float(part) for part in text.split("-")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 2:
        raise UsageMistake(f"--latency {text!r} is no time: write 0.5, or a range as in 0.2-1.5")
    return parts[0] if len(parts) == 1 else parts
