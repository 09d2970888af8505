"""Those that can share a limit among processes through Redis, each as its own documentation says.

A contender takes a server's URL and two limits a second, and returns what waits for one call of one request and
`TOKENS` tokens. All hold a second's worth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

__all__ = ["SHARING", "TOKENS"]

TOKENS: Final = 10
PATIENCE_S: Final = 3600.0

Wait = Callable[[], object]


def _limits(url: str, requests: int, tokens: int) -> Wait:
    """Two sliding windows. It answers yes or no; waiting is written as its guide does."""
    library: Any = import_module("limits")
    strategy = library.strategies.SlidingWindowCounterRateLimiter(library.storage.storage_from_string(url))
    items = (
        (library.RateLimitItemPerSecond(tokens), "tokens", TOKENS),
        (library.RateLimitItemPerSecond(requests), "requests", 1),
    )

    def wait() -> None:
        for item, name, cost in items:
            while not strategy.hit(item, name, cost=cost):
                time.sleep(0.02)

    return wait


def _pyrate(url: str, requests: int, tokens: int) -> Wait:
    """Two token buckets."""
    library: Any = import_module("pyrate_limiter")
    client = import_module("redis").Redis.from_url(url)

    def bucket(limit: int, key: str) -> Any:
        rate = library.Rate(limit, library.Duration.SECOND, burst=limit)
        store = library.RedisStateStore(client, key)
        return library.Limiter(library.StateBucket([rate], store=store, algorithm=library.TokenBucket()))

    of_requests, of_tokens = bucket(requests, "requests"), bucket(tokens, "tokens")

    def wait() -> None:
        of_tokens.try_acquire("tokens", TOKENS)
        of_requests.try_acquire("requests", 1)

    return wait


def _throttled(url: str, requests: int, tokens: int) -> Wait:
    """Two token buckets that wait."""
    library: Any = import_module("throttled")
    store = library.store.RedisStore(server=url)
    kind = library.RateLimiterType.TOKEN_BUCKET.value

    def bucket(limit: int) -> Any:
        quota = library.per_sec(limit, burst=limit)
        return library.Throttled(using=kind, quota=quota, store=store, timeout=PATIENCE_S)

    of_requests, of_tokens = bucket(requests), bucket(tokens)

    def wait() -> None:
        of_tokens.limit("tokens", TOKENS)
        of_requests.limit("requests", 1)

    return wait


def _token_throttle(url: str, requests: int, tokens: int) -> Wait:
    """Both quotas at once; what was reserved is settled afterwards, as its page shows."""
    library: Any = import_module("token_throttle")
    quotas = library.UsageQuotas(
        [
            library.Quota(metric="requests", limit=requests, per_seconds=1),
            library.Quota(metric="tokens", limit=tokens, per_seconds=1),
        ]
    )
    client = import_module("redis").Redis.from_url(url)
    limiter = library.SyncRateLimiter(
        library.PerModelConfig(quotas=quotas, model_family="m"),
        backend=library.SyncRedisBackendBuilder(client, key_prefix="benchmark"),
    )
    usage = {"requests": 1, "tokens": TOKENS}

    def wait() -> None:
        limiter.refund_capacity(actual_usage=usage, reservation=limiter.acquire_capacity(usage, model="m"))

    return wait


SHARING: Final[Mapping[str, Callable[[str, int, int], Wait]]] = {
    "limits": _limits,
    "pyrate-limiter": _pyrate,
    "throttled-py": _throttled,
    "token-throttle": _token_throttle,
}
"""By the name of the package that each needs."""
