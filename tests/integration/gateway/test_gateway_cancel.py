"""Cancel requests that land at another Gateway than the session's, as behind a balancer: they are found, and guesses are not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import psycopg
import pytest
from psycopg import errors

from integration.gateway.fake_control_plane import FakeControlPlane, Tenant
from integration.gateway.gateway_process import Gateway
from kit.tiers import others_slow
from kit.waits import wait_for
from spg99.wire.startup import cancel_request


@pytest.mark.parametrize("version", others_slow(["3.0", "3.2"]))
def test_cancel_at_another_gateway(
    start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant, version: str
) -> None:
    """Two Gateways of one platform; the session is at the first, the request comes to the second."""
    first, second = start_gateway(name="gateway-1"), start_gateway(name="gateway-2")
    more = {"max_protocol_version": version} if psycopg.pq.version() >= 180000 else {}
    with ForwardingPort(first.port) as port, first.connect(tenant, "app", port=port.number, **more) as connection:
        outcome: list[BaseException] = []

        def sleep() -> None:
            try:
                connection.execute("select pg_sleep(30)")
            except psycopg.Error as error:
                outcome.append(error)

        thread = threading.Thread(target=sleep)
        thread.start()
        with first.connect(tenant, "app") as other:
            pid = connection.info.backend_pid
            wait_for(
                "the query to run",
                lambda: other.execute("select wait_event from pg_stat_activity where pid = %s", [pid]).fetchone() == ("PgSleep",),
            )  # fmt: skip
        port.target = second.port
        began = time.monotonic()
        connection.cancel_safe(timeout=10)
        thread.join(timeout=10)
        assert isinstance(outcome[0], errors.QueryCanceled)
        assert time.monotonic() - began < 5
        assert plane.count("cancel") == 1
        assert second.figure("spg99_gateway_cancels_total") == 0
        assert first.figure("spg99_gateway_cancels_total") == 1


def test_a_key_of_nobody_reaches_nobody_and_is_no_load(
    start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant
) -> None:
    first, second = start_gateway(name="gateway-1"), start_gateway(name="gateway-2")
    with first.connect(tenant, "app") as connection:
        pid = connection.info.backend_pid
        began = time.monotonic()
        for i in range(200):
            with socket.create_connection(("127.0.0.1", second.port), timeout=10) as sock:
                sock.sendall(cancel_request(pid, i.to_bytes(4)))
                assert sock.recv(100) == b"", "closed without a word"
        seconds = time.monotonic() - began
        assert plane.count("cancel") <= 20 + seconds / 0.1 + 1, "a flood of guesses is not handed on"
        assert connection.execute("select 1").fetchone() == (1,)
        assert first.figure("spg99_gateway_cancels_total") == 0


@pytest.mark.slow  # broken
def test_the_control_plane_away_holds_no_cancel_up(
    start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant
) -> None:
    gateway = start_gateway()
    plane.stop()
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as sock:
        sock.sendall(cancel_request(1, b"abcd"))
        assert sock.recv(100) == b""
    assert time.monotonic() - began < 5


class ForwardingPort:
    """A balancer: each new connection goes to `target`."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.number: int = self._listener.getsockname()[1]

    def __enter__(self) -> ForwardingPort:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        try:
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_carry, args=(source, sink), daemon=True).start()
        except OSError:
            return


def _carry(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for sock in (source, sink):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue
