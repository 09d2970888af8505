"""Pools kept in Redis (6.2 or newer) or Valkey: any number of processes on any number of machines.

Each exchange is one script, carried out atomically at the server's own time, in one round trip; several pools' go out
in one go. All keys of a pool share one hash slot, so a cluster keeps it in one place. A script that the server has
forgotten is sent again. Exchanges are numbered, so that trying again does nothing twice.

But in a cluster, one connection of redis-py's is held and written to directly: its pool and its bookkeeping for each
command cost as much as the rest of the round trip.

Processes call one another by messages on channels, each of which one process subscribes to as long as its calls wait
for a place.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from throttle.errors import StoreError
from throttle.stores.opening import without_password
from throttle.stores.protocol import Answer, Exchange, PoolReport
from throttle.stores.wire import ARGUMENTS, arguments_of, read_answer, read_report

__all__ = ["RedisStore"]

PORT: Final = 6379
SENTINEL_PORT: Final = 26379
PARTS: Final = ("", ":p", ":l")

CHANNEL: Final = "throttle-bell-"
LOOK_S: Final = 1.0
"""How often an ear looks whether it is still wanted."""

Call = tuple[str, list[str | bytes]]
"""A pool's key, and the arguments of the script."""


class RedisStore:
    """A server, a Sentinel set or a cluster.

    `redis://`, `rediss://` and `unix://` are URLs as redis-py reads them. `redis+sentinel://host:port,host:port/
    name/0` asks the Sentinels for the master of that name, `redis+cluster://host:port,host:port` finds a cluster
    from any of its nodes; with `rediss+…` over TLS.
    """

    def __init__(self, url: str, *, timeout_s: float = 1.0, clock: Callable[[], int] | None = None) -> None:
        """Name the server; it is connected to at the first exchange.

        Args:
            url: where it is.
            timeout_s: how long a connection and an answer are waited for.
            clock: in whole microseconds, for tests; by default the server's.

        Raises:
            StoreError: redis-py isn't installed, or the URL can't be read.
        """
        try:
            import redis
        except ImportError:
            raise StoreError(
                "store=redis://… needs redis-py, which is not installed: pip install 'openai-throttle[redis]'"
            ) from None
        self._redis = redis
        self._url = url
        self.timeout_s = timeout_s
        self._clock = clock
        self._shown = without_password(url)
        self._cluster = "+cluster" in urlsplit(url).scheme
        self._sentinels: Any = None
        self._client: Any = None
        self._line: Any = None
        self._ear: _Ear | None = None
        self._pid = os.getpid()
        self._inherited: list[Any] = []
        self._script, self._sha = _script()
        try:
            self._client = self._connect()
        except (ValueError, TypeError) as error:
            raise StoreError(f"store {self._shown}: {error}") from None

    def exchange(self, wants: Sequence[tuple[str, Exchange]]) -> list[Answer]:
        now_us = self._clock() if self._clock is not None else None
        calls = [(key, arguments_of(brought, now_us)) for key, brought in wants]
        try:
            answers = self._evaluate(calls)
        except (self._redis.RedisError, OSError) as error:
            raise self._error(error) from error
        return [read_answer(answer) for answer in answers]

    def report(self, prefix: str) -> list[PoolReport]:
        try:
            return self._report(prefix)
        except (self._redis.RedisError, OSError) as error:
            raise self._error(error) from error

    def hear(self, called: Callable[[str], None]) -> str:
        self._leave_to_parent()
        if self._ear is not None and self._ear.is_deaf:
            self._ear = None
        if self._ear is None:
            try:
                client = self._client = self._client or self._connect()
                self._ear = _Ear(client, called, self.timeout_s)
            except (self._redis.RedisError, OSError):  # what is wrong will be told at the next exchange, if it matters
                return ""
        return self._ear.channel

    def ring(self, bells: Sequence[str]) -> None:
        self._leave_to_parent()
        messages = [bell.rpartition("/")[::2] for bell in bells]
        with contextlib.suppress(self._redis.RedisError, OSError):
            if self._line is None:  # a cluster
                for channel, word in messages:
                    self._client.publish(channel, word)
            else:
                packed = [b"*3\r\n" + _packed(("PUBLISH", channel, word)) for channel, word in messages]
                self._read(self._line.connection, b"".join(packed), len(packed))

    def close(self) -> None:
        self._leave_to_parent()
        ear, self._ear = self._ear, None
        if ear is not None:
            ear.close()
        line, self._line = self._line, None
        client, self._client = self._client, None
        if line is not None:
            line.close()
        if client is not None:
            client.close()

    def _leave_to_parent(self) -> None:
        """After a fork, connect anew: whoever read from the parent's connection would take the parent's answers."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            # not to be closed either
            self._inherited.append((self._line, self._client, self._sentinels, self._ear))
            self._line = self._client = self._sentinels = self._ear = None

    def _evaluate(self, calls: Sequence[Call]) -> list[Any]:
        self._leave_to_parent()
        if self._cluster:
            client = self._client = self._client or self._connect()
            return [self._evaluate_one(client, call) for call in calls]
        line = self._line
        if line is None:
            client = self._client = self._client or self._connect()
            line = self._line = client.client()
            return self._send(line.connection, calls)
        try:
            return self._send(line.connection, calls)
        except self._redis.exceptions.ConnectionError as error:
            if isinstance(error, self._redis.exceptions.AuthenticationError):
                raise
            return self._send(line.connection, calls)  # the server may have closed a connection that was idle

    def _send(self, connection: Any, calls: Sequence[Call]) -> list[Any]:
        """Send scripts and read their answers; a connection that is closed is opened first."""
        packed = [_beginning(self._sha, key) + _packed(arguments) for key, arguments in calls]
        answers, forgotten = self._read(connection, b"".join(packed), len(calls))
        for i in forgotten:
            key, arguments = calls[i]
            words = ["EVAL", self._script, str(len(PARTS)), *_keys(key), *arguments]
            (answers[i],), _ = self._read(connection, b"*%d\r\n%b" % (len(words), _packed(words)), 1)
        return answers

    def _read(self, connection: Any, packed: bytes, count: int) -> tuple[list[Any], list[int]]:
        """Send so many commands; returns their answers, and which of the scripts the server had forgotten."""
        answers: list[Any] = []
        forgotten, failed = [], None
        try:
            connection.send_packed_command([packed])
            while len(answers) < count:
                answer = None
                try:
                    answer = connection.read_response(disable_decoding=True)
                except self._redis.exceptions.NoScriptError:
                    forgotten.append(len(answers))
                except self._redis.exceptions.ResponseError as error:
                    failed = error
                answers.append(answer)
        except BaseException:
            connection.disconnect()  # the next one must not find answers of this one there
            raise
        if failed is not None:
            raise failed
        return answers, forgotten

    def _evaluate_one(self, client: Any, call: Call) -> Any:
        key, arguments = call
        try:
            return client.evalsha(self._sha, len(PARTS), *_keys(key), *arguments)
        except self._redis.exceptions.NoScriptError:
            return client.eval(self._script, len(PARTS), *_keys(key), *arguments)

    def _report(self, prefix: str) -> list[PoolReport]:
        self._leave_to_parent()
        client = self._client = self._client or self._connect()
        pattern = "{" + "".join(f"\\{c}" if c in "*?[]\\^" else c for c in prefix) + "*}"
        reports = []
        seconds, micros = client.time(target_nodes="random") if self._cluster else client.time()
        for name in sorted(client.scan_iter(match=pattern, count=1000)):
            key = name.decode()
            state = client.hmget(key, ("h", "l", "t", "b"))
            if state[0]:
                processes = _texts(client.hgetall(key + ":p"))
                now_us = seconds * 1_000_000 + micros
                reports.append(read_report(key[1:-1], state, processes, client.hlen(key + ":l"), now_us))
        return reports

    def _connect(self) -> Any:
        redis = self._redis
        options: dict[str, Any] = {"socket_timeout": self.timeout_s, "socket_connect_timeout": self.timeout_s}
        parts = urlsplit(self._url)
        scheme, _, kind = parts.scheme.partition("+")
        if kind != "cluster":  # what is tried again, and when, is the courier's business
            from redis.backoff import NoBackoff
            from redis.retry import Retry

            options["retry"] = Retry(NoBackoff(), 0)
        if not kind:
            return redis.Redis.from_url(self._url, **options)
        if kind not in ("sentinel", "cluster") or scheme not in ("redis", "rediss"):
            raise ValueError(
                f"scheme {parts.scheme!r} is none of redis, rediss, unix, redis+sentinel, rediss+sentinel, "
                "redis+cluster, rediss+cluster"
            )
        options |= _credentials(parts.netloc)
        if scheme == "rediss":
            options |= {"ssl": True} | {k: v[0] for k, v in parse_qs(parts.query).items() if k.startswith("ssl_")}
        nodes = _nodes(parts.netloc, SENTINEL_PORT if kind == "sentinel" else PORT)
        if kind == "cluster":
            from redis import cluster

            make_node: Any = cluster.ClusterNode
            return cluster.RedisCluster(startup_nodes=[make_node(host, port) for host, port in nodes], **options)
        from redis import sentinel

        make_sentinel: Any = sentinel.Sentinel
        service, _, database = parts.path.strip("/").partition("/")
        if not service:
            raise ValueError("the master's name is missing: redis+sentinel://host:26379/NAME/0")
        self._sentinels = make_sentinel(
            nodes, sentinel_kwargs={k: options[k] for k in options if "socket" in k}, **options
        )
        return self._sentinels.master_for(service, db=int(database or 0))

    def _error(self, error: Exception) -> StoreError:
        """Say in one line what is wrong and what would help."""
        text = " ".join(str(error).split()) or type(error).__name__
        errors = self._redis.exceptions
        if isinstance(error, errors.AuthenticationError) or text.startswith(("NOAUTH", "WRONGPASS")):
            remedy = "check the user and the password in the URL"
        elif isinstance(error, errors.ReadOnlyError):
            self.close()  # whoever is the master now is found out anew
            remedy = "this is a replica: name the master, or use redis+sentinel://"
        elif isinstance(error, errors.OutOfMemoryError) or "maxmemory" in text:
            remedy = "the server's memory is full: raise maxmemory, or use another server"
        elif "MISCONF" in text:
            remedy = "the server can't write to its disk: make room there"
        elif isinstance(error, errors.NoPermissionError):
            remedy = "the user needs EVAL, EVALSHA, TIME, hash commands, DEL and PEXPIRE on the keys"
        elif isinstance(error, errors.TimeoutError):
            remedy = f"no answer within {self.timeout_s:g} s"
        else:
            remedy = "is it running, and reachable from here?" if isinstance(error, errors.ConnectionError) else ""
        return StoreError(f"store {self._shown}: {text}{': ' if remedy else ''}{remedy}")


class _Ear:
    """A subscription to a channel of its own, which a thread of redis-py's listens to."""

    def __init__(self, client: Any, called: Callable[[str], None], timeout_s: float) -> None:
        """Subscribe, and wait until that is done. Raises what redis-py raises."""
        self.channel = CHANNEL + secrets.token_hex(6)
        self.is_deaf = False
        self._called: Callable[[str], None] | None = called
        subscription = client.pubsub()
        try:
            subscription.subscribe(**{self.channel: self._on_message})
            if subscription.get_message(timeout=timeout_s) is None:
                raise TimeoutError
        except BaseException:
            subscription.close()
            raise
        self._thread = subscription.run_in_thread(LOOK_S, daemon=True, exception_handler=self._on_error)

    def close(self) -> None:
        self._called = None
        self._thread.stop()

    def _on_message(self, message: Any) -> None:
        if self._called is not None:
            self._called(message["data"].decode("ascii", "replace"))

    def _on_error(self, error: BaseException, subscription: Any, thread: Any) -> None:
        self.is_deaf = True
        thread.stop()
        if self._called is not None:
            self._called("")


