"""The tunnel of `dbs export` and `import`: what is asked of a server before a program's bytes go there, and what is believed of it.

Not here: which TLS a URL asks for (test_cli_source.py), whole dumps (tests/integration/commands/test_dump.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spg99.commands.tunnel import Server, _serve
from spg99.tls import certificates
from spg99.tls.certificates import CertificateFiles

START_UP = (8).to_bytes(4) + (3 << 16).to_bytes(4)
READY = b"Z\0\0\0\5I"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    """That of a server on this machine, and the CA that has signed it."""
    return certificates.ensure(tmp_path_factory.mktemp("tls"), names=["localhost"], now=datetime.now(UTC))


@contextlib.asynccontextmanager
async def postgres(
    certificate: CertificateFiles, *, answer: bytes = b"S", greeting: bytes = READY
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers the wish for TLS with `answer`, takes a start-up packet, and greets; what it has read in the clear."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    read: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            read.append(await reader.readexactly(8))
            writer.write(answer)
            if answer[:1] == b"S":
                await writer.start_tls(context)
                await reader.readexactly(8)
            else:
                read.append(await reader.readexactly(8))
            writer.write(greeting)
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1], read
    finally:
        listening.close()


async def heard(server: Server, folder: Path, *, first: bytes = START_UP) -> bytes:
    """What a program hears through the tunnel."""
    listening = await asyncio.start_unix_server(lambda r, w: _serve(server, r, w), folder / "s")
    reader, writer = await asyncio.open_unix_connection(folder / "s")
    try:
        writer.write(first)
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        listening.close()


@pytest.fixture
def trusting(certificate: CertificateFiles) -> Callable[[int], Server]:
    """A server with TLS whose certificate and name are checked."""
    return lambda port: Server("localhost", port, ssl.create_default_context(cafile=certificate.ca))


async def test_a_server_with_tls_is_reached(
    certificate: CertificateFiles, trusting: Callable[[int], Server], tmp_path: Path
) -> None:
    async with postgres(certificate) as (port, _):
        assert await heard(trusting(port), tmp_path) == READY


async def test_what_stands_in_the_clear_behind_the_yes_to_tls_is_not_the_servers(
    certificate: CertificateFiles, trusting: Callable[[int], Server], tmp_path: Path
) -> None:
    """Somebody between the two could have put it there (CVE-2021-23222 in libpq)."""
    async with postgres(certificate, answer=b"S" + READY) as (port, _):
        said = await heard(trusting(port), tmp_path)
    assert said.startswith(b"E") and b"cannot be reached" in said


async def test_nothing_is_said_to_a_server_without_tls_that_was_to_have_it(
    certificate: CertificateFiles, trusting: Callable[[int], Server], tmp_path: Path
) -> None:
    async with postgres(certificate, answer=b"N") as (port, read):
        said = await heard(trusting(port), tmp_path)
    assert said.startswith(b"E") and b"it has no TLS" in said and START_UP not in read


async def test_a_certificate_that_is_not_trusted_is_refused(certificate: CertificateFiles, tmp_path: Path) -> None:
    async with postgres(certificate) as (port, _):
        said = await heard(Server("localhost", port, ssl.create_default_context()), tmp_path)
    assert said.startswith(b"E") and b"certificate verify failed" in said


async def test_without_tls_where_that_may_be(certificate: CertificateFiles, tmp_path: Path) -> None:
    optional = ssl.create_default_context(cafile=certificate.ca)
    async with postgres(certificate, answer=b"N") as (port, _):
        assert await heard(Server("localhost", port, optional, is_tls_optional=True), tmp_path) == READY


async def test_a_program_that_asks_for_tls_is_answered_no_and_may_not_say_what_it_likes(
    certificate: CertificateFiles, trusting: Callable[[int], Server], tmp_path: Path
) -> None:
    async with postgres(certificate) as (port, _):
        wish = (8).to_bytes(4) + (80877103).to_bytes(4)
        assert await heard(trusting(port), tmp_path, first=wish + START_UP) == b"N" + READY
        assert await heard(trusting(port), tmp_path, first=b"GET / HTTP/1.1\r\n\r\n") == b""


async def test_the_offer_to_bind_a_password_to_tls_is_left_out(
    certificate: CertificateFiles, trusting: Callable[[int], Server], tmp_path: Path
) -> None:
    def offer(*names: bytes) -> bytes:
        body = (10).to_bytes(4) + b"".join(name + b"\0" for name in names) + b"\0"
        return b"R" + (len(body) + 4).to_bytes(4) + body

    async with postgres(certificate, greeting=offer(b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256")) as (port, _):
        assert await heard(trusting(port), tmp_path) == offer(b"SCRAM-SHA-256")
