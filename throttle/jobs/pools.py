"""What a job wants to know of the pool that a model's calls wait in, without opening it: that is for the first call."""

from __future__ import annotations

from throttle.client import limiter_of
from throttle.jobs.sender import AnyClient
from throttle.limiter import Limiter
from throttle.limits.values import Match

__all__ = ["bucket_of", "bucket_tokens", "has_limits", "limiter_or_none"]


def limiter_or_none(client: AnyClient) -> Limiter | None:
    """Return the limiter behind a client; None for one that isn't wrapped."""
    try:
        return limiter_of(client)
    except TypeError:
        return None


def has_limits(limiter: Limiter | None, model: str) -> bool:
    """Tell whether limits are known for a model, or were told by the server since."""
    if limiter is None:
        return False
    if limiter.limits.match(model) is not None:
        return True
    return any(pool.meters for name, pool in limiter.snapshot().pools.items() if name.partition("@")[0] == model)


def bucket_tokens(limiter: Limiter | None, model: str) -> float | None:
    """Return how many of the model's tokens its pools' buckets hold, None where no limit is known."""
    match = limiter.limits.match(model) if limiter is not None else None
    return bucket_of(match) if match is not None else None


def bucket_of(match: Match) -> float | None:
    """Return how many of a model's tokens the smallest of its buckets holds, None where none counts tokens."""
    sizes = [
        meter.limit * meter.burst_s / meter.window_s * (1 - pool.headroom)
        for pool in match.pools
        for meter in pool.meters
        if meter.unit == "tokens" and meter.window_s
    ]
    return min(sizes) / float(match.weight) if sizes else None
