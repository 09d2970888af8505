"""`throttle limits`: show a table, check a file, print its schema, write one from what the account says of itself."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from throttle.cli.failures import FAILURE, UsageMistake, warn
from throttle.cli.options import BaseUrl, Json, LimitsFile, Tier

if TYPE_CHECKING:
    from openai import OpenAI

    from throttle.limits import Change, LimitsTable, Match, ResolvedLimits

__all__ = ["app"]

app = typer.Typer(
    name="limits",
    help="See, check and write the limits that calls are held to.",
    no_args_is_help=True,
    add_completion=False,
)

Figures = dict[str, dict[str, int]]

_WIDEST = 1000
_PROBE_TIMEOUT_S = 60.0
_MOST_RECORDING_BYTES = 1_000_000_000
_NOT_PROBED = (
    "audio",
    "realtime",
    "live",
    "transcribe",
    "tts",
    "whisper",
    "image",
    "dall-e",
    "sora",
    "research",
    "computer",
)
_BY_COMPLETION = ("instruct", "davinci-002", "babbage-002")
_BY_RESPONSE = ("-pro", "codex")


# -- show --------------------------------------------------------------------------------------------------------------


@app.command()
def show(
    limits: LimitsFile = None,
    tier: Tier = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Only what this model's calls draw on.", metavar="MODEL")
    ] = None,
    account: Annotated[str | None, typer.Option("--account", help="An account of the file.", metavar="NAME")] = None,
    project: Annotated[
        str | None, typer.Option("--project", help="A project of the account, with limits of its own.", metavar="ID")
    ] = None,
    base_url: BaseUrl = None,
    json: Json = False,
) -> int:
    """Show which limits hold, and what is known of them."""
    from throttle.cli.console import print_json, stdout
    from throttle.limits import load_limits, resolve

    table = load_limits(limits)
    base_url = base_url or os.environ.get("OPENAI_BASE_URL")
    resolved = resolve(table, tier=tier, account=account, project=project, base_url=base_url)
    match = resolved.match(model) if model else None
    if json:
        print_json(_shown(resolved, model, match))
    elif model and match is None:
        print(f"{model}: no limits are known in {resolved.tier} of {resolved.source}; the server's answers will tell")
    else:
        console = stdout()
        laid_out = _table(table, resolved, model, match)
        if not console.is_terminal:
            # What reads a pipe doesn't mind long lines, but does mind figures that are cut off.
            narrow, console.width = console.width, _WIDEST
            console.width = max(narrow, console.measure(laid_out).maximum)
        console.print(laid_out)
    return 0


def _shown(resolved: ResolvedLimits, model: str | None, match: Match | None) -> dict[str, Any]:
    pools = _drawn_on(match) if model else resolved.pools
    shown: dict[str, Any] = {
        "tier": resolved.tier,
        "source": resolved.source,
        "origin": resolved.origin,
        "account": resolved.account or None,
        "project": resolved.project or None,
        "server": resolved.server or None,
        "changes_at": resolved.changes_at.isoformat() if resolved.changes_at else None,
    }
    if model:
        shown |= {
            "model": model,
            "family": match.model_family if match else None,
            "weight": str(match.weight) if match else None,
        }
    return shown | {"pools": [_pool(pool) for pool in pools]}


def _pool(pool: Any) -> dict[str, Any]:
    meters = {
        meter.name: {
            "limit": meter.limit,
            "unit": meter.unit,
            "window_s": meter.window_s,
            "burst_s": meter.burst_s,
            "resets": meter.resets or None,
            "origin": meter.origin,
        }
        for meter in pool.meters
    }
    return {
        "name": pool.name,
        "family": pool.family,
        "scope": pool.scope,
        "charge": pool.charge,
        "headroom": pool.headroom,
        "batch_queue_tokens": pool.batch_queue_tokens,
        "meters": meters,
    }


def _drawn_on(match: Match | None) -> tuple[Any, ...]:
    if match is None:
        return ()
    every = [*match.pools, *(pool for variant in match.variants for pool in variant.pools)]
    return tuple({pool.name: pool for pool in every}.values())


def _table(table: LimitsTable, resolved: ResolvedLimits, model: str | None, match: Match | None) -> Any:
    """Lay the pools out as rich's table: a column for each meter that many have, and one for all others."""
    from rich.table import Table

    from throttle.limits.meters import KNOWN_METERS

    pools = [(pool.name, pool) for pool in _drawn_on(match)] if model else _named_pools(table, resolved)
    count = Counter(meter.name for _, pool in pools for meter in pool.meters)
    # A column for what is everybody's; a meter of one family alone would make the others narrow.
    meters = [name for name, times in count.items() if name in KNOWN_METERS and times * 20 >= len(pools)]
    rest = len(count) > len(meters)
    queued = any(pool.batch_queue_tokens is not None for _, pool in pools)
    laid_out = Table(title=_title(resolved, model, match), caption=_caption(table, resolved, match))
    laid_out.title_justify = laid_out.caption_justify = "left"
    laid_out.add_column("pool", overflow="fold")
    for name in [*meters, *(["batch queue"] if queued else [])]:
        laid_out.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    if rest:
        laid_out.add_column("besides", overflow="fold")
    laid_out.add_column("as of", overflow="fold")
    for name, pool in pools:
        limits = {meter.name: meter.limit for meter in pool.meters}
        cells = [_count(limits.get(meter)) for meter in meters]
        cells += [_count(pool.batch_queue_tokens)] if queued else []
        others = [
            f"{_count(limit)} {meter.replace('_', ' ')}" for meter, limit in limits.items() if meter not in meters
        ]
        cells += [", ".join(others)] if rest else []
        laid_out.add_row(name, *cells, _provenance(table, resolved, pool.family))
    return laid_out


