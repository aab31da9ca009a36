"""What the client's tests share: a certificate nobody trusts, and both ways that a request can go."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from spg99.client import loopless
from spg99.client.transport import Transport


@dataclass
class Certificate:
    """A certificate that signs itself, for one host name."""

    pem: Path
    context: ssl.SSLContext


@pytest.fixture
def certified(tmp_path: Path) -> Callable[[str], Certificate]:
    """Makes a server's TLS context for a host name; who takes the file for a CA trusts it."""

    def make(host: str, *, days: int = 1) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        begins = datetime.now(UTC) - timedelta(days=3)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(begins)
            .not_valid_after(begins + timedelta(days=3 + days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = tmp_path / f"{host}.pem"
        pem.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return Certificate(pem, context)

    return make


@pytest.fixture
def self_signed(certified: Callable[[str], Certificate]) -> ssl.SSLContext:
    """A server's TLS context with a certificate that nobody trusts."""
    return certified("stranger").context


@pytest.fixture(params=["loop", "thread"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each exchange in the test's event loop, or in a thread that has none (sockets): nobody may see a difference."""
    if request.param == "thread":
        whole = Transport.exchange

        async def in_a_thread(self: Transport, *given: Any, **named: Any) -> Any:
            work = whole(self, *given, **named)
            if self.needs_httpx:
                return await work
            return await asyncio.to_thread(loopless.run, work, _never)

        monkeypatch.setattr(Transport, "exchange", in_a_thread)
    return str(request.param)


def _never(_work: Any, _context: Any) -> Any:
    raise AssertionError("one exchange needs no loop")
