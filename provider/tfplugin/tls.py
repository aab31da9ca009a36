"""Encryption of one connection: bytes in, bytes out. Not here: sockets (connection.py), making a certificate (certificate.py).

Both sides show a certificate: we the one whose bytes stand in the handshake line, Terraform the one it gave us in the
environment. So no other process of the machine can drive the provider. A client that gives no certificate is served without
TLS (Plain), on a unix socket only.
"""

from __future__ import annotations

import _ssl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SEALED_BYTES = 1 << 16
TLS_1_2 = 0x0303


class Failed(Exception):
    """The other side does not speak TLS, or has not the right certificate. Holds the reason."""


def context(identity: str, client_certificate: str, folder: str) -> Any:
    """The settings of a server that only lets in the holder of `client_certificate` (PEM); `identity` is our own, with its key.

    OpenSSL reads the identity from a file: it lies in `folder` for that moment, readable by the user only. The module `ssl`
    would do the same with nicer names, and cost a start ten milliseconds for its imports (enum, re, base64, socket); what is
    used of `_ssl` is the same from Python 3.11 to 3.14.
    """
    made: Any = _ssl._SSLContext(_ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = TLS_1_2
    path = os.path.join(folder, "identity.pem")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w") as file:
            file.write(identity)
        made.load_cert_chain(path, None, None)
    finally:
        os.unlink(path)
    made.load_verify_locations(None, None, client_certificate)
    made.verify_mode = _ssl.CERT_REQUIRED
    made._set_alpn_protocols(b"\x02h2")
    # Nobody comes back with a ticket: there is one connection.
    made.num_tickets = 0
    return made


class Tls:
    """One connection's encryption. Not safe for threads: connection.py holds a lock."""

    __slots__ = ("_established", "_incoming", "_outgoing", "_session")

    def __init__(self, settings: Any) -> None:
        self._incoming = _ssl.MemoryBIO()
        self._outgoing = _ssl.MemoryBIO()
        self._session = settings._wrap_bio(self._incoming, self._outgoing, True)
        self._established = False

    @property
    def established(self) -> bool:
        """Whether the other side has shown its certificate."""
        return self._established

    def opened(self, data: bytes) -> bytes:
        """What was sent to us in `data`. `Failed` if it cannot be trusted; there may still be an alert to send (`sealed`)."""
        self._incoming.write(data)
        parts = []
        try:
            if not self._established:
                self._session.do_handshake()
                self._established = True
            while part := self._session.read(SEALED_BYTES):
                parts.append(part)
        except _ssl.SSLWantReadError:
            pass
        except _ssl.SSLZeroReturnError:
            pass
        except _ssl.SSLError as failed:
            raise Failed(failed.reason or "TLS failed") from None
        return b"".join(parts)

    def sealed(self, data: bytes) -> bytes:
        """`data` as it goes over the socket, after what TLS itself wants to send."""
        if data and self._established:
            self._session.write(data)
        return self._outgoing.read()


class Plain:
    """No encryption: on a unix socket that only its user can reach (handshake.listen opens no port without TLS)."""

    __slots__ = ()
    established = True

    def opened(self, data: bytes) -> bytes:
        """`data`."""
        return data

    def sealed(self, data: bytes) -> bytes:
        """`data`."""
        return data