def _named_pools(table: LimitsTable, resolved: ResolvedLimits) -> list[tuple[str, Any]]:
    """List the pools with what to call them; of families whose models have a pool each, one stands for all."""
    server = table.servers.get(resolved.server)
    families = {**(table.families if server is None or server.inherit else {}), **(server.families if server else {})}
    pools = [(pool.name, pool) for pool in resolved.pools]
    for name, family in families.items():
        match = resolved.match(family.models[0]) if family.per_model and family.models else None
        if match is not None and match.model_family == name:
            pools.append((f"{name} (each)", match.pools[0]))
    return pools


def _title(resolved: ResolvedLimits, model: str | None, match: Match | None) -> str:
    parts = [f"{model}: " if model else "", resolved.tier]
    parts += [
        f" at {resolved.server}" if resolved.server else "",
        f", account {resolved.account}" if resolved.account else "",
    ]
    if match and match.weight != 1:
        parts.append(f", a token counts as {match.weight}")
    return "".join(parts)


def _caption(table: LimitsTable, resolved: ResolvedLimits, match: Match | None) -> str:
    lines = [f"from {resolved.source}; ? marks figures that could not be verified"]
    rule = table.tier_rules.get(resolved.tier) if not resolved.server else None
    if rule is not None and rule.paid_usd is not None:
        lines.append(f"{resolved.tier} is reached when {rule.paid_usd:,.0f} USD were paid")
    if rule is not None and rule.becomes is not None and rule.after is not None:
        lines.append(
            f"{resolved.tier} becomes {rule.becomes} {rule.after / 3600:,.0f} hours after an account's `since`"
        )
    for variant in match.variants if match else ():
        names = ", ".join(pool.name for pool in variant.pools)
        when = f"over {variant.input_tokens_over:,} input tokens" if variant.input_tokens_over else variant.service_tier
        lines.append(f"calls {when} draw on {names}")
    if resolved.changes_at:
        lines.append(f"changes by itself at {resolved.changes_at:%Y-%m-%d %H:%M} UTC")
    return "\n".join(lines)


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _provenance(table: LimitsTable, resolved: ResolvedLimits, name: str) -> str:
    """Tell when a family's figures were read, with a question mark where they aren't verified."""
    server = table.servers.get(resolved.server)
    families = {**table.families, **(server.families if server else {})}
    tiers = server.tiers if server and server.tiers else table.tiers
    rows = tiers.get(resolved.tier, {})
    row = rows.get(name, rows.get("*"))
    for part in (row, families.get(name), server):
        if part is not None and part.as_of:
            return f"{part.as_of}{'' if part.verified else ' ?'}"
    return ""


