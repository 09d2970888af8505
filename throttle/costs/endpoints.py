"""Which endpoint a call goes to, however its address is written."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Final
from urllib.parse import unquote

__all__ = ["ENDPOINTS", "deployment_of", "normalise"]

CHAT: Final = "/chat/completions"
RESPONSES: Final = "/responses"
COMPLETIONS: Final = "/completions"
EMBEDDINGS: Final = "/embeddings"
MODERATIONS: Final = "/moderations"
IMAGE_GENERATIONS: Final = "/images/generations"
IMAGE_EDITS: Final = "/images/edits"
IMAGE_VARIATIONS: Final = "/images/variations"
TRANSCRIPTIONS: Final = "/audio/transcriptions"
TRANSLATIONS: Final = "/audio/translations"
SPEECH: Final = "/audio/speech"
EDITS: Final = "/edits"

ENDPOINTS: Final = (
    CHAT,
    RESPONSES,
    COMPLETIONS,
    EMBEDDINGS,
    MODERATIONS,
    IMAGE_GENERATIONS,
    IMAGE_EDITS,
    IMAGE_VARIATIONS,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    SPEECH,
    EDITS,
)
"""The endpoints whose calls cost more than a request, longest endings first where one ends with another."""


@lru_cache(maxsize=1024)
def normalise(endpoint: str) -> str:
    """Return one of `ENDPOINTS` for any way to write it: with `/v1`, as a full URL, behind Azure's deployments.

    Anything else comes back as a path of its own, without host, query and `/v1`: such a call costs a request and no
    tokens.
    """
    path = _path(endpoint)
    for known in ENDPOINTS:
        if path.endswith(known):
            return known
    return path.removeprefix("/v1") or "/"


@lru_cache(maxsize=1024)
def deployment_of(endpoint: str) -> str | None:
    """Return the name of the Azure deployment in an address (`…/deployments/NAME/…`), or None where there is none."""
    parts = _path(endpoint).split("/")
    for here, following in pairwise(parts):
        if here == "deployments" and following:
            return unquote(following)
    return None


def _path(endpoint: str) -> str:
    """Cut host, query, fragment and outer slashes away; engine-style paths of 2022 (`/engines/NAME/completions`) stay
    whole.
    """
    path = endpoint.split("?", 1)[0].split("#", 1)[0]
    if "://" in path:
        path = path.split("://", 1)[1].partition("/")[2]
    return "/" + path.strip("/ ")
