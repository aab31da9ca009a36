"""The CA and the certificate that a server of ours makes for itself."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from spg99.errors import BadRequest, Unavailable
from spg99.gateway import tls
from spg99.tls import certificates
from spg99.tls.context import CertificatePair

NAMES = ["localhost", "db.example.com", "127.0.0.1", "::1"]
NOW = datetime.now(UTC)


def served(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_made_once(tmp_path: Path) -> None:
    files = certificates.ensure(tmp_path / "tls", names=NAMES, now=NOW)
    before = files.cert.read_bytes()
    assert certificates.ensure(tmp_path / "tls", names=NAMES, now=NOW).cert.read_bytes() == before
    for key in ("server.key", "ca.key"):
        assert stat.S_IMODE((tmp_path / "tls" / key).stat().st_mode) == 0o600
    found = served(files.cert).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == ["localhost", "db.example.com"]
    assert [str(ip) for ip in found.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


@pytest.mark.parametrize("name", NAMES)
def test_a_strict_client_accepts_it(tmp_path: Path, name: str) -> None:
    files = certificates.ensure(tmp_path, names=NAMES, now=NOW)
    assert files.ca is not None
    client = ssl.create_default_context(cafile=str(files.ca))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    shake(client, tls.load(CertificatePair.read(files.cert, files.key)).context, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client, tls.load(CertificatePair.read(files.cert, files.key)).context, "other.example.com")


def shake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    """A whole handshake in memory."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(down, up, server_hostname=name), server.wrap_bio(up, down, server_side=True)]
    while ends:
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                continue


def test_renewed_in_time_with_the_same_key_and_ca(tmp_path: Path) -> None:
    files = certificates.ensure(tmp_path, names=NAMES, now=NOW)
    key, ca = files.key.read_bytes(), (tmp_path / "ca.crt").read_bytes()
    first = served(files.cert)
    later = first.not_valid_after_utc - certificates.RENEW_BEFORE
    certificates.ensure(tmp_path, names=NAMES, now=later - timedelta(hours=1))
    assert served(files.cert) == first
    certificates.ensure(tmp_path, names=NAMES, now=later + timedelta(hours=1))
    assert served(files.cert).not_valid_after_utc > first.not_valid_after_utc
    assert files.key.read_bytes() == key
    assert (tmp_path / "ca.crt").read_bytes() == ca


def test_other_names(tmp_path: Path) -> None:
    files = certificates.ensure(tmp_path, names=["localhost"], now=NOW)
    before = served(files.cert)
    certificates.ensure(tmp_path, names=["localhost", "new.example.com"], now=NOW)
    assert served(files.cert) != before


def test_many_first_starts_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: served(certificates.ensure(tmp_path, names=NAMES, now=NOW).cert), range(16)))
    assert len({c.fingerprint(hashes.SHA256()) for c in made}) == 1


def test_end_point_hash(tmp_path: Path) -> None:
    files = certificates.ensure(tmp_path, names=NAMES, now=NOW)
    assert tls.load(CertificatePair.read(files.cert, files.key)).end_point_hash == served(files.cert).fingerprint(
        hashes.SHA256()
    )


def test_no_channel_binding_with_a_signature_that_names_no_hash(tmp_path: Path) -> None:
    """Ed25519: RFC 5929 leaves the hash undefined, and libpq refuses it, so -PLUS must not be offered."""
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    certificate = (
        builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1)).sign(key, None)
    )
    (tmp_path / "c").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "k").write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    assert tls.load(CertificatePair.read(tmp_path / "c", tmp_path / "k")).end_point_hash is None


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="cannot be used"):
        tls.load(CertificatePair.read(tmp_path / "missing.crt", tmp_path / "missing.key"))
    files = certificates.ensure(tmp_path, names=NAMES, now=NOW)
    with pytest.raises(BadRequest, match="cannot be used"):
        tls.load(CertificatePair.read(files.cert, tmp_path / "ca.key"))


def test_a_lost_key_of_the_ca_is_never_replaced_silently(tmp_path: Path) -> None:
    files = certificates.ensure(tmp_path, names=NAMES, now=NOW)
    ca = (tmp_path / "ca.crt").read_bytes()
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(b""), lambda path: path.write_text("x")):
        damage(tmp_path / "ca.key")
        assert certificates.ensure(tmp_path, names=NAMES, now=NOW).cert.read_bytes() == files.cert.read_bytes()
        with pytest.raises(Unavailable, match=r"ca\.key.*every client"):
            certificates.ensure(tmp_path, names=[*NAMES, "new.example.com"], now=NOW)
        assert (tmp_path / "ca.crt").read_bytes() == ca
        (tmp_path / "ca.key").touch()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "text": lambda path: path.write_text("x"),
}


@pytest.mark.parametrize("key_damage", DAMAGE)
@pytest.mark.parametrize("cert_damage", DAMAGE)
@pytest.mark.parametrize("chain_damage", [None, *DAMAGE])
def test_a_ca_of_which_nothing_is_left_is_never_replaced_silently(
    tmp_path: Path, key_damage: str, cert_damage: str, chain_damage: str | None
) -> None:
    """What is served goes on as long as its chain can be read. Only an empty folder is a first start."""
    files = certificates.ensure(tmp_path, names=NAMES, now=NOW)
    ca, chain = (tmp_path / "ca.crt").read_bytes(), files.cert.read_bytes()
    DAMAGE[key_damage](tmp_path / "ca.key")
    DAMAGE[cert_damage](tmp_path / "ca.crt")
    if chain_damage is None:
        assert certificates.ensure(tmp_path, names=NAMES, now=NOW).cert.read_bytes() == chain
        assert (tmp_path / "ca.crt").read_bytes() == ca
        with pytest.raises(Unavailable, match=r"ca\.key.*every client"):
            certificates.ensure(tmp_path, names=[*NAMES, "new.example.com"], now=NOW)
    else:
        DAMAGE[chain_damage](files.cert)
        if {key_damage, cert_damage, chain_damage} != {"gone"}:
            with pytest.raises(Unavailable, match=r"ca\.key.*every client"):
                certificates.ensure(tmp_path, names=NAMES, now=NOW)
    for name in ("ca.key", "ca.crt", "server.crt"):  # as the message says
        (tmp_path / name).unlink(missing_ok=True)
    certificates.ensure(tmp_path, names=NAMES, now=NOW)
    assert (tmp_path / "ca.crt").read_bytes() != ca


def test_a_lost_certificate_of_the_ca_comes_back_and_old_clients_go_on(tmp_path: Path) -> None:
    certificates.ensure(tmp_path, names=NAMES, now=NOW)
    held = tmp_path / "held-by-clients.crt"
    held.write_bytes((tmp_path / "ca.crt").read_bytes())
    (tmp_path / "ca.crt").unlink()
    files = certificates.ensure(tmp_path, names=[*NAMES, "new.example.com"], now=NOW)
    shake(
        ssl.create_default_context(cafile=str(held)),
        tls.load(CertificatePair.read(files.cert, files.key)).context,
        "new.example.com",
    )
