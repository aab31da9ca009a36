"""TLS in which both ends show who they are: between Gateways, agents and safekeepers of different machines.

Here: the contexts, who is at the other end and whether that one may be. Not here: the certificates (authority.py), where they come from
(processes/own_certificate.py), what is spoken inside.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Container
from typing import Any, Final

from spg99.errors import Unavailable
from spg99.tls.authority import Credentials
from spg99.tls.context import load_chain

SILENT_SECONDS: Final = 10
"""A connection without a word for so long is probed: the machine behind it may be gone."""
PROBE_SECONDS: Final = 5
PROBES: Final = 3
UNANSWERED_MILLISECONDS: Final = 25_000
"""What was sent and is not acknowledged by then ends the connection."""


class MutualTls:
    """The two contexts of one process. They stay the same objects while certificates are renewed: connections from then on have the new one."""

    def __init__(self, credentials: Credentials) -> None:
        self.server = _context(ssl.PROTOCOL_TLS_SERVER, credentials)
        self.client = _context(ssl.PROTOCOL_TLS_CLIENT, credentials)
        self.credentials = credentials

    def renew(self, credentials: Credentials) -> None:
        """Shows another certificate from now on. Raises Unavailable for one that cannot be used."""
        for context in (self.server, self.client):
            _load(context, credentials)
        self.credentials = credentials


def peer_of(secured: ssl.SSLObject | ssl.SSLSocket | None) -> str:
    """The identity at the other end; empty when it has shown none."""
    shown: Any = (secured.getpeercert() if secured is not None else None) or {}
    names = dict(pair for part in shown.get("subject", ()) for pair in part)
    return str(names.get("commonName", ""))


def refusal_of(identity_id: str, *, kinds: frozenset[str], revoked: Container[str]) -> str | None:
    """Why this identity may not come in here, as a sentence; None: it may. `kinds`: the first letters of those that may."""
    if identity_id.partition("_")[0] not in kinds:
        return f"'{identity_id[:80]}' may not connect here: its certificate is of another kind of process."
    if identity_id in revoked:
        return f"'{identity_id}' has been removed from this installation."
    return None


def notice_silence(sock: socket.socket | None) -> None:
    """Lets the kernel end a connection whose other machine is gone, within half a minute. Nothing happens for a socket that knows no such thing."""
    if sock is None:
        return
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            ("TCP_KEEPIDLE", SILENT_SECONDS),
            ("TCP_KEEPINTVL", PROBE_SECONDS),
            ("TCP_KEEPCNT", PROBES),
            ("TCP_USER_TIMEOUT", UNANSWERED_MILLISECONDS),
        ):
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _context(protocol: int, credentials: Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # both ends are ours
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET  # a session that is resumed shows no certificate
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0
    _load(context, credentials)
    return context


def _load(context: ssl.SSLContext, credentials: Credentials) -> None:
    try:
        context.load_verify_locations(cadata=credentials.authority)
        load_chain(context, credentials.certificate, credentials.key)
    except (OSError, ValueError) as error:
        raise Unavailable(f"The certificate of this process cannot be used: {error}") from error
