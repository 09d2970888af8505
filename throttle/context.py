"""Options for the calls made in a context: one thread, one task, one `with` block."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Literal

from throttle.retry import Retry

__all__ = ["CallOptions", "current_options", "options"]


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What holds for the calls made in a context.

    Attributes:
        max_wait: seconds that a call may wait in sum, over all of its attempts; None: as long as it takes.
        tokens: what a call is charged, in place of the estimate; None: the estimate.
        delay: seconds that a call keeps from the one before it of the same `key`, or from its own beginning where
            there is no key; a pair is a range to draw from.
        key: whose calls the delay separates, such as a user's name.
        retry: when a refused call is sent again, as for `wrap`; without it, what the client was wrapped with holds.
    """

    max_wait: float | None = None
    tokens: int | None = None
    delay: float | tuple[float, float] | None = None
    key: str | None = None
    retry: Retry | Literal["client's"] | None = "client's"

    def drawn_delay_s(self) -> float:
        """Draw the delay of one call, in seconds."""
        if self.delay is None:
            return 0.0
        return random.uniform(*self.delay) if isinstance(self.delay, tuple) else self.delay

    def retry_of(self, wrapped_with: Retry | None) -> Retry | None:
        """Choose between a client's policy and that of this context."""
        return wrapped_with if isinstance(self.retry, str) else self.retry


_OPTIONS: ContextVar[CallOptions] = ContextVar("throttle_options", default=CallOptions())  # noqa: B039 - it is frozen


def current_options() -> CallOptions:
    """Tell the options that hold here."""
    return _OPTIONS.get()


@contextmanager
def options(**changes: Any) -> Iterator[None]:
    """Set options for the calls made inside the block, in this thread or task; what isn't named stays as it is outside.

    Args:
        max_wait: seconds that a call may wait in sum, over all of its attempts; None: as long as it takes.
        tokens: what a call is charged, in place of the estimate; None: the estimate.
        delay: seconds that a call keeps from the one before it of the same `key`, or from its own beginning where
            there is no key; a pair such as `(3, 6)` is a range to draw from.
        key: whose calls the delay separates, such as a user's name. It is kept in this process only.
        retry: a `Retry`, a list of delays in seconds, or None.

    Raises:
        TypeError: an option that does not exist.
        ValueError: a value that makes no sense.
    """
    for name in changes:
        if name not in CallOptions.__slots__:
            raise TypeError(f"throttle.options has no {name!r}; there are: {', '.join(CallOptions.__slots__)}")
    for name in ("max_wait", "tokens"):
        if changes.get(name) is not None and not _is_amount(changes[name]):
            raise ValueError(f"throttle.options({name}={changes[name]!r}): a number of 0 or more, or None, is wanted")
    if changes.get("delay") is not None:
        changes["delay"] = _read_delay(changes["delay"])
    if not isinstance(changes.get("key"), str | None):
        raise ValueError(f"throttle.options(key={changes['key']!r}): a text is wanted")
    if "retry" in changes:
        changes["retry"] = Retry.of(changes["retry"])
    token = _OPTIONS.set(replace(_OPTIONS.get(), **changes))
    try:
        yield
    finally:
        _OPTIONS.reset(token)


def _is_amount(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 <= value < math.inf


def _read_delay(given: Any) -> float | tuple[float, float]:
    if _is_amount(given):
        return float(given)
    if isinstance(given, Sequence) and len(given) == 2 and all(map(_is_amount, given)) and given[0] <= given[1]:
        return float(given[0]), float(given[1])
    raise ValueError(f"throttle.options(delay={given!r}): seconds, or a pair of them such as (3, 6), are wanted")
