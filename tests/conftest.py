"""Clients that a test leaves open are closed when it has ended.

The SDK's clients close themselves when they are collected; but a collector that finds a client's socket before the
client warns, and warnings are errors here. Which it finds first is chance.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai._base_client import SyncHttpxClientWrapper

_MADE: list[weakref.ref[Any]] = []
_init = SyncHttpxClientWrapper.__init__


def _noted_init(self: Any, *args: Any, **kwargs: Any) -> None:
    _init(self, *args, **kwargs)
    _MADE.append(weakref.ref(self))


SyncHttpxClientWrapper.__init__ = _noted_init  # type: ignore[method-assign]


# loads what the SDK loads late: pytest's tests of plugins forget the modules that were loaded inside them, and an HTTP
# library that is there twice doesn't know its own errors
openai.OpenAI(api_key="none").close()


@pytest.fixture(autouse=True)
def close_clients() -> Iterator[None]:
    before = len(_MADE)
    yield
    for made in _MADE[before:]:
        client = made()
        if client is not None:
            client.close()
    del _MADE[before:]
