"""SCRAM-SHA-256 against the RFC's own example, against psycopg's libpq, and against clients that cheat."""

from __future__ import annotations

import base64
import hashlib

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.examples import examples
from spg99.errors import BadRequest, ProtocolViolation, Spg99Error, Unauthorized, WrongPassword
from spg99.wire import scram
from spg99.wire.scram import Verifier, build_verifier, mock_verifier, parse_verifier, saslprep
from spg99.wire.scram_exchange import PLAIN, PLUS, ServerExchange
from unit.wire.scram_client import ScramClient

HASH = hashlib.sha256(b"our certificate").digest()
VERIFIER = parse_verifier(build_verifier("pencil", salt=b"0123456789abcdef"))


def exchange(mechanism: str = PLAIN, *, hash: bytes | None = HASH, doomed: bool = False) -> ServerExchange:
    return ServerExchange(VERIFIER, mechanism=mechanism, nonce="server-nonce", end_point_hash=hash, doomed=doomed)


def test_example_of_rfc_7677() -> None:
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    server = ServerExchange(
        parse_verifier(build_verifier("pencil", salt=salt)), mechanism=PLAIN, nonce="%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    first = server.first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    assert first == b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    final = server.final(
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert final == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@given(password=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
@settings(max_examples=examples(150), deadline=None)
def test_same_verifier_as_libpq(password: str) -> None:
    """libpq's own verifier for a password (with its SASLprep), rebuilt by us from its salt, is the same text."""
    connection = psycopg.pq.PGconn.connect_start(b"host=/nowhere")
    theirs = connection.encrypt_password(password.encode(), b"someone", b"scram-sha-256").decode()
    verifier = parse_verifier(theirs)
    assert build_verifier(password, salt=verifier.salt, iterations=verifier.iterations) == theirs


def test_verifier_round_trip() -> None:
    text = build_verifier("secret", salt=b"s" * 16, iterations=5000)
    assert text.startswith("SCRAM-SHA-256$5000:")
    assert str(parse_verifier(text)) == text
    assert build_verifier("secret") != build_verifier("secret"), "a salt of its own each time"
    assert "secret" not in repr(parse_verifier(text))


@pytest.mark.parametrize(
    "text",
    ["", "md5abc", "SCRAM-SHA-256$4096:salt", "SCRAM-SHA-256$0:c2FsdA==$QQ==:QQ==", "SCRAM-SHA-256$4096:!$QQ==:QQ=="],
)
def test_what_is_no_verifier(text: str) -> None:
    with pytest.raises(BadRequest, match="not a SCRAM-SHA-256 verifier"):
        parse_verifier(text)


@given(st.text())
def test_parse_verifier_never_crashes(text: str) -> None:
    try:
        parse_verifier("SCRAM-SHA-256$" + text)
    except BadRequest:
        return


@pytest.mark.parametrize(
    ("given_", "prepared"),
    [
        ("plain ascii\x07", "plain ascii\x07"),
        ("I\u00adX", "IX"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b\u200bc", "a b c"),
        ("\u00e9\x07", "\u00e9\x07"),
        ("\u0627\u06281", "\u0627\u06281"),
        ("\u00ad", "\u00ad"),
    ],
    ids=[
        "ascii",
        "soft-hyphen",
        "nfkc",
        "roman",
        "spaces",
        "control-taken-as-is",
        "bidi-taken-as-is",
        "empty-taken-as-is",
    ],
)
def test_saslprep(given_: str, prepared: str) -> None:
    assert saslprep(given_) == prepared


def test_right_and_wrong_password() -> None:
    client = ScramClient("pencil")
    server = exchange(hash=None)
    answer = server.final(client.final(server.first(client.first())))
    assert answer == client.expected
    client, server = ScramClient("pencil2"), exchange(hash=None)
    with pytest.raises(WrongPassword):
        server.final(client.final(server.first(client.first())))


def test_channel_binding() -> None:
    client, server = ScramClient("pencil", gs2="p=tls-server-end-point,,", binding=HASH), exchange(PLUS)
    assert server.final(client.final(server.first(client.first()))) == client.expected


def test_man_in_the_middle_with_another_certificate() -> None:
    other = hashlib.sha256(b"another certificate").digest()
    client, server = ScramClient("pencil", gs2="p=tls-server-end-point,,", binding=other), exchange(PLUS)
    with pytest.raises(Unauthorized, match="channel binding check failed"):
        server.final(client.final(server.first(client.first())))


def test_client_without_binding_is_fine() -> None:
    for gs2, server in (("n,,", exchange()), ("n,,", exchange(hash=None)), ("y,,", exchange(hash=None))):
        client = ScramClient("pencil", gs2=gs2)
        assert server.final(client.final(server.first(client.first()))) == client.expected


def test_downgrade_is_noticed() -> None:
    """'y' says: I could bind, but you did not offer it. We did, so somebody took it out."""
    with pytest.raises(Unauthorized, match="list of mechanisms may have been changed"):
        exchange().first(ScramClient("pencil", gs2="y,,").first())


def test_gs2_flag_changed_on_the_way() -> None:
    """The header is repeated under the proof: an 'n' sent and a 'y' meant do not fit."""
    server = exchange(hash=None)
    client = ScramClient("pencil", gs2="y,,")
    first = server.first(b"n,," + client.bare.encode())
    with pytest.raises(Unauthorized, match="channel binding check failed"):
        server.final(client.final(first))


def test_replayed_nonce() -> None:
    client, server = ScramClient("pencil"), exchange(hash=None)
    final = client.final(server.first(client.first()))
    again = ServerExchange(VERIFIER, mechanism=PLAIN, nonce="another", end_point_hash=None)
    again.first(client.first())
    with pytest.raises(ProtocolViolation, match="nonce"):
        again.final(final)


def test_unknown_user_cannot_be_told_from_a_wrong_password() -> None:
    verifier = mock_verifier(b"tnt_x", secret=b"key")
    assert verifier == mock_verifier(b"tnt_x", secret=b"key"), "asked twice, the same salt"
    assert verifier.salt != mock_verifier(b"tnt_y", secret=b"key").salt
    assert verifier.salt != mock_verifier(b"tnt_x", secret=b"other").salt
    assert (verifier.iterations, len(verifier.salt)) == (scram.ITERATIONS, scram.SALT_BYTES)


def test_doomed_exchange_fails_even_with_the_right_proof() -> None:
    client, server = ScramClient("pencil"), exchange(hash=None, doomed=True)
    with pytest.raises(WrongPassword):
        server.final(client.final(server.first(client.first())))


def test_mechanism_that_was_not_offered() -> None:
    for mechanism, hash in (("MD5", HASH), (PLUS, None)):
        with pytest.raises(ProtocolViolation, match="not offered"):
            exchange(mechanism, hash=hash)


@given(first=st.binary(max_size=200), final=st.binary(max_size=300), plus=st.booleans())
def test_exchange_never_crashes(first: bytes, final: bytes, plus: bool) -> None:
    server = exchange(PLUS if plus else PLAIN)
    try:
        server.first(first)
        server.final(final)
    except Spg99Error:
        return
    raise AssertionError("random bytes must never be let in")


@given(final=st.binary(max_size=300), parts=st.lists(st.text(max_size=20), max_size=6))
def test_final_message_never_crashes(final: bytes, parts: list[str]) -> None:
    for message in (final, ",".join(parts).encode(errors="replace"), b"c=biws,r=" + final):
        server = exchange()
        server.first(b"n,,n=,r=abc")
        with pytest.raises(Spg99Error):
            server.final(message)


def test_verifier_is_a_value() -> None:
    assert Verifier(1, b"a", b"b" * 32, b"c" * 32) == Verifier(1, b"a", b"b" * 32, b"c" * 32)
