"""The arithmetic of the curve P-256: a public key and a signature for a certificate of one run. Not here: its bytes.

Why by hand: importing a library that can do it costs a start 20 ms, this costs 3. What it signs is one certificate which
proves nothing (Terraform trusts exactly the bytes it reads from our stdout); everything that protects the connection is done
by OpenSSL. The time this takes depends on the key, which nobody can measure: it runs once, before anybody connects.
Constants and ECDSA: FIPS 186-5, SP 800-186.
"""

from __future__ import annotations

import os

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
GENERATOR = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_Point = tuple[int, int, int]  # x/z², y/z³
_doubles: list[_Point] = []


def _double(point: _Point) -> _Point:
    x, y, z = point
    delta, gamma = z * z % P, y * y % P
    beta = x * gamma % P
    alpha = 3 * (x - delta) * (x + delta) % P
    x3 = (alpha * alpha - 8 * beta) % P
    return x3, (alpha * (4 * beta - x3) - 8 * gamma * gamma) % P, ((y + z) ** 2 - gamma - delta) % P


def _add(one: _Point, two: _Point) -> _Point:
    x1, y1, z1 = one
    x2, y2, z2 = two
    if not z1:
        return two
    zz1, zz2 = z1 * z1 % P, z2 * z2 % P
    u1, u2 = x1 * zz2 % P, x2 * zz1 % P
    s1, s2 = y1 * z2 * zz2 % P, y2 * z1 * zz1 % P
    if u1 == u2:
        return _double(one) if s1 == s2 else (1, 1, 0)
    h, r = u2 - u1, s2 - s1
    hh = h * h % P
    hhh, v = h * hh % P, u1 * hh % P
    x3 = (r * r - hhh - 2 * v) % P
    return x3, (r * (v - x3) - s1 * hhh) % P, h * z1 * z2 % P


def multiply(factor: int) -> tuple[int, int]:
    """The generator, `factor` times (0 < factor < ORDER)."""
    if not _doubles:
        point: _Point = (*GENERATOR, 1)
        for _ in range(256):
            _doubles.append(point)
            point = _double(point)
    total: _Point = (1, 1, 0)
    for place in range(256):
        if factor >> place & 1:
            total = _add(total, _doubles[place])
    x, y, z = total
    inverse = pow(z, -1, P)
    return x * inverse * inverse % P, y * inverse * inverse * inverse % P


def random_factor() -> int:
    """A number in 1 … ORDER - 1; 64 spare bits make every one equally likely."""
    return int.from_bytes(os.urandom(40), "big") % (ORDER - 1) + 1


def sign(secret: int, digest: bytes) -> tuple[int, int]:
    """ECDSA signature (r, s) of a SHA-256 digest."""
    while True:
        once = random_factor()
        r = multiply(once)[0] % ORDER
        s = pow(once, -1, ORDER) * (int.from_bytes(digest, "big") + r * secret) % ORDER
        if r and s:
            return r, s
