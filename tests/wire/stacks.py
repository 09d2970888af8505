"""Every way to carry the SDK's requests: a runtime, an HTTP library, and how its client is set up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Final

import openai

__all__ = ["SETUPS", "STACKS", "Hole", "Stack", "default_library", "http_client", "make_client", "why_not"]


class Hole(Exception):
    """A combination that does not exist; the text says why."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A runtime and the library that carries the requests there."""

    runtime: str
    library: str

    @property
    def name(self) -> str:
        return f"{self.runtime}-{self.library}"

    @property
    def is_async(self) -> bool:
        return self.runtime != "sync"


STACKS: Final = (
    Stack("sync", "httpx2"),
    Stack("sync", "httpx"),
    Stack("asyncio", "httpx2"),
    Stack("asyncio", "httpx"),
    Stack("asyncio", "aiohttp"),
    Stack("trio", "httpx2"),
    Stack("trio", "httpx"),
    Stack("trio", "aiohttp"),
)

SETUPS: Final = ("default", "own", "proxy", "mounts", "environment", "transport")
"""The SDK's own HTTP client, one passed in, one with a proxy, with mounts, with a proxy from the environment, with a
transport.
"""


def make_client(kind: Any, stack: Stack, setup: str, proxy_url: str, passes: list[str], **options: Any) -> Any:
    """Make a client of the SDK, of a sync or async class.

    `passes` notes each request that goes through a transport of ours.

    Raises:
        Hole: there is no such client.
    """
    if (stack.library, stack.runtime) == ("aiohttp", "trio"):
        raise Hole("aiohttp runs on asyncio only")
    if setup == "default":
        if stack.library != default_library():
            raise Hole(f"the SDK makes clients of {default_library()} by itself")
        return kind(**options)
    if setup == "environment" and stack.library == default_library():
        with _proxy_in_environment(proxy_url):
            return kind(**options)
    with _proxy_in_environment(proxy_url if setup == "environment" else None):
        made = http_client(stack, setup, proxy_url, passes)
    try:
        return kind(http_client=made, **options)
    except TypeError as error:
        if "http_client" not in str(error):
            raise
        raise Hole(f"openai {openai.__version__} takes no client of {stack.library}") from None


def http_client(stack: Stack, setup: str, proxy_url: str, passes: list[str]) -> Any:
    """Make an HTTP client. Raises `Hole` where there is none."""
    if stack.library == "aiohttp":
        make: Callable[..., Any] = _aiohttp_client()
        transport = type(make()._transport)
    else:
        library = _library(stack.library)
        make = library.AsyncClient if stack.is_async else library.Client
        transport = library.AsyncHTTPTransport if stack.is_async else library.HTTPTransport
    if setup == "proxy":
        return make(proxy=proxy_url, follow_redirects=True)
    if setup == "mounts":
        return make(mounts={"http://": _noting(transport, passes)}, follow_redirects=True)
    if setup == "transport":
        return make(transport=_noting(transport, passes), follow_redirects=True)
    return make(follow_redirects=True)


def _noting(transport: Any, passes: list[str]) -> Any:
    """Make a transport that notes what goes through it."""

    class Noting(transport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            passes.append(request.url.path)
            return super().handle_request(request)

        async def handle_async_request(self, request: Any) -> Any:
            passes.append(request.url.path)
            return await super().handle_async_request(request)

    return Noting()


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise Hole(f"{name} is not installed") from None


def _aiohttp_client() -> Callable[..., Any]:
    made: Any = getattr(openai, "DefaultAioHttpClient", None)
    if made is None:
        raise Hole(f"openai {openai.__version__} has no client of aiohttp")
    _library("aiohttp")
    return made  # type: ignore[no-any-return]


@cache
def default_library() -> str:
    """Name the library that the SDK makes its HTTP clients of."""
    with openai.OpenAI(api_key="any") as client:
        bases = {base.__module__.partition(".")[0] for base in type(client._client).__mro__}
    return "httpx2" if "httpx2" in bases else "httpx"


@cache
def why_not(stack: Stack, setup: str) -> str | None:
    """Tell why there is no such client; None where there is one."""
    kind = openai.AsyncOpenAI if stack.is_async else openai.OpenAI
    try:
        client = make_client(kind, stack, setup, "http://127.0.0.1:9", [], api_key="any")
    except Hole as hole:
        return str(hole)
    if not stack.is_async:
        client.close()
    return None


@contextmanager
def _proxy_in_environment(url: str | None) -> Iterator[None]:
    if url is None:
        yield
        return
    kept = {name: os.environ.get(name) for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy")}
    os.environ.update({"HTTP_PROXY": url, "http_proxy": url, "NO_PROXY": "", "no_proxy": ""})
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
