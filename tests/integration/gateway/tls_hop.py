"""Adds TLS for clients that have none (the wheel's PostgreSQL programs): plain text in, TLS to the gateway out."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from spg99.wire.messages import authentication_sasl
from spg99.wire.scram_exchange import PLAIN, PLUS
from spg99.wire.startup import SSL_REQUEST

OFFER = authentication_sasl([PLUS, PLAIN])


@contextlib.contextmanager
def tls_hop(port: int, ca: Path) -> Iterator[int]:
    """The port of a hop to the gateway on `port`."""
    context = ssl.create_default_context(cafile=str(ca))
    listener = socket.create_server(("127.0.0.1", 0))

    def carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                # Whoever ends TLS must not promise channel binding to the plain side: libpq refuses that as an attack.
                target.sendall(authentication_sasl([PLAIN]) if data == OFFER else data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def serve(plain: socket.socket) -> None:
        bare = socket.create_connection(("127.0.0.1", port))
        bare.sendall(SSL_REQUEST)
        assert bare.recv(1) == b"S"
        with plain, context.wrap_socket(bare, server_hostname="localhost") as tls:
            back = threading.Thread(target=carry, args=(tls, plain), daemon=True)
            back.start()
            carry(plain, tls)
            back.join()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
