"""A CA of our own and a server certificate on disk, made at first start and renewed in time.

Here: making and renewing files. Not here: using them (context.py).
"""

from __future__ import annotations

import fcntl
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from spg99 import log
from spg99.atomic_write import make_folders, write_file
from spg99.errors import BadRequest, Unavailable

CA_LIFE: Final = timedelta(days=3650)
SERVER_LIFE: Final = timedelta(days=365)
RENEW_BEFORE: Final = timedelta(days=30)
BACKDATE: Final = timedelta(hours=1)
"""A client whose clock is a little behind must not refuse a certificate made this minute."""

_log = log.get("tls")


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where certificate chain and key are; `ca` is what a client needs for `sslmode=verify-full`, if it is ours."""

    cert: Path
    key: Path
    ca: Path | None


def given_or_made(
    cert_file: Path | None, key_file: Path | None, *, folder: Path, names: str, now: datetime, subject: str
) -> CertificateFiles:
    """The operator's files where they are given, else ours in `folder`; `names` is comma separated.

    Raises BadRequest when only one of the two is given, Unavailable as `ensure` does.
    """
    if (cert_file is None) != (key_file is None):
        raise BadRequest("tls_cert_file and tls_key_file belong together: give both or neither.")
    if cert_file is not None and key_file is not None:
        return CertificateFiles(cert_file, key_file, None)
    split = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    return ensure(folder, names=split, now=now, subject=subject)


def ensure(folder: Path, *, names: list[str], now: datetime, subject: str = "SPG99 gateway") -> CertificateFiles:
    """The files in `folder`, made or renewed when needed. Safe when several processes do it at once.

    Raises Unavailable when a certificate is needed and the key of the CA that clients trust is lost, and when of a CA that was
    there nothing can be read: a new one in its place would lock every client out without a word.
    """
    make_folders(folder, mode=0o755)
    files = CertificateFiles(folder / "server.crt", folder / "server.key", folder / "ca.crt")
    with _locked(folder / ".lock"):
        ca_cert, ca_key = _ensure_ca(folder, now, subject)
        if not _still_good(files, ca_cert, names, now):
            if ca_key is None:
                raise _lost(folder, "A new TLS certificate is needed, and the key of the CA is missing or damaged")
            key = _read_key(files.key) or ec.generate_private_key(ec.SECP256R1())
            cert = _server_certificate(key, ca_cert, ca_key, names, now, subject)
            # The key does not change when a certificate is renewed, so no reader ever sees a pair that does not fit.
            write_file(files.key, key_pem(key), mode=0o600)
            write_file(files.cert, _cert_pem(cert) + _cert_pem(ca_cert), mode=0o644)
    return files


def _ensure_ca(folder: Path, now: datetime, subject: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey | None]:
    """The CA and its key; None for a key that is lost while its certificate stands, or stands in the chain we serve.

    Raises Unavailable when there was a CA and neither its key nor its certificate can be read.
    """
    cert_path, key_path, chain_path = folder / "ca.crt", folder / "ca.key", folder / "server.crt"
    key, cert = _read_key(key_path), _read_cert(cert_path)
    if cert is None and key is None and any(path.exists() for path in (cert_path, key_path, chain_path)):
        if (cert := _ca_in(chain_path)) is None:
            raise _lost(folder, "Key and certificate of the CA are damaged or missing")
        _log.warning("the certificate of the CA was lost and is taken from the chain", file=str(cert_path))
        write_file(cert_path, _cert_pem(cert), mode=0o644)
    if cert is not None:
        if key is None or cert.public_key() != key.public_key():
            _log.warning("the key of the CA is missing: this certificate cannot be renewed", key=str(key_path))
            return cert, None
        if cert.not_valid_after_utc - now > SERVER_LIFE:
            return cert, key
        key = None  # its life is over: a new CA has a new key
    # A certificate that is lost comes back with the same key and name, so what clients hold goes on working.
    key = key or ec.generate_private_key(ec.SECP256R1())
    cert = ca_certificate(key, f"{subject} CA", now)
    write_file(key_path, key_pem(key), mode=0o600)
    write_file(cert_path, _cert_pem(cert), mode=0o644)
    return cert, key


def ca_certificate(key: ec.EllipticCurvePrivateKey, common_name: str, now: datetime) -> x509.Certificate:
    """The certificate of a CA of this name, which signs certificates of no further CA."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _lost(folder: Path, what: str) -> Unavailable:
    return Unavailable(
        f"{what} ({folder / 'ca.key'}, {folder / 'ca.crt'}). Put them back from a copy. Or remove ca.key, ca.crt and server.crt "
        f"in {folder}: then a new CA is made, and every client needs its certificate."
    )


def _ca_in(chain: Path) -> x509.Certificate | None:
    """The CA's certificate in the chain that we serve; None where it cannot be read."""
    try:
        found = x509.load_pem_x509_certificates(chain.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return next((cert for cert in found if cert.issuer == cert.subject), None)


def _server_certificate(
    key: ec.EllipticCurvePrivateKey,
    ca_cert: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    names: list[str],
    now: datetime,
    subject: str,
) -> x509.Certificate:
    issuer_key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(ca_cert.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + SERVER_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_alternative_name(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(issuer_key_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _still_good(files: CertificateFiles, ca_cert: x509.Certificate, names: list[str], now: datetime) -> bool:
    key, cert = _read_key(files.key), _read_cert(files.cert)
    if key is None or cert is None:
        return False
    covered = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        cert.public_key() == key.public_key()
        and cert.issuer == ca_cert.subject
        and _signed_by(cert, ca_cert)
        and cert.not_valid_after_utc - now > RENEW_BEFORE
        and set(covered) == {_alternative_name(name) for name in names}
    )


def _signed_by(cert: x509.Certificate, ca_cert: x509.Certificate) -> bool:
    ca_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(_public_key(ca_cert)).key_identifier
    return cert.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == ca_id


def _public_key(cert: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = cert.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def _alternative_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    """None where there is none, or none of ours (damaged, empty)."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _read_cert(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """As it is written, without a password."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _cert_pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
