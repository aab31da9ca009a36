"""Ports: which are tried, and that a held port is ours alone and free for our own processes."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from spg99.commands.ports import ANY, Hold, candidates, hold_first, hold_port
from spg99.errors import Conflict


@pytest.mark.parametrize(
    ("wanted", "used_last", "tried"),
    [
        (None, None, [5432, ANY]),
        (None, 6000, [6000]),
        (None, 5432, [5432]),
        (0, None, [ANY]),
        (0, 6000, [6000, ANY]),
        (7000, 6000, [7000]),
    ],
)
def test_which_ports_are_tried(wanted: int | None, used_last: int | None, tried: list[int]) -> None:
    assert candidates(wanted, used_last=used_last, usual=5432) == tried


def test_a_taken_port_gives_way_to_the_next() -> None:
    def hold(_host: str, port: int) -> Hold:
        if port == 5432:
            raise OSError(98, "Address already in use")
        return Hold(40000)

    assert hold_first("127.0.0.1", [5432, ANY], flag="--gateway-port", hold=hold).port == 40000


def test_a_port_that_the_user_named_has_no_second_choice() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(Conflict) as raised:
            hold_first("127.0.0.1", [taken.getsockname()[1]], flag="--gateway-port")
    assert "--gateway-port" in raised.value.message


def test_the_port_used_last_has_no_silent_second_choice_and_who_has_it_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Conflict) as raised:
            hold_first("127.0.0.1", candidates(None, used_last=port, usual=5432), flag="--gateway-port", used_last=port)
        moved = hold_first(
            "127.0.0.1", candidates(ANY, used_last=port, usual=5432), flag="--gateway-port", used_last=port
        )
        assert moved.port != port
        moved.release()
    message = raised.value.message
    assert f"Port {port} of 127.0.0.1" in message and "used last" in message and "move on purpose" in message
    if sys.platform == "linux":
        assert f"pid {os.getpid()} (" in message


def test_a_port_shared_by_others_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        with pytest.raises(OSError, match="in use"):
            hold_port("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("reuse_port", [False, True])
def test_a_held_port_takes_our_listener_and_refuses_clients_while_there_is_none(reuse_port: bool) -> None:
    held = hold_port("127.0.0.1", 0)
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", held.port), timeout=5)
        with socket.create_server(("127.0.0.1", held.port), reuse_port=reuse_port) as listener:
            with socket.create_connection(("127.0.0.1", held.port), timeout=5) as client:
                accepted, _ = listener.accept()
                with accepted:
                    client.sendall(b"x")
                    assert accepted.recv(1) == b"x"
    finally:
        held.release()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port is only looked at")
def test_a_port_that_another_dev_holds_is_taken_before_anybody_listens_on_it() -> None:
    held = hold_port("127.0.0.1", 0)
    with pytest.raises(OSError, match="in use"):
        hold_port("127.0.0.1", held.port)
    with pytest.raises(OSError, match="in use"):
        hold_port("0.0.0.0", held.port)
    held.release()
    hold_port("127.0.0.1", held.port).release()


def test_two_free_ports_are_two() -> None:
    one, two = hold_port("127.0.0.1", 0), hold_port("127.0.0.1", 0)
    assert one.port != two.port
    one.release()
    two.release()