def _keys(key: str) -> list[str]:
    return [f"{{{key}}}{part}" for part in PARTS]


def _packed(words: Sequence[str | bytes]) -> bytes:
    """Write words as the protocol has them."""
    parts = []
    for word in words:
        data = word if isinstance(word, bytes) else word.encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _beginning(sha: str, key: str) -> bytes:
    """Write what every exchange with a pool begins with."""
    words = ["EVALSHA", sha, str(len(PARTS)), *_keys(key)]
    return b"*%d\r\n%b" % (len(words) + ARGUMENTS, _packed(words))


@lru_cache(maxsize=1)
def _script() -> tuple[str, str]:
    text = files("throttle.stores").joinpath("exchange.lua").read_text("utf-8")
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _texts(mapping: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in mapping.items()}


def _nodes(netloc: str, port: int) -> list[tuple[str, int]]:
    nodes = []
    for place in netloc.rpartition("@")[2].split(","):
        host, _, number = place.rpartition(":") if place.count(":") else (place, "", "")
        if not (host or "").strip("[]"):
            raise ValueError(f"{place!r} is no host: write host:port,host:port")
        nodes.append((host.strip("[]"), int(number or port)))
    return nodes


def _credentials(netloc: str) -> dict[str, str]:
    user, _, password = netloc.rpartition("@")[0].partition(":")
    return {k: unquote(v) for k, v in (("username", user), ("password", password)) if v}
