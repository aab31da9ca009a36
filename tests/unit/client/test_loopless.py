"""Calls that begin without an event loop: limits, the change into a loop, connections that are kept, what needs a loop at once."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager, suppress
from contextvars import Context
from typing import Any

import pytest

from spg99.client import Client, loopless, patience, retry, sockets
from spg99.client.exchanges import BrokenOff, Late, NoRoom, NotConnected, NotConnectedInTime, Request, parsed
from spg99.client.loopless import TimeLimit
from spg99.client.sockets import Sockets
from spg99.errors import Unreachable

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def in_a_loop(work: Coroutine[Any, Any, Any], context: Context) -> Any:
    async def rest() -> Any:
        return await asyncio.create_task(work, context=context)

    return asyncio.run(rest())


def never(_work: Any, _context: Any) -> Any:
    raise AssertionError("no loop is needed")


@contextmanager
def serving(talk: Callable[[socket.socket, int], None]) -> Iterator[str]:
    """`talk(connection, number)` for each connection."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def run() -> None:
            number = 0
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                number += 1
                threading.Thread(target=one, args=(connection, number), daemon=True).start()

        def one(connection: socket.socket, number: int) -> None:
            with connection:
                with suppress(OSError):
                    talk(connection, number)

        threading.Thread(target=run, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v2"


def request(**given: Any) -> Request:
    return Request(
        **{
            "method": "GET",
            "target": "/v2/x",
            "headers": {},
            "content": None,
            "answer_seconds": 5.0,
            "connect_seconds": 5.0,
        }
        | given
    )


def send(carrier: Sockets, **given: Any) -> bytes:
    return loopless.run(carrier.send(request(**given)), never).content


# -- the driver


def test_a_limit_ends_a_wait_without_a_loop_as_with_one() -> None:
    async def work() -> None:
        async with TimeLimit(0.05):
            await loopless.sleep(30)

    for run in (lambda: loopless.run(work(), never), lambda: asyncio.run(work())):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            run()
        assert time.monotonic() - began < 5


def test_the_outer_limit_is_not_taken_for_the_inner_one() -> None:
    seen = []

    async def work() -> None:
        async with TimeLimit(0.05):
            try:
                async with TimeLimit(30):
                    await loopless.sleep(60)
            except TimeoutError:
                seen.append("inner")

    with pytest.raises(TimeoutError):
        loopless.run(work(), never)
    assert seen == []


def test_what_goes_on_in_a_loop_keeps_its_limits_and_its_context() -> None:
    async def work() -> str:
        with patience.patient(time.monotonic() + 60):
            try:
                async with TimeLimit(0.1):
                    assert loopless.current() is not None
                    await loopless.into_loop()
                    assert loopless.current() is None and patience.current() is not None
                    await asyncio.sleep(30)
            except TimeoutError:
                await loopless.into_loop()  # it is there
                return "late"
        return "never"

    began = time.monotonic()
    assert loopless.run(work(), in_a_loop) == "late"
    assert time.monotonic() - began < 10 and patience.current() is None and loopless.current() is None


def test_an_error_is_the_callers_before_and_after_the_change() -> None:
    async def work(change: bool) -> None:
        if change:
            await loopless.into_loop()
        raise KeyError("mine")

    for change in (False, True):
        with pytest.raises(KeyError, match="mine"):
            loopless.run(work(change), in_a_loop)


def test_who_waits_for_a_loop_that_is_not_there_is_told() -> None:
    async def work() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="without an event loop"):
        loopless.run(work(), never)


# -- sockets


def test_a_connection_is_kept_and_one_that_ended_meanwhile_is_not_used() -> None:
    ended = threading.Event()

    def talk(connection: socket.socket, number: int) -> None:
        connection.recv(4096)
        connection.sendall(ANSWER)
        connection.recv(4096)
        connection.sendall(ANSWER)
        if number == 1:
            connection.close()
            ended.set()
        else:
            connection.recv(4096)

    with serving(talk) as url:
        carrier = Sockets(parsed(url), None)
        assert send(carrier) == send(carrier) == b"{}", "one connection"
        assert len(carrier._idle) == 1 and ended.wait(5)
        assert send(carrier) == b"{}", "a second connection, and nobody saw it"
        assert len(carrier._idle) == 1
        carrier.close()
        assert carrier._idle == []


def test_a_connection_with_words_that_nobody_asked_for_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said = threading.Event()

    def talk(connection: socket.socket, number: int) -> None:
        connection.recv(4096)
        connection.sendall(ANSWER)
        if number == 1:
            connection.sendall(ANSWER.replace(b"{}", b"[]"))
            said.set()
        connection.recv(4096)

    with serving(talk) as url:
        carrier = Sockets(parsed(url), None)
        assert send(carrier) == b"{}" and said.wait(5)
        assert send(carrier) == b"{}"


