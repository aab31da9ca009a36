"""A balancer in front of the gateway: hands connections on behind a PROXY protocol header. Not here: headers (the tests')."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import threading
from collections.abc import Iterator

from spg99.wire.proxy_protocol import SIGNATURE_V2


def version_1(source: str) -> bytes:
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {'::1' if ':' in source else '127.0.0.1'} 40000 5432\r\n".encode()


def version_2(source: str) -> bytes:
    address = ipaddress.ip_address(source)
    ours = ipaddress.ip_address("::1" if address.version == 6 else "127.0.0.1")
    body = address.packed + ours.packed + struct.pack("!HH", 40000, 5432) + b"\x04\0\x01x"
    return SIGNATURE_V2 + bytes([0x21, 0x21 if address.version == 6 else 0x11]) + struct.pack("!H", len(body)) + body


@contextlib.contextmanager
def balancer(port: int, header: bytes) -> Iterator[int]:
    """The port of a balancer in front of the gateway on `port`; every connection it hands on begins with `header`."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def serve(client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", port)) as gateway:
            gateway.sendall(header)
            back = threading.Thread(target=carry, args=(gateway, client), daemon=True)
            back.start()
            carry(client, gateway)
            back.join()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
