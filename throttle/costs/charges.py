"""What a server books of a call, which is another figure than what the call costs."""

from __future__ import annotations

from typing import Final

from throttle.costs import endpoints
from throttle.costs.generations import generation_of

__all__ = ["CHARGES", "default_charge"]

CHARGES: Final = ("characters", "input", "maximum", "usage")
"""The charge models: from the text's bytes; input tokens; input and the maximum of output; what was really used."""

_OPENAI: Final = ("api.openai.com",)

_AZURE: Final = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com", ".openai.azure.us")


def default_charge(host: str, endpoint: str, model: str) -> str:
    """Return the charge model that is known, or supposed, of a host and endpoint; evidence may say otherwise later.

    OpenAI books text endpoints by bytes and the Responses API by real input, which for models that reason is settled to
    usage at the end (measured on public recordings, March 2025 to August 2026). Azure documents prompt and
    `max_tokens`. Of any other server nothing is known: the largest of the four, so that nothing is refused before
    evidence picks.
    """
    name = host.lower().partition(":")[0]
    if name in _OPENAI or name.endswith(".api.openai.com"):
        if endpoints.normalise(endpoint) == endpoints.RESPONSES:
            return "usage" if generation_of(model).reasons else "input"
        return "characters"
    return "maximum"
