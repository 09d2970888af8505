"""The options that commands share, and what is made of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias
from urllib.parse import urlsplit

import typer

from throttle.cli.failures import UsageMistake

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = [
    "BaseUrl",
    "Json",
    "LimitsFile",
    "Pacing",
    "Rpm",
    "Tier",
    "Tpm",
    "client_from_environment",
    "limits_and_tier",
]

LimitsFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--limits", help="A limits file. Else THROTTLE_LIMITS, ./limits.yaml, the bundled one.", metavar="FILE"
    ),
]
Tier: TypeAlias = Annotated[
    str | None,
    typer.Option("--tier", help="The account's tier. Else the file's, THROTTLE_TIER, tier-1.", metavar="TIER"),
]
Rpm: TypeAlias = Annotated[
    int | None, typer.Option("--rpm", help="Requests a minute, in place of a file.", min=1, metavar="N")
]
Tpm: TypeAlias = Annotated[
    int | None, typer.Option("--tpm", help="Tokens a minute, in place of a file.", min=1, metavar="N")
]
BaseUrl: TypeAlias = Annotated[
    str | None, typer.Option("--base-url", help="The server. Else OPENAI_BASE_URL, or OpenAI's.", metavar="URL")
]
Pacing: TypeAlias = Annotated[
    str,
    typer.Option("--pacing", help="burst, smooth, or auto: as the server is known to take it.", metavar="HOW"),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON for machines, nothing else.")]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def limits_and_tier(
    file: Path | None, tier: str | None, rpm: int | None, tpm: int | None
) -> tuple[Path | Mapping[str, Any] | None, str | None]:
    """Make `limits` and `tier`, as `Limiter` takes them, of the common options.

    Raises:
        UsageMistake: `--rpm` or `--tpm` beside what they stand in place of.
    """
    if rpm is None and tpm is None:
        return file, tier
    if file is not None or tier is not None:
        raise UsageMistake("--rpm and --tpm stand in place of --limits and --tier: give the one or the other")
    return {name: limit for name, limit in (("rpm", rpm), ("tpm", tpm)) if limit is not None}, None


def client_from_environment(base_url: str | None, *, connections: int) -> AsyncOpenAI:
    """Make a client whose keys come from the environment, as the SDK's own do.

    Azure's client is made where `AZURE_OPENAI_ENDPOINT` is set and neither a base URL nor `OPENAI_API_KEY` is.

    Args:
        base_url: the server; None for `OPENAI_BASE_URL`, or OpenAI's.
        connections: how many calls may be out at once.

    Raises:
        UsageMistake: the URL isn't one, or the key is missing.
        OpenAIError: what else the SDK asks for is missing.
    """
    from openai import AsyncAzureOpenAI, AsyncOpenAI

    base_url = base_url or os.environ.get("OPENAI_BASE_URL")
    key = os.environ.get("OPENAI_API_KEY")
    http_client = _http_client(connections)
    if not base_url and not key and os.environ.get("AZURE_OPENAI_ENDPOINT"):
        return AsyncAzureOpenAI(http_client=http_client)
    host = urlsplit(base_url).hostname if base_url else None
    if base_url and (host is None or urlsplit(base_url).scheme not in ("http", "https")):
        raise UsageMistake(f"--base-url {base_url!r} is no URL: write it as in https://api.openai.com/v1")
    if not key and host not in LOOPBACK:
        raise UsageMistake("OPENAI_API_KEY is not set: keys are taken from the environment only")
    return AsyncOpenAI(base_url=base_url, api_key=key or "none", http_client=http_client)


def _http_client(connections: int) -> Any:
    """Make the SDK's own HTTP client with room for so many connections, all kept alive, of whichever httpx the SDK
    uses.
    """
    import openai
    from openai import _constants

    limits = type(_constants.DEFAULT_CONNECTION_LIMITS)
    return openai.DefaultAsyncHttpxClient(
        limits=limits(max_connections=connections, max_keepalive_connections=connections)
    )
