"""The retries that people put around calls, as they write them: from tenacity's and backoff's pages, and by hand.

Each takes an async function and returns it with retries around it; each has its counterpart in the docs.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import backoff
import openai
from tenacity import retry, stop_after_attempt, wait_random_exponential

__all__ = ["DECORATORS", "by_hand", "with_backoff", "with_tenacity"]

Calling = Callable[..., Awaitable[Any]]


def with_tenacity(function: Calling) -> Calling:
    """As the cookbook has it: six attempts, a random wait up to 1, 2, 4 … 60 seconds between them."""
    decorated: Calling = retry(wait=wait_random_exponential(min=1, max=60), stop=stop_after_attempt(6))(function)
    return decorated


def with_backoff(function: Calling) -> Calling:
    """As backoff's page has it, with full jitter; it goes on for ever unless it is told when to stop."""
    return backoff.on_exception(backoff.expo, openai.RateLimitError, max_tries=10)(function)


def by_hand(
    function: Calling,
    initial_delay: float = 1,
    exponential_base: float = 2,
    jitter: bool = True,
    max_retries: int = 10,
    errors: tuple[type[Exception], ...] = (openai.RateLimitError,),
) -> Calling:
    """The exponential one with jitter that the article writes by hand."""

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        num_retries = 0
        delay = initial_delay
        while True:
            try:
                return await function(*args, **kwargs)
            except errors as error:
                num_retries += 1
                if num_retries > max_retries:
                    raise Exception(f"Maximum number of retries ({max_retries}) exceeded.") from error
                delay *= exponential_base * (1 + jitter * random.random())
                await asyncio.sleep(delay)

    return wrapper


DECORATORS: dict[str, Callable[[Calling], Calling]] = {
    "tenacity": with_tenacity,
    "backoff": with_backoff,
    "by hand": by_hand,
}
