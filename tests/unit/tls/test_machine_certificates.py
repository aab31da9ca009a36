"""Who gets through mutual TLS between machines: identities of one authority, in their time, in their part, and nobody else."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from kit.machines import AUTHORITY, credentials_of, hello
from spg99.errors import BadRequest
from spg99.tls import authority
from spg99.tls.mutual import MutualTls, refusal_of

NODE, GATEWAY, KEEPER = "node_aaaaaaaaaaaaaaaaaaaa", "gw_aaaaaaaaaaaaaaaaaaaa", "sk_aaaaaaaaaaaaaaaaaaaa"


async def test_both_ends_know_who_is_there() -> None:
    node, gateway = MutualTls(credentials_of(NODE)), MutualTls(credentials_of(GATEWAY))
    assert await hello(node, gateway, named=NODE) == GATEWAY


async def test_whoever_checks_all_that_the_standard_asks_for_believes_them_too() -> None:
    """As Python's own default contexts do from 3.13 on: an authority has to say what its key is for."""
    node, gateway = MutualTls(credentials_of(NODE)), MutualTls(credentials_of(GATEWAY))
    for context in (node.server, gateway.client):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert await hello(node, gateway, named=NODE) == GATEWAY


async def test_a_certificate_that_has_ended_lets_nobody_in_or_be_believed() -> None:
    late = authority.LIFE + timedelta(minutes=1)
    with pytest.raises(OSError):
        await hello(MutualTls(credentials_of(NODE)), MutualTls(credentials_of(GATEWAY, ago=late)), named=NODE)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        await hello(MutualTls(credentials_of(NODE, ago=late)), MutualTls(credentials_of(GATEWAY)), named=NODE)


async def test_a_certificate_of_another_installation_is_worth_nothing() -> None:
    other = authority.make(datetime.now(UTC))
    with pytest.raises(OSError):
        await hello(MutualTls(credentials_of(NODE)), MutualTls(credentials_of(GATEWAY, signed_by=other)), named=NODE)
    with pytest.raises(ssl.SSLCertVerificationError):
        await hello(MutualTls(credentials_of(NODE, signed_by=other)), MutualTls(credentials_of(GATEWAY)), named=NODE)


async def test_who_shows_no_certificate_is_not_let_in() -> None:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.load_verify_locations(cadata=AUTHORITY.certificate)
    with pytest.raises(OSError):
        await hello(MutualTls(credentials_of(NODE)), nobody, named=NODE)


async def test_another_node_is_not_taken_for_the_one_that_was_meant() -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        await hello(MutualTls(credentials_of("node_b")), MutualTls(credentials_of(GATEWAY)), named=NODE)


async def test_a_gateways_certificate_cannot_be_an_agents() -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="unsuitable|unsupported"):
        await hello(MutualTls(credentials_of(GATEWAY)), MutualTls(credentials_of(KEEPER)), named=GATEWAY)


async def test_a_renewed_certificate_is_shown_by_the_same_contexts() -> None:
    ending = timedelta(hours=25)
    node, gateway = MutualTls(credentials_of(NODE, ago=ending)), MutualTls(credentials_of(GATEWAY, ago=ending))
    node.renew(credentials_of(NODE))
    gateway.renew(credentials_of(GATEWAY))
    assert await hello(node, gateway, named=NODE) == GATEWAY


def test_the_name_is_the_identitys_whatever_the_request_says() -> None:
    _, request = authority.make_request(NODE)
    signed = x509.load_pem_x509_certificate(authority.sign(AUTHORITY, request, GATEWAY, datetime.now(UTC)).encode())
    assert signed.subject.rfc4514_string() == f"CN={GATEWAY}"


@pytest.mark.parametrize(
    "request_text",
    ["", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", "x" * 5000],
)
def test_what_is_no_request_is_refused(request_text: str) -> None:
    with pytest.raises(BadRequest, match="not valid"):
        authority.sign(AUTHORITY, request_text, NODE, datetime.now(UTC))


def test_kinds_and_removed_ones_are_told_apart() -> None:
    assert refusal_of(GATEWAY, kinds=frozenset({"gw"}), revoked=()) is None
    assert "another kind" in (refusal_of(GATEWAY, kinds=frozenset({"node"}), revoked=()) or "")
    assert "removed" in (refusal_of(GATEWAY, kinds=frozenset({"gw"}), revoked={GATEWAY}) or "")
    assert refusal_of("", kinds=frozenset({"gw"}), revoked=()) is not None