# -- check, schema, diff, key ------------------------------------------------------------------------------------------


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The limits file.", metavar="FILE")],
    json: Json = False,
) -> int:
    """Check a limits file; every mistake on a line of its own, with its place and how to mend it."""
    from throttle.cli.console import print_json
    from throttle.errors import LimitsError
    from throttle.limits import read_limits

    mistakes: Iterable[Any] = ()
    table = None
    try:
        table = read_limits(file)
    except LimitsError as error:
        source, mistakes = error.source, error.mistakes
    told = [
        {"file": source, "line": one.line, "column": one.column, "what": one.what, "remedy": one.remedy}
        for one in mistakes
    ]
    if json:
        print_json({"file": str(file), "ok": table is not None, "mistakes": told})
    elif table is None:
        print("\n".join(one.at(source) for one in mistakes), file=sys.stderr)
    else:
        print(f"{file}: all is well ({len(table.families)} families, {len(table.tiers)} tiers)")
    return 0 if table is not None else FAILURE


@app.command()
def schema() -> int:
    """Print the JSON schema of a limits file, for editors."""
    import json

    from throttle.limits import limits_schema

    print(json.dumps(limits_schema(), indent=2))
    return 0


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="A limits file; or `bundled`.", metavar="OLD")],
    new: Annotated[Path, typer.Argument(help="Another one.", metavar="NEW")],
    json: Json = False,
) -> int:
    """List the figures in which two limits files differ, tier by tier."""
    from dataclasses import asdict

    from throttle.cli.console import print_json
    from throttle.limits import bundled_path, compare_tables, read_limits

    tables = [read_limits(bundled_path() if str(path) == "bundled" else path) for path in (old, new)]
    changes = compare_tables(*tables)
    if json:
        print_json([asdict(change) for change in changes])
    else:
        print("\n".join(_told(change) for change in changes) or "no figure differs")
    return 0


def _told(change: Change) -> str:
    where = " ".join(part for part in (change.server, change.tier, change.pool, change.meter) if part)
    return f"{where}: {_count(change.old) or 'none'} -> {_count(change.new) or 'none'}"


@app.command()
def key() -> int:
    """Print the hash of OPENAI_API_KEY, as `key_hash` of an account takes it."""
    from throttle.limits import key_hash

    print(key_hash(_needed("OPENAI_API_KEY")))
    return 0


def _needed(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        raise UsageMistake(f"{variable} is not set: keys are taken from the environment only")
    return value


# -- import ------------------------------------------------------------------------------------------------------------


@app.command("import")
def import_(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file to write; else it is printed.", metavar="FILE")
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Make one cheap call a model with OPENAI_API_KEY, and read its headers.")
    ] = False,
    from_recording: Annotated[
        Path | None,
        typer.Option(
            "--from-recording", help="Read headers from recorded calls: JSON lines, HAR, cassettes.", metavar="FILE"
        ),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option("--project", help="The project whose limits to ask for; else the only one.", metavar="ID"),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Only this model; may be given again.", metavar="MODEL")
    ] = None,
    tier: Tier = None,
    account: Annotated[
        str, typer.Option("--account", help="The account's name in the file.", metavar="NAME")
    ] = "default",
    base_url: BaseUrl = None,
    yes: Annotated[bool, typer.Option("--yes", help="Write without asking.")] = False,
    json: Json = False,
) -> int:
    """Write a limits file from the account itself: by the administration API (OPENAI_ADMIN_KEY), by probing, or from a
    recording. What would change is shown first.
    """
    if probe and from_recording:
        raise UsageMistake("--probe and --from-recording are two ways: give one of them")
    if from_recording:
        observed, source = _from_recording(from_recording), f"headers recorded in {from_recording.name}"
    elif probe:
        observed, source = _from_probes(base_url, model or []), "headers of one call a model"
    else:
        observed, source = _from_admin_api(base_url, project)
    if model:
        observed = {name: figures for name, figures in observed.items() if name in model}
    if not observed:
        raise UsageMistake("no limits were found there")
    return _write(observed, source, tier=tier, account=account, output=output, base_url=base_url, yes=yes, as_json=json)


