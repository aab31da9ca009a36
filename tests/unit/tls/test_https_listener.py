"""HTTPS on a real socket: who is verified, which certificate is shown when, and what one reads who speaks plain HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509

from spg99.processes.listening import listen
from spg99.tls import certificates
from spg99.tls.certificates import CertificateFiles
from spg99.tls.context import RENEWAL_CHECK_SECONDS, ServedCertificate, server_context
from spg99.tls.listener import HttpsListener

HTTPS = partial(server_context, protocols=["http/1.1"])
NAMES = ["localhost", "127.0.0.1"]


def made(folder: Path, names: list[str] = NAMES) -> CertificateFiles:
    return certificates.ensure(folder, names=names, now=datetime.now(UTC))


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@asynccontextmanager
async def served(certificate: ServedCertificate[ssl.SSLContext]) -> AsyncIterator[int]:
    (listener,) = listen("127.0.0.1", 0)
    server = HttpsListener(listener, Echo, certificate.current)
    try:
        yield listener.getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        listener.close()


async def serial_shown(port: int, ca: Path) -> int:
    """A verified handshake, some bytes there and back, and the number of the certificate that was shown."""
    context = ssl.create_default_context(cafile=str(ca))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    writer.write(b"hello")
    assert await asyncio.wait_for(reader.readexactly(5), 10) == b"hello"
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return x509.load_der_x509_certificate(shown).serial_number


async def test_a_replaced_certificate_is_shown_to_the_next_connection(tmp_path: Path) -> None:
    files, other = made(tmp_path / "a"), made(tmp_path / "b")
    assert files.ca is not None and other.ca is not None
    own = CertificateFiles(tmp_path / "server.crt", tmp_path / "server.key", None)
    shutil.copy(files.cert, own.cert)
    shutil.copy(files.key, own.key)
    async with served(ServedCertificate(lambda: own, HTTPS)) as port:
        first = await serial_shown(port, files.ca)
        with pytest.raises(ssl.SSLCertVerificationError):
            await serial_shown(port, other.ca)
        shutil.copy(other.cert, own.cert)  # one of two is replaced: the pair does not fit, the former is shown
        assert await serial_shown(port, files.ca) == first
        shutil.copy(other.key, own.key)
        assert await serial_shown(port, other.ca) != first
        own.cert.unlink()
        await serial_shown(port, other.ca)


async def test_ours_is_renewed_by_being_used(tmp_path: Path) -> None:
    now = [0.0]
    names = list(NAMES)
    certificate = ServedCertificate(lambda: made(tmp_path, names), HTTPS, monotonic=lambda: now[0])
    async with served(certificate) as port:
        first = await serial_shown(port, tmp_path / "ca.crt")
        names.append("new.example.com")  # what the next look finds out of date
        assert await serial_shown(port, tmp_path / "ca.crt") == first
        now[0] = RENEWAL_CHECK_SECONDS
        assert await serial_shown(port, tmp_path / "ca.crt") != first


async def test_plain_http_is_answered_in_plain_http(tmp_path: Path) -> None:
    async with served(ServedCertificate(lambda: made(tmp_path), HTTPS)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v2/account HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer geheim\r\n\r\n")
        answer = (await asyncio.wait_for(reader.read(), 10)).decode()
        writer.close()
    assert answer.startswith("HTTP/1.1 400 ") and "https://" in answer and "geheim" not in answer


async def test_whoever_says_nothing_or_nonsense_holds_nobody_up(tmp_path: Path) -> None:
    ca = made(tmp_path).ca
    assert ca is not None
    async with served(ServedCertificate(lambda: made(tmp_path), HTTPS)) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
        broken = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
        for _, writer in broken:
            writer.write(b"\x16\x03\x01\xff\xff nonsense")
        await serial_shown(port, ca)
        for reader, _ in broken:
            with contextlib.suppress(OSError):
                await asyncio.wait_for(reader.read(), 10)
        for _, writer in silent + broken:
            writer.close()


def test_localhost_is_both_loopback_addresses_on_one_port() -> None:
    if not socket.has_ipv6 or not _has_ipv6():
        pytest.skip("this machine has no ::1")
    listeners = listen("localhost", 0)
    try:
        found = {each.getsockname()[0]: each.getsockname()[1] for each in listeners}
        assert set(found) == {"127.0.0.1", "::1"} and len(set(found.values())) == 1
        for address, port in found.items():
            socket.create_connection((address, port), timeout=10).close()
        with pytest.raises(OSError):
            listen("127.0.0.1", found["127.0.0.1"])
    finally:
        for each in listeners:
            each.close()


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
