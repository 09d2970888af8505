"""From a URL to a store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from throttle.errors import StoreError
from throttle.stores.protocol import Store

__all__ = ["NAMESPACE", "StoreAddress", "open_store", "without_password"]

NAMESPACE = "throttle"
"""What keys begin with, unless the URL says otherwise."""


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A store's URL, taken apart.

    Attributes:
        url: without what is ours.
        namespace: what keys begin with: `?namespace=…`.
        timeout_s: how long an answer is waited for: `?timeout=…`, in seconds.
    """

    url: str
    namespace: str = NAMESPACE
    timeout_s: float = 1.0

    @classmethod
    def parse(cls, url: str) -> StoreAddress:
        """Take a URL apart. Raises StoreError where it can't be one of a store."""
        parts = urlsplit(url)
        ours = {"namespace": NAMESPACE, "timeout": "1"}
        rest = []
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if name in ours:
                ours[name] = value
            else:
                rest.append((name, value))
        namespace, timeout = ours["namespace"], ours["timeout"]
        if not namespace or any(c in "{}:" or c.isspace() for c in namespace):
            raise StoreError(f"store namespace {namespace!r}: a word without spaces, ':', '{{' and '}}' is wanted")
        try:
            timeout_s = float(timeout)
        except ValueError:
            timeout_s = 0.0
        if not 0 < timeout_s < 3600:
            raise StoreError(f"store timeout {timeout!r}: a number of seconds above 0 is wanted")
        # put together by hand: taken apart and joined again, a URL loses slashes
        base = url.partition("?")[0]
        return cls(f"{base}?{urlencode(rest)}" if rest else base, namespace, timeout_s)

    @property
    def is_memory(self) -> bool:
        """Whether nothing is shared."""
        return self.url.partition(":")[0] == "memory"

    def open(self) -> Store:
        """Make the store. Nothing is connected to yet.

        Raises:
            StoreError: the URL names no store, or what it needs isn't installed.
        """
        scheme = urlsplit(self.url).scheme
        if scheme == "sqlite":
            return _sqlite(self)
        if scheme.partition("+")[0] in ("redis", "rediss", "unix"):
            from throttle.stores.redis import RedisStore

            return RedisStore(self.url, timeout_s=self.timeout_s)
        if scheme == "memory":
            from throttle.stores.memory import MemoryStore

            return MemoryStore()
        raise StoreError(
            f"store {without_password(self.url)!r}: write memory://, sqlite:///path, redis://host:6379/0, rediss://…, "
            "redis+sentinel://host:26379/NAME/0 or redis+cluster://host:6379"
        )


def open_store(url: str) -> Store:
    """Make the store that a URL names. Nothing is connected to yet.

    Raises:
        StoreError: the URL names no store, or what it needs isn't installed.
    """
    return StoreAddress.parse(url).open()


def without_password(url: str) -> str:
    """Write a store's URL for people: without user, password and whatever else is secret."""
    base, _, query = url.partition("?")
    scheme, colon, rest = base.partition("://")  # by hand: taken apart and joined again, a URL loses slashes
    place, slash, path = rest.partition("/")
    shown = f"{scheme}{colon}{place.rpartition('@')[2]}{slash}{path}"
    known = [(name, value) for name, value in parse_qsl(query) if "password" not in name]
    return f"{shown}?{urlencode(known)}" if known else shown


def _sqlite(address: StoreAddress) -> Store:
    from throttle.stores.sqlite import SqliteStore

    parts = urlsplit(address.url)
    path = unquote(parts.path)
    if parts.netloc or path in ("", "/"):
        raise StoreError(
            f"store {without_password(address.url)!r}: write sqlite:///relative/path or sqlite:////absolute/path, "
            "with three or four slashes"
        )
    # as elsewhere: three slashes and a relative path, four and an absolute one
    return SqliteStore(Path(path[1:]), timeout_s=address.timeout_s)