def _write(
    observed: Figures,
    source: str,
    *,
    tier: str | None,
    account: str,
    output: Path | None,
    base_url: str | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Make the file's text, tell what it changes, and write it where it should go."""
    from throttle.cli.console import print_json
    from throttle.limits import bundled_path, find_source, limits_text, matching_tiers, read_limits, resolve

    bundled = read_limits(bundled_path())
    fitting = matching_tiers(bundled, observed, base_url=base_url)
    tier = tier or (fitting[0] if fitting else "tier-1")
    today = datetime.now(UTC).date().isoformat()
    text = limits_text(observed, table=bundled, tier=tier, source=source, as_of=today, account=account)
    current = read_limits(output if output and output.exists() else find_source())
    before = resolve(current, account=account if account in current.accounts else None, base_url=base_url)
    changes = _changes(before, text, account)
    if as_json:
        from dataclasses import asdict

        told = {
            "tier": tier,
            "matching_tiers": list(fitting),
            "observed": observed,
            "file": str(output) if output else None,
        }
        print_json(told | {"changes": [asdict(change) for change in changes], "text": text})
    else:
        warn(_named(tier, fitting))
        for change in changes:
            warn(f"{change.pool} {change.meter}: {_count(change.old) or 'none'} -> {_count(change.new) or 'none'}")
    if output is None:
        if not as_json:
            print(text, end="")
        return 0
    if output.exists() and not yes and not _agreed(output):
        warn(f"{output} stays as it was")
        return FAILURE
    _put(output, text)
    return 0


def _named(tier: str, fitting: tuple[str, ...]) -> str:
    if not fitting:
        return f"no tier has exactly these limits; {tier} is taken for the models that weren't seen"
    others = f" (they fit {', '.join(fitting[1:])} too)" if len(fitting) > 1 and tier == fitting[0] else ""
    return f"these are the limits of {tier}{others}"


def _changes(before: ResolvedLimits, text: str, account: str) -> tuple[Change, ...]:
    """Compare what holds now with what would hold, in the pools that the new file says something of."""
    import tempfile

    from throttle.limits import compare, read_limits, resolve

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "limits.yaml"
        path.write_text(text, encoding="utf-8")
        table = read_limits(path)
    families = set(table.accounts[account].limits)
    after = resolve(table, account=account)
    told = {pool.name for limits in (before, after) for pool in limits.pools if pool.family in families}
    return tuple(change for change in compare(before, after) if change.pool in told)


def _agreed(output: Path) -> bool:
    if not sys.stdin.isatty():
        raise UsageMistake(f"{output} exists: give --yes to replace it (the old one is kept as {output.name}.bak)")
    return typer.confirm(f"Replace {output}? The old one is kept as {output.name}.bak.", err=True)


def _put(output: Path, text: str) -> None:
    """Write a file whole or not at all, and keep what was there."""
    fresh = output.with_name(output.name + ".new")
    fresh.write_text(text, encoding="utf-8")
    if output.exists():
        output.replace(output.with_name(output.name + ".bak"))
    fresh.replace(output)
    warn(f"{output} is written")


def _from_admin_api(base_url: str | None, project: str | None) -> tuple[Figures, str]:
    import openai

    from throttle.limits import figures_of_rate_limits

    admin_key = _needed("OPENAI_ADMIN_KEY")
    client: Any = openai.OpenAI(
        base_url=base_url, api_key=os.environ.get("OPENAI_API_KEY") or "unused", **_admin_key_argument(admin_key)
    )
    if not hasattr(client, "admin"):
        raise UsageMistake(
            f"openai {openai.__version__} has no administration API: pip install -U openai, or use --probe"
        )
    with client:
        projects = client.admin.organization.projects
        project = project or _only_project(projects)
        figures = figures_of_rate_limits(projects.rate_limits.list_rate_limits(project))
    return figures, f"administration API, project {project}"


def _admin_key_argument(admin_key: str) -> dict[str, Any]:
    import inspect

    import openai

    known = "admin_api_key" in inspect.signature(openai.OpenAI).parameters
    return {"admin_api_key": admin_key} if known else {}


def _only_project(projects: Any) -> str:
    names: dict[str, str] = {found.id: found.name for found in projects.list()}
    if len(names) == 1:
        return next(iter(names))
    if not names:
        raise UsageMistake("the organization has no project")
    told = ", ".join(f"{ident} ({name})" for ident, name in list(names.items())[:8])
    raise UsageMistake(f"there are {len(names)} projects: name one with --project: {told}")


def _from_recording(path: Path) -> Figures:
    from throttle.limits import read_recording

    if path.stat().st_size > _MOST_RECORDING_BYTES:
        raise UsageMistake(f"{path} has {path.stat().st_size / 1e9:.1f} GB: split it, 1 GB is the most")
    text = path.read_text(encoding="utf-8", errors="replace")
    return _figures(read_recording(text))


def _figures(answers: Iterable[tuple[str, Mapping[str, str]]]) -> Figures:
    """Take limits by model and meter from answers' headers; a later answer counts more than an earlier one."""
    from throttle.feedback.headers import read_headers

    figures: Figures = {}
    for name, headers in answers:
        for reading in read_headers(headers, wall_s=0.0):
            meter = _meter_of(reading)
            if meter and reading.limit:
                figures.setdefault(name, {})[meter] = reading.limit
    return figures


def _meter_of(reading: Any) -> str | None:
    """Name the meter that a header shows. What the numbers say of the window comes before what its name says."""
    if reading.scope != "organization":
        return None
    window_s = reading.window_s or reading.said_window_s or 60.0
    names: dict[tuple[str, float], str] = {
        ("requests", 60.0): "rpm",
        ("requests", 86_400.0): "rpd",
        ("tokens", 60.0): "tpm",
        ("tokens", 86_400.0): "tpd",
        ("images", 60.0): "ipm",
    }
    return names.get((str(reading.unit), float(window_s)))


def _from_probes(base_url: str | None, models: list[str]) -> Figures:
    import openai

    _needed("OPENAI_API_KEY")
    with openai.OpenAI(base_url=base_url, max_retries=0, timeout=_PROBE_TIMEOUT_S) as client:
        return _figures(_probed(client, models or _worth_probing(client)))


def _worth_probing(client: OpenAI) -> list[str]:
    """Choose one model for each pool that the account has: the one with the shortest name."""
    from throttle.limits import load_limits, resolve

    limits = resolve(load_limits())
    chosen: dict[str, str] = {}
    for name in sorted((found.id for found in client.models.list()), key=lambda ident: (len(ident), ident)):
        match = limits.match(name)
        if match is not None and not name.startswith("ft:") and not any(word in name for word in _NOT_PROBED):
            chosen.setdefault(match.pools[0].name, name)
    return sorted(chosen.values())


def _probed(client: OpenAI, models: list[str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Make one small call a model; a refused or failed one counts too, if its answer has the headers."""
    import openai

    warn(f"one small call to each of {len(models)} models")
    for name in models:
        try:
            yield name, _call_for(client, name)().headers
        except openai.APIStatusError as error:
            if error.response.headers.get("x-ratelimit-limit-requests"):
                yield name, error.response.headers
            else:
                warn(f"{name}: left out ({error.status_code} {_first_line(error)})")


def _call_for(client: OpenAI, name: str) -> Callable[[], Any]:
    """Choose the cheapest call that a model takes."""
    raw: Any = client
    if "embedding" in name:
        return lambda: raw.embeddings.with_raw_response.create(model=name, input="hi")
    if "moderation" in name:
        return lambda: raw.moderations.with_raw_response.create(model=name, input="hi")
    if any(word in name for word in _BY_COMPLETION):
        return lambda: raw.completions.with_raw_response.create(model=name, prompt="hi", max_tokens=1)
    if any(word in name for word in _BY_RESPONSE):
        return lambda: raw.responses.with_raw_response.create(model=name, input="hi", max_output_tokens=16)
    messages = [{"role": "user", "content": "hi"}]
    return lambda: raw.chat.completions.with_raw_response.create(
        model=name, messages=messages, max_completion_tokens=16
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:120]
