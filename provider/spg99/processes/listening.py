"""Sockets that listen: which addresses a host stands for, and one port on all of them. Not here: accepting (each server, tls/listener.py)."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import Final

BACKLOG: Final = 2048
WILDCARDS: Final = frozenset({"", "0.0.0.0", "::"})
_LOOPBACKS: Final = ("127.0.0.1", "::1")
_TRIES_MAX: Final = 20
"""To find a free port that is free on every address."""


def addresses_of(host: str) -> list[str]:
    """The addresses that a host to listen on stands for, as numbers. `localhost` is both loopback addresses, whatever the
    resolver says (many try ::1 first, some know only one), as far as the machine has them.

    Raises OSError when there is none.
    """
    if host == "localhost":
        return [address for address in _LOOPBACKS if _exists(address)] or ["127.0.0.1"]
    if host in WILDCARDS:
        return [host or "0.0.0.0"]
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach who listens on this host."""
    try:
        return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in addresses_of(host))
    except OSError:
        return False


def listen(host: str, port: int, *, backlog: int = BACKLOG, reuse_port: bool = False) -> list[socket.socket]:
    """Listens on every address of `host`, on one port (0: a free one). `reuse_port`: others may share it.

    Raises OSError when an address or the port cannot be had.
    """
    addresses = addresses_of(host)
    for tries_left in range(_TRIES_MAX - 1, -1, -1):
        try:
            return _listen_on(addresses, port, backlog, reuse_port)
        except OSError:
            # A port that is free on the first address may be taken on the second.
            if port != 0 or len(addresses) == 1 or tries_left == 0:
                raise
    raise AssertionError("the last try answers or raises")


def bound(address: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A socket that has this address. Raises OSError when it cannot be had. `::` takes IPv4 as well."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address == "::" else 1)
        made.bind((address, port))
    except BaseException:
        made.close()
        raise
    return made


def _listen_on(addresses: list[str], port: int, backlog: int, reuse_port: bool) -> list[socket.socket]:
    with contextlib.ExitStack() as undo:
        made: list[socket.socket] = []
        for address in addresses:
            listener = undo.enter_context(bound(address, port, reuse_port=reuse_port))
            listener.listen(backlog)
            listener.setblocking(False)
            made.append(listener)
            port = port or int(listener.getsockname()[1])
        undo.pop_all()
        return made


def _exists(address: str) -> bool:
    try:
        bound(address, 0).close()
    except OSError:
        return False
    return True
