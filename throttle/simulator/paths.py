"""From the path of a request to the endpoint it means."""

from __future__ import annotations

from urllib.parse import unquote

__all__ = ["endpoint_of"]


def endpoint_of(path: str) -> tuple[str, str | None]:
    """Find the endpoint in a path, and the deployment where it is one of Azure's.

    `/v1/chat/completions`, `/openai/v1/chat/completions` and `/openai/deployments/NAME/chat/completions` are all
    `chat/completions`.
    """
    parts = path.strip("/").split("/")
    if parts[:2] == ["openai", "deployments"] and len(parts) > 3:
        return "/".join(parts[3:]), unquote(parts[2])
    if parts[0] == "openai":
        parts = parts[1:]
    if parts[:1] == ["v1"]:
        parts = parts[1:]
    return unquote("/".join(parts)), None