def test_an_old_idle_connection_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = []

    def talk(connection: socket.socket, number: int) -> None:
        while connection.recv(4096):
            numbers.append(number)
            connection.sendall(ANSWER)

    monkeypatch.setattr(sockets, "IDLE_SECONDS_MAX", 0.0)
    with serving(talk) as url:
        carrier = Sockets(parsed(url), None)
        assert send(carrier) == send(carrier) == b"{}" and numbers == [1, 2]


def test_each_end_of_an_exchange_has_its_kind() -> None:
    def silent(connection: socket.socket, _number: int) -> None:
        connection.recv(4096)
        connection.recv(4096)

    def reset(connection: socket.socket, _number: int) -> None:
        connection.recv(4096)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with serving(silent) as url, pytest.raises(Late):
        send(Sockets(parsed(url), None), answer_seconds=0.05)
    with serving(reset) as url, pytest.raises(BrokenOff):
        send(Sockets(parsed(url), None))
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with pytest.raises(NotConnected, match="refused"):
        send(Sockets(parsed(f"http://127.0.0.1:{port}/v2"), None))
    with pytest.raises(NotConnected, match="getaddrinfo"):
        send(Sockets(parsed("http://spg99.invalid:1/v2"), None))


def test_a_refusal_of_what_is_still_being_sent_is_read() -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    def talk(connection: socket.socket, _number: int) -> None:
        connection.recv(10)
        connection.sendall(refusal)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
            pass

    with serving(talk) as url:
        carrier = Sockets(parsed(url), None)
        answer = loopless.run(carrier.send(request(method="POST", content=b"x" * 20_000_000)), never)
        assert answer.status == 413 and carrier._idle == []


def test_an_address_that_says_nothing_is_overtaken_by_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.socket()) as full, serving(lambda c, _: c.sendall(ANSWER)) as url:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]  # its queue is full: a further attempt is not answered
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        quiet = (socket.AF_INET, socket.SOCK_STREAM, 6, "", full.getsockname())
        good = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", parsed(url).port))
        began = time.monotonic()
        sockets._connected([quiet, good], began + 10).close()
        assert time.monotonic() - began < 5
        with pytest.raises(NotConnectedInTime):
            sockets._connected([quiet], time.monotonic() + 0.1)
        for one in waiting:
            one.close()


def test_a_resolver_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def stuck(*given: Any) -> Any:
        if given[-1] == socket.AI_NUMERICHOST:
            raise socket.gaierror
        gate.wait(30)
        return []

    monkeypatch.setattr(sockets, "getaddrinfo", stuck)
    began = time.monotonic()
    with pytest.raises(NotConnectedInTime):
        send(Sockets(parsed("http://cp.example.com/v2"), None), connect_seconds=0.1)
    gate.set()
    assert time.monotonic() - began < 10


# -- a client


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_is_asked_in_a_loop(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_SECONDS", 0.001)
    changed = []

    def go_on(work: Any, context: Context) -> Any:
        changed.append(name)
        return in_a_loop(work, context)

    async def ask() -> Any:
        async with Client("http://cp.invalid/v2", "k", max_attempts=1) as client:
            return await client.call("GET", "/account")

    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    with pytest.raises(Unreachable):
        loopless.run(ask(), go_on)
    assert changed == [name]
    monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(Unreachable, match="cannot be resolved"):
        loopless.run(ask(), never)


def test_many_threads_share_the_connections() -> None:
    together = threading.Barrier(8)
    numbers = set()

    def talk(connection: socket.socket, number: int) -> None:
        while connection.recv(4096):
            numbers.add(number)
            connection.sendall(ANSWER)

    with serving(talk) as url:
        carrier = Sockets(parsed(url), None)

        def work() -> None:
            together.wait(10)
            for _ in range(5):
                assert send(carrier) == b"{}"

        threads = [threading.Thread(target=work) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(20)
        assert 1 <= len(numbers) <= 8 and 1 <= len(carrier._idle) <= 8
        carrier.close()


def test_one_who_finds_no_place_waits_for_one_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "SOCKETS_MAX", 1)
    may_answer, asked = threading.Event(), threading.Event()

    def talk(connection: socket.socket, number: int) -> None:
        while connection.recv(65536):
            asked.set()
            may_answer.wait(30)
            connection.sendall(ANSWER)

    with serving(talk) as url:
        carrier = Sockets(parsed(url), None)
        first = threading.Thread(target=send, args=(carrier,))
        first.start()
        assert asked.wait(10)
        with pytest.raises(NoRoom):
            send(carrier, answer_seconds=0.1)
        with pytest.raises(TimeoutError):
            loopless.run(_within(0.1, carrier), never)
        may_answer.set()
        first.join(10)
        assert send(carrier) == b"{}"
        carrier.close()


async def _within(seconds: float, carrier: Sockets) -> None:
    async with TimeLimit(seconds):
        await carrier.send(request())
