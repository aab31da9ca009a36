"""The few calls on sockets that differ by platform, without the module `socket`: it would cost a start five milliseconds.

What `socket` adds to `_socket` are names for numbers, files and timeouts; none is needed here. Both work in 3.11 to 3.14.
"""

from __future__ import annotations

import _socket


def pair() -> tuple[_socket.socket, _socket.socket]:
    """Two sockets that are connected: what is written to one wakes who waits for the other."""
    if hasattr(_socket, "socketpair"):
        one, other = _socket.socketpair()
        return one, other
    import socket  # Windows

    return socket.socketpair()


def accepted(listening: _socket.socket) -> _socket.socket:
    """The next connection."""
    descriptor, _ = listening._accept()  # type: ignore[attr-defined,unused-ignore]
    sock = _socket.socket(fileno=descriptor)
    if sock.family == _socket.AF_INET:
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    return sock
