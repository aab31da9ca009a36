"""The whole log-in without a socket: every cut of the client's bytes, every refusal, and what its time says."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.examples import examples
from spg99.errors import ProtocolViolation, Spg99Error, Unauthorized, Unavailable, WrongPassword
from spg99.wire import login, messages
from spg99.wire.login import ClientLeft, LoggedIn
from spg99.wire.messages import error_fields, frame
from spg99.wire.scram import Verifier, build_verifier, parse_verifier
from spg99.wire.scram_exchange import PLAIN, PLUS
from spg99.wire.startup import SSL_REQUEST, CancelRequest, cancel_request, startup_message
from unit.wire.scram_client import ScramClient

HASH = hashlib.sha256(b"our certificate").digest()
VERIFIER = parse_verifier(build_verifier("pencil", salt=b"0123456789abcdef", iterations=7))
GSS_REQUEST = struct.pack("!II", 8, 80877104)
STARTUP = startup_message({b"user": b"tnt_x", b"database": b"app"})
HELLO = b"\x16\x03\x01 the client's TLS handshake"


@dataclass
class Client:
    """A client that knows the right answers, unless told otherwise."""

    opening: bytes = SSL_REQUEST
    startup: bytes = STARTUP
    password: str = "pencil"
    plus: bool = False
    rest: bytes = b""
    """What it says right after its proof."""
    sends: Callable[[bytes], bytes | None] = lambda sent: None
    """Other words than the right ones for what it was sent."""
    scram: ScramClient = field(init=False)

    def __post_init__(self) -> None:
        self.scram = (
            ScramClient(self.password, gs2="p=tls-server-end-point,,", binding=HASH)
            if self.plus
            else ScramClient(self.password)
        )

    def answer(self, sent: bytes) -> bytes:
        """Its next words, for what the server just sent."""
        if (other := self.sends(sent)) is not None:
            return other
        if sent == b"S":
            return HELLO
        if sent == b"N":
            return SSL_REQUEST
        code = int.from_bytes(sent[5:9])
        if sent[:1] == b"R" and code == 10:
            first = self.scram.first()
            mechanism = (PLUS if self.plus else PLAIN).encode()
            return frame(b"p", mechanism + b"\0" + struct.pack("!i", len(first)) + first)
        if sent[:1] == b"R" and code == 11:
            return frame(b"p", self.scram.final(sent[9:])) + self.rest
        return b""


@dataclass
class Run:
    """What a log-in came to."""

    outcome: object
    sent: bytes
    steps: list[str]
    waited_seconds: float
    left: bytes
    """Bytes of the client that nobody took."""


def run(
    client: Client,
    cuts: Iterator[int] | None = None,
    *,
    known: bool = True,
    delay_seconds: float = 0.0,
    alpn: str | None = None,
    hash: bytes | None = HASH,
    find: Spg99Error | None = None,
    check_seconds: float = 0.003,
    renewed: Verifier | None = None,
) -> Run:
    """Drives one log-in; `cuts` says how many bytes come at a time (all that are there when it is None)."""
    now, waiting, sent, steps, waited = 0.0, client.opening, b"", [], 0.0
    secure = False

    def monotonic() -> float:
        return now

    def carry_out(step: login.Step) -> Any:
        nonlocal now, waiting, sent, waited, secure
        match step:
            case login.Receive(bytes_max, peek, _):
                assert bytes_max > 0
                data = waiting[: min(bytes_max, next(cuts) if cuts else len(waiting))]
                if not peek:
                    waiting = waiting[len(data) :]
                return data
            case login.Send(data):
                sent += data
                waiting += client.answer(data)
            case login.StartTls():
                assert not secure, "once"
                assert waiting == HELLO, "not a byte of the handshake was taken"
                secure, waiting = True, client.startup
                return login.Tls(alpn, hash)
            case login.FindUser(again=True) if renewed is not None:
                return login.Account(renewed if known else None)
            case login.FindUser():
                now += check_seconds
                if find is not None:
                    raise find
                return login.Account(VERIFIER if known else None, delay_seconds)
            case login.Wait(seconds):
                assert seconds >= 0
                now += seconds
                waited += seconds
        return None

    generator = login.log_in(monotonic=monotonic, nonce="server-nonce", mock_secret=b"mock")
    try:
        step = next(generator)
        while True:
            steps.append(type(step).__name__)
            try:
                answer = carry_out(step)
            except Spg99Error as error:
                step = generator.throw(error)
            else:
                step = generator.send(answer)
    except StopIteration as end:
        return Run(end.value, sent, steps, waited, waiting)
    except Spg99Error as error:
        return Run(error, sent, steps, waited, waiting)


def error_of(sent: bytes) -> dict[str, str]:
    """The last message, which must be an ErrorResponse."""
    at = sent.rindex(b"E\0\0")
    assert int.from_bytes(sent[at + 1 : at + 5]) == len(sent) - at - 1
    return error_fields(sent[at + 5 :])


def test_the_right_password() -> None:
    for client, wanted in ((Client(), "n"), (Client(plus=True), "p"), (Client(opening=GSS_REQUEST), "n")):
        done = run(client)
        assert isinstance(done.outcome, LoggedIn), wanted
        assert done.outcome.startup.user == b"tnt_x"
        assert done.outcome.final == messages.authentication_sasl_final(client.scram.expected)
        assert done.outcome.final not in done.sent, "it goes out with the compute's greeting"
        assert done.waited_seconds == 0


def test_a_password_that_was_changed_a_moment_ago_is_checked_against_the_new_one() -> None:
    """The first answer is remembered, from before the change; both have one salt, so the proof says something of both."""
    new = parse_verifier(build_verifier("crayon", salt=VERIFIER.salt, iterations=VERIFIER.iterations))
    done = run(Client(password="crayon"), renewed=new)
    assert isinstance(done.outcome, LoggedIn)
    assert done.steps.count("FindUser") == 2
    other_salt = parse_verifier(build_verifier("crayon", salt=b"another salt 16b", iterations=7))
    for password, renewed in (("pencil?", new), ("crayon", other_salt), ("crayon", VERIFIER)):
        assert isinstance(run(Client(password=password), renewed=renewed).outcome, WrongPassword)
    assert isinstance(run(Client(password="crayon"), renewed=new, known=False).outcome, WrongPassword)


def test_direct_tls() -> None:
    direct = Client(opening=HELLO)
    assert isinstance(run(direct, alpn="postgresql").outcome, LoggedIn)
    for alpn in (None, "h2"):
        done = run(Client(opening=HELLO), alpn=alpn)
        assert isinstance(done.outcome, ProtocolViolation)
        assert "ALPN" in error_of(done.sent)["M"]


def test_what_comes_after_the_proof_is_kept() -> None:
    done = run(Client(rest=b"Q\0\0\0\x0dselect 1\0 and half of the n"))
    assert isinstance(done.outcome, LoggedIn)
    assert done.outcome.rest + done.left == b"Q\0\0\0\x0dselect 1\0 and half of the n"


def same(one: Run, other: Run) -> None:
    assert one.sent == other.sent
    assert one.waited_seconds == other.waited_seconds
    if isinstance(one.outcome, LoggedIn):
        assert isinstance(other.outcome, LoggedIn)
        assert (one.outcome.startup, one.outcome.final) == (other.outcome.startup, other.outcome.final)
        assert one.outcome.rest + one.left == other.outcome.rest + other.left, "no byte is lost or doubled"
    else:
        assert repr(one.outcome) == repr(other.outcome)


CLIENTS: dict[str, Callable[[], Client]] = {
    "plain": Client,
    "plus": lambda: Client(plus=True),
    "gss first": lambda: Client(opening=GSS_REQUEST),
    "pipelines": lambda: Client(rest=b"Q\0\0\0\x0dselect 1\0"),
    "wrong password": lambda: Client(password="pencil2"),
    "cancels inside TLS": lambda: Client(startup=cancel_request(4711, b"k" * 32)),
    "cancels in plain text": lambda: Client(opening=cancel_request(4711, b"abcd")),
    "no TLS": lambda: Client(opening=STARTUP),
    "HTTP": lambda: Client(opening=b"GET / HTTP/1.1\r\n\r\n"),
    "TLS in TLS": lambda: Client(startup=SSL_REQUEST),
    "protocol 3.2": lambda: Client(startup=struct.pack("!II", 24, (3 << 16) | 9999) + b"user\0tnt_x\0\0" + b"\0" * 3),
    "names that are not UTF-8": lambda: Client(startup=startup_message({b"user": b"\xe9", b"database": b"\xff\xfe"})),
    "leaves": lambda: Client(sends=lambda sent: b"X\0\0\0\4" if sent[:1] == b"R" else None),
    "asks before it may": lambda: Client(sends=lambda sent: b"Q\0\0\0\5\0" if sent[:1] == b"R" else None),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_every_cut_is_the_same_as_all_at_once(name: str) -> None:
    """A cut after each number of bytes, again and again: one byte at a time up to all at once."""
    whole = run(CLIENTS[name]())
    for size in range(1, 140):
        same(whole, run(CLIENTS[name](), iter(lambda size=size: size, None)))  # type: ignore[misc, call-overload]


@given(name=st.sampled_from(sorted(CLIENTS)), sizes=st.lists(st.integers(1, 60), min_size=1, max_size=20))
@settings(max_examples=examples(200), deadline=None)
def test_random_cuts(name: str, sizes: list[int]) -> None:
    def cuts() -> Iterator[int]:
        while True:
            yield from sizes

    same(run(CLIENTS[name]()), run(CLIENTS[name](), cuts()))


@given(opening=st.binary(max_size=40), startup=st.binary(max_size=60), said=st.binary(max_size=80))
@settings(max_examples=examples(300), deadline=None)
def test_any_bytes_end_in_an_answer(opening: bytes, startup: bytes, said: bytes) -> None:
    """Nothing but our own errors, and none without a word to who is still there."""
    for client in (
        Client(opening=opening + b"\xff"),
        Client(startup=startup),
        Client(sends=lambda sent: said if sent[:1] == b"R" else None),
    ):
        if client.opening[:1] == b"\x16":
            continue
        done = run(client)
        if isinstance(done.outcome, Spg99Error) and not isinstance(done.outcome, ClientLeft):
            assert error_of(done.sent)["C"] == done.outcome.sqlstate
        else:
            assert isinstance(done.outcome, LoggedIn | CancelRequest | ClientLeft)


def test_injected_bytes_after_the_request_for_tls() -> None:
    for request in (SSL_REQUEST, GSS_REQUEST):
        done = run(Client(opening=request + STARTUP))
        assert isinstance(done.outcome, ProtocolViolation)
        assert "Unencrypted data" in error_of(done.sent)["M"]
        assert done.sent[:1] == b"E", "TLS was not agreed to"


def test_a_client_that_goes_away_hears_nothing_more() -> None:
    for client in (Client(opening=b""), Client(opening=SSL_REQUEST[:5]), Client(startup=STARTUP[:9])):
        done = run(client)
        assert isinstance(done.outcome, ClientLeft)
        assert b"E\0\0" not in done.sent


def test_the_control_plane_away_is_an_answer() -> None:
    done = run(Client(), find=Unavailable("The password cannot be checked right now."))
    assert isinstance(done.outcome, Unavailable)
    assert error_of(done.sent) == {
        "S": "FATAL", "V": "FATAL", "C": "57P03", "M": "The password cannot be checked right now.",
    }  # fmt: skip


def test_plain_text_is_refused_with_the_way() -> None:
    done = run(Client(opening=STARTUP))
    assert isinstance(done.outcome, Unauthorized)
    assert "sslmode=require" in error_of(done.sent)["M"]


@given(delay_seconds=st.sampled_from([0.0, 0.05, 0.7, 2.0]), check_seconds=st.floats(0, 0.5))
@settings(deadline=None)
def test_unknown_user_and_wrong_password_cannot_be_told_apart(delay_seconds: float, check_seconds: float) -> None:
    """The same steps, the same bytes (but for the salt, which is the user's own each time), the same moment."""
    wrong = run(Client(password="x"), delay_seconds=delay_seconds)
    unknown = run(Client(password="x"), known=False, delay_seconds=delay_seconds, check_seconds=check_seconds)
    also_unknown = run(Client(), known=False, delay_seconds=delay_seconds)
    for done in (wrong, unknown, also_unknown):
        assert isinstance(done.outcome, WrongPassword)
        assert done.steps == wrong.steps
        assert error_of(done.sent)["M"] == 'password authentication failed for user "tnt_x"'
        assert error_of(done.sent)["C"] == "28P01"
        assert done.steps.index("PasswordFailed") < len(done.steps) - 2, "counted before the client can know"
    seconds = wrong.waited_seconds + 0.003, unknown.waited_seconds + check_seconds  # looked for again, after the proof
    for each in seconds:
        assert each * 10 == pytest.approx(round(each * 10)), "a whole step"
    assert seconds[0] >= delay_seconds


def test_a_delay_holds_back_right_and_wrong_alike() -> None:
    right = run(Client(), delay_seconds=0.7)
    assert isinstance(right.outcome, LoggedIn)
    assert right.waited_seconds == 0.7


def test_the_name_in_the_sentence_is_printable() -> None:
    done = run(Client(startup=startup_message({b"user": b"caf\xe9"}), password="x"), known=False)
    assert error_of(done.sent)["M"] == 'password authentication failed for user "caf\\xe9"'
