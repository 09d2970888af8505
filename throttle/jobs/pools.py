"""What a job wants to know of the pool that a model's calls wait in."""

from __future__ import annotations

from throttle.client import limiter_of
from throttle.jobs.sender import AnyClient
from throttle.limiter import Limiter

__all__ = ["bucket_tokens", "has_limits", "limiter_or_none"]


def limiter_or_none(client: AnyClient) -> Limiter | None:
    """Return the limiter behind a client; None for one that isn't wrapped."""
    try:
        return limiter_of(client)
    except TypeError:
        return None


def has_limits(limiter: Limiter | None, model: str) -> bool:
    """Tell whether anything but the caller bounds a model's calls."""
    return limiter is not None and bool(limiter._route("", model).gate.pool.meters)


def bucket_tokens(limiter: Limiter | None, model: str) -> float | None:
    """Return how many of the model's tokens one call may cost at most, by its pool's buckets; None where nothing
    says."""
    if limiter is None:
        return None
    route = limiter._route("", model)
    sizes = [meter.largest for meter in route.gate.pool.meters if meter.unit == "tokens"]
    return min(sizes) / float(route.weight) if sizes else None
