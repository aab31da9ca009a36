"""A self-signed certificate for `localhost`, made anew for every run, in DER by hand. Not here: the curve (curve.py), TLS.

The form is the one Terraform's own plugins send: an authority of its own, for servers and clients. X.509: RFC 5280.
"""

from __future__ import annotations

import os
import time
from binascii import b2a_base64

from tfplugin import curve

try:  # The bare hash is there without OpenSSL; its module is named differently by version.
    from _sha2 import sha256  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        from hashlib import sha256

VALID_SECONDS = 10 * 365 * 86400
"""No limit for a run, as Terraform's own plugins: the key never leaves the process."""

_SEQUENCE, _SET, _INTEGER, _BITS, _OCTETS, _OID, _UTF8 = 0x30, 0x31, 0x02, 0x03, 0x04, 0x06, 0x0C
_TRUE = b"\x01\x01\xff"


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    if size < 0x80:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def _whole(value: int) -> bytes:
    return _der(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    out = bytearray([first * 40 + second])
    for number in rest:
        part = [number & 0x7F]
        while number := number >> 7:
            part.append(number & 0x7F | 0x80)
        out += bytes(reversed(part))
    return _der(_OID, bytes(out))


def _date(seconds: float) -> bytes:
    when = time.gmtime(seconds)
    if when.tm_year < 2050:
        return _der(0x17, time.strftime("%y%m%d%H%M%SZ", when).encode())
    return _der(0x18, time.strftime("%Y%m%d%H%M%SZ", when).encode())


def _extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    return _der(_SEQUENCE, _oid(oid), _TRUE if critical else b"", _der(_OCTETS, value))


def make(now: float | None = None) -> tuple[bytes, str]:
    """A certificate in DER, and certificate and private key in PEM, one after the other."""
    now = time.time() if now is None else now
    secret = curve.random_factor()
    x, y = curve.multiply(secret)
    point = b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")
    algorithm = _der(_SEQUENCE, _oid("1.2.840.10045.4.3.2"))
    name = _der(
        _SEQUENCE,
        _der(_SET, _der(_SEQUENCE, _oid("2.5.4.10"), _der(_UTF8, b"Terraform provider"))),
        _der(_SET, _der(_SEQUENCE, _oid("2.5.4.3"), _der(_UTF8, b"localhost"))),
    )
    public = _der(
        _SEQUENCE,
        _der(_SEQUENCE, _oid("1.2.840.10045.2.1"), _oid("1.2.840.10045.3.1.7")),
        _der(_BITS, b"\0", point),
    )
    extensions = _der(
        _SEQUENCE,
        _extension("2.5.29.19", _der(_SEQUENCE, _TRUE), critical=True),
        # Digital signature, key encipherment, key agreement, certificate signing.
        _extension("2.5.29.15", _der(_BITS, b"\x02\xac"), critical=True),
        _extension("2.5.29.37", _der(_SEQUENCE, _oid("1.3.6.1.5.5.7.3.2"), _oid("1.3.6.1.5.5.7.3.1"))),
        _extension("2.5.29.17", _der(_SEQUENCE, _der(0x82, b"localhost"), _der(0x87, b"\x7f\0\0\x01"))),
        _extension("2.5.29.14", _der(_OCTETS, sha256(point).digest()[:20])),
    )
    signed = _der(
        _SEQUENCE,
        _der(0xA0, _whole(2)),
        _whole(int.from_bytes(os.urandom(16), "big") | 1),
        algorithm,
        name,
        _der(_SEQUENCE, _date(now - 3600), _date(now + VALID_SECONDS)),
        name,
        public,
        _der(0xA3, extensions),
    )
    r, s = curve.sign(secret, sha256(signed).digest())
    certificate = _der(_SEQUENCE, signed, algorithm, _der(_BITS, b"\0", _der(_SEQUENCE, _whole(r), _whole(s))))
    key = _der(
        _SEQUENCE,
        _whole(1),
        _der(_OCTETS, secret.to_bytes(32, "big")),
        _der(0xA0, _oid("1.2.840.10045.3.1.7")),
        _der(0xA1, _der(_BITS, b"\0", point)),
    )
    return certificate, _pem("CERTIFICATE", certificate) + _pem("EC PRIVATE KEY", key)


def _pem(label: str, der: bytes) -> str:
    text = b2a_base64(der, newline=False).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"
