"""The certificate authority of an installation's own processes: making it, making requests, signing them. Here: bytes to bytes, with time handed
in. Not here: where its key is kept (control_plane/fleet), who may have a certificate (there, too), what is spoken with one (mutual.py).

A certificate's name is the identity that its process got when it enrolled, so its kind stands in the first letters. A Gateway's and a pageserver's can begin
connections only; a node's and a safekeeper's can be connected to, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from spg99.errors import BadRequest
from spg99.tls.certificates import BACKDATE, ca_certificate, key_pem

LIFE: Final = timedelta(hours=24)
"""Of a process's certificate: as long as computes can be reached without a Control Plane, and no longer than a stolen one may last."""
SERVERS: Final = frozenset({"node", "sk"})
"""Kinds of identities that are connected to."""
_COMMON_NAME: Final = "SPG99 machines"
_REQUEST_BYTES_MAX: Final = 4096


@dataclass(frozen=True)
class Authority:
    """Certificate and key (PEM) of the authority."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Credentials:
    """What a process shows and whom it trusts (PEM)."""

    certificate: str
    key: str = field(repr=False)
    authority: str


def make(now: datetime) -> Authority:
    """A new authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = ca_certificate(key, _COMMON_NAME, now)
    return Authority(certificate.public_bytes(serialization.Encoding.PEM).decode(), key_pem(key).decode())


def make_request(identity_id: str) -> tuple[str, str]:
    """A new key and the request for its certificate (PEM both). The key never leaves the process."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity_id)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return key_pem(key).decode(), request.public_bytes(serialization.Encoding.PEM).decode()


def sign(authority: Authority, request: str, identity_id: str, now: datetime) -> str:
    """A certificate (PEM) of this identity for the key in a request; what name the request asks for counts for nothing. Raises BadRequest for
    what is no request."""
    try:
        if len(request) > _REQUEST_BYTES_MAX:
            raise ValueError("too long")
        asked = x509.load_pem_x509_csr(request.encode())
        if not asked.is_signature_valid:
            raise ValueError("not signed with its own key")
        public_key = asked.public_key()
        if not isinstance(public_key, ec.EllipticCurvePublicKey):
            raise ValueError("not a key on a curve")
    except (ValueError, InvalidSignature) as error:
        raise BadRequest(f"The request for a certificate is not valid: {error}.") from error
    ca_key = serialization.load_pem_private_key(authority.key.encode(), password=None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey), "it is one of ours"
    ca = x509.load_pem_x509_certificate(authority.certificate.encode())
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if identity_id.partition("_")[0] in SERVERS:
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity_id)]))
        .issuer_name(ca.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(identity_id)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def ends_at(certificate: str) -> datetime:
    """When a certificate (PEM) ends. Raises ValueError for what is none."""
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc
