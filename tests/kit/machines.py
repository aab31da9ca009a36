"""Identities of several machines with certificates of one authority, and a connection between two of them. Here: the kit. Not here: what is right."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from spg99.clock import SystemClock
from spg99.processes.listening import listen
from spg99.processes.own_certificate import OwnCertificate
from spg99.protocol.certificates import CertificateIssued, CertificateRequest
from spg99.tls import authority
from spg99.tls.authority import Authority, Credentials
from spg99.tls.listener import HttpsListener
from spg99.tls.mutual import MutualTls, peer_of

AUTHORITY = authority.make(datetime.now(UTC))


def credentials_of(identity_id: str, *, signed_by: Authority = AUTHORITY, ago: timedelta = timedelta()) -> Credentials:
    """What this identity was given so long ago."""
    key, request = authority.make_request(identity_id)
    certificate = authority.sign(signed_by, request, identity_id, datetime.now(UTC) - ago)
    return Credentials(certificate, key, signed_by.certificate)


async def certificate_of(identity_id: str, folder: Path) -> OwnCertificate:
    """As its process has it, issued just now."""

    async def ask(request: CertificateRequest) -> CertificateIssued:
        signed = authority.sign(AUTHORITY, request.request, identity_id, datetime.now(UTC))
        return CertificateIssued(certificate=signed, authority=AUTHORITY.certificate)

    made = OwnCertificate(identity_id, folder / f"{identity_id}.json", ask, SystemClock())
    await made.turn()
    return made


class Saying(asyncio.Protocol):
    """Says who is at the other end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(peer_of(transport.get_extra_info("ssl_object")).encode() + b"\n")


async def hello(server: MutualTls, client: MutualTls | ssl.SSLContext, *, named: str) -> str:
    """Connects to a server that should be `named`; answers whom the server saw. Raises OSError when one of them does not trust the other."""
    (listener,) = listen("127.0.0.1", 0)
    serving = HttpsListener(listener, Saying, lambda: server.server)
    try:
        context = client.client if isinstance(client, MutualTls) else client
        port = listener.getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=named)
        try:
            line = await asyncio.wait_for(reader.readline(), 10)
        finally:
            writer.close()
        if not line:
            raise ConnectionResetError("closed without a word")
        return line.decode().strip()
    finally:
        serving.close()
        await serving.wait_closed()
        listener.close()
