"""Those who are compared: each makes the same call of the OpenAI API, guarded in its own way.

Every contender is an asynchronous context manager that takes a `Job` and gives a function that makes one call. All of
them know the account's true limits. Those that count tokens reserve what the API's own guide tells to: the prompt's
tokens and `max_tokens`. What is installed is imported only by who needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

__all__ = ["ALL", "BY_NAME", "UNTOLD", "Contender"]


@dataclass(frozen=True, slots=True)
class Contender:
    """Who is compared.

    Attributes:
        name: as in the tables.
        place: `module:function` in this package.
        package: the distribution that it stands for; "" where it is written here.
        imported: the module that has to be there.
        settings: how it was set, in a few words, for the notes.
        quick: whether it takes part in a quick run.
    """

    name: str
    place: str
    package: str
    imported: str
    settings: str
    quick: bool = False

    @property
    def version(self) -> str:
        """Tell the installed version; "" where none is."""
        try:
            return version(self.package) if self.package else ""
        except PackageNotFoundError:
            return ""

    @property
    def missing(self) -> str:
        """Tell why it can't take part; "" where it can."""
        if not self.imported or find_spec(self.imported) is not None:
            return ""
        return f"{self.package} is not installed"


ALL: tuple[Contender, ...] = (
    Contender("throttle", "ours:wrapped", "openai-throttle", "throttle", "wrap() as against OpenAI's host", True),
    Contender("plain SDK", "retrying:plain", "openai", "openai", "max_retries=2, its default", True),
    Contender("SDK 10 retries", "retrying:patient", "openai", "openai", "max_retries=10", True),
    Contender("tenacity", "retrying:tenacity", "tenacity", "tenacity", "random exponential 1 to 60 s, 10 attempts"),
    Contender("backoff", "retrying:backoff", "backoff", "backoff", "expo with full jitter, 10 tries, 60 s at most"),
    Contender("hand-written", "retrying:by_hand", "", "", "delay × 2 × (1 + random), from 1 s, 10 retries"),
    Contender("fixed delay", "pacing:fixed_delay", "", "", "starts spaced by the binding limit, 10 retries"),
    Contender("aiolimiter burst", "pacing:aiolimiter_burst", "aiolimiter", "aiolimiter", "two limiters, 60 s", True),
    Contender("aiolimiter paced", "pacing:aiolimiter_paced", "aiolimiter", "aiolimiter", "two limiters, 1 s", True),
    Contender("pyrate-limiter", "pacing:pyrate", "pyrate-limiter", "pyrate_limiter", "two limiters, 1 s"),
    Contender("throttled-py", "pacing:throttled", "throttled-py", "throttled", "two token buckets, burst of 1 s"),
    Contender("limits", "pacing:limits", "limits", "limits", "two sliding windows of 1 s"),
    Contender("langchain", "pacing:langchain", "langchain-core", "langchain_core", "requests only, burst of 1 s"),
    Contender(
        "llama-index", "pacing:llama_index", "llama-index-core", "llama_index", "its token bucket, requests, tokens"
    ),
    Contender(
        "token-throttle", "managing:token_throttle", "token-throttle", "token_throttle", "reserves, refunds to usage"
    ),
    Contender("infermesh", "managing:infermesh", "infermesh", "infermesh", "rpm, tpm, follows headers, 10 retries"),
    Contender(
        "adaptive-rate-limiter", "managing:adaptive", "adaptive-rate-limiter", "adaptive_rate_limiter", "intelligent"
    ),
    Contender("async-batch-llm", "managing:batch", "async-batch-llm", "async_batch_llm", "rpm, tpm, cooldown of 1 s"),
    Contender("backstop-ai", "managing:backstop", "backstop-ai", "backstop", "64 at once, follows headers"),
)
"""Everyone, in the order of the tables.

openlimit is left out: it needs aioredis, which cannot be imported on any Python from 3.11 on; and its bucket holds one
second's worth, so that a call above a sixtieth of the limit never goes.
"""

UNTOLD = Contender(
    "throttle, limits not given", "ours:untold", "openai-throttle", "throttle", "wrap(client), and nothing else"
)
"""throttle where it has to learn from the server what all others are told: out of competition."""

BY_NAME = {each.name: each for each in (*ALL, UNTOLD)}
