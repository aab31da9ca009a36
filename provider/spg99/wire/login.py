"""A client's log-in as a generator: bytes in, bytes out, from the first byte of a connection to its right password.

Here: the order of the steps, what is answered and when, every refusal as bytes. Not here: sockets and TLS themselves,
whose password it is, clocks (all three are handed in by whoever drives it: gateway/accept.py), what SCRAM says
(scram_exchange.py), what follows (the session).

The driver resumes the generator with what each step asks for (`Step`). It ends with LoggedIn or CancelRequest, or raises
the Spg99Error that the client has been sent already.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from spg99.errors import ProtocolViolation, Spg99Error, Unauthorized, WrongPassword
from spg99.wire import messages, scram, scram_exchange
from spg99.wire.messages import FrameScanner
from spg99.wire.scram import Verifier
from spg99.wire.scram_exchange import ServerExchange
from spg99.wire.startup import (
    TLS_HANDSHAKE_BYTE,
    CancelRequest,
    GssEncRequest,
    SslRequest,
    Startup,
    StartupReader,
    printable,
)

ALPN: Final = "postgresql"
FAILURE_STEP_SECONDS: Final = 0.1
"""A failed log-in is answered at a whole multiple of this after its proof came, so that its time says nothing: the client chooses
when it sends the proof, and so could choose how near a multiple of anything earlier is."""
ONLY_TLS: Final = (
    "This server accepts only TLS connections: add sslmode=require (or verify-full) to the connection string."
)
INJECTED: Final = "Unencrypted data arrived after the request for TLS: somebody may have tampered with the connection."
_HEAD_BYTES: Final = 8
_READ_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Receive:
    """Resume with the next 1 to `bytes_max` bytes, b"" when there will be none. Before TLS no byte more may be taken from
    the socket. `peek` leaves them there; without `wait`, b"" says that none is there now."""

    bytes_max: int
    peek: bool = False
    wait: bool = True


@dataclass(frozen=True, slots=True)
class Send:
    """Send these bytes to the client."""

    data: bytes


@dataclass(frozen=True, slots=True)
class StartTls:
    """Do the handshake, as the server; resume with Tls. All that is received and sent afterwards goes through it."""


@dataclass(frozen=True, slots=True)
class Tls:
    """What the handshake has come to."""

    alpn: str | None
    end_point_hash: bytes | None
    """`tls-server-end-point` of RFC 5929; None when channel binding cannot be offered."""


@dataclass(frozen=True, slots=True)
class FindUser:
    """Resume with the Account of this user; `again`: as it is now, because the password did not fit what was remembered."""

    user: bytes
    again: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """What a password is checked against."""

    verifier: Verifier | None = field(repr=False)
    """None: there is no such user."""
    delay_seconds: float = 0.0
    """How long the verdict is held back, right or wrong alike."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Resume after this time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class PasswordFailed:
    """The password was wrong or the user unknown; the client does not know it yet."""

    user: bytes


Step = Receive | Send | StartTls | FindUser | Wait | PasswordFailed


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The client has shown its password."""

    startup: Startup
    final: bytes = field(repr=False)
    """Our last SASL message, which is not sent yet: it goes out with what the compute says."""
    rest: bytes = field(repr=False)
    """Bytes that came after the client's last message of the log-in."""


T = TypeVar("T")
Steps = Generator[Step, Any, T]


def log_in(*, monotonic: Callable[[], float], nonce: str, mock_secret: bytes) -> Steps[LoggedIn | CancelRequest]:
    """One client's log-in. `nonce` is printable and fresh; `mock_secret` makes what unknown users are asked with.

    Raises ClientLeft when the bytes end, else the Spg99Error that was sent.
    """
    try:
        tls = yield from _until_tls()
        if isinstance(tls, CancelRequest):
            return tls
        startup, rest = yield from _startup()
        if isinstance(startup, CancelRequest):
            return startup
        if startup.minor_version > messages.NEWEST_MINOR_VERSION or startup.protocol_options:
            yield Send(messages.negotiate_protocol_version(startup.minor_version, startup.protocol_options))
        scanner = FrameScanner(bytes_max=messages.SASL_MESSAGE_BYTES_MAX)
        scanner.feed(rest)
        exchange, delay_seconds = yield from _exchange(startup.user, tls.end_point_hash, scanner, nonce, mock_secret)
        proof = yield from _password_message(scanner)
        arrived = monotonic()
        if delay_seconds:
            yield Wait(delay_seconds)
        try:
            final = yield from _final(exchange, startup.user, proof)
        except WrongPassword:
            yield PasswordFailed(startup.user)
            steps = math.floor((monotonic() - arrived) / FAILURE_STEP_SECONDS) + 1
            yield Wait(max(0.0, arrived + steps * FAILURE_STEP_SECONDS - monotonic()))
            raise WrongPassword(f'password authentication failed for user "{printable(startup.user)}"') from None
        return LoggedIn(startup, final, scanner.rest)
    except ClientLeft:
        raise
    except Spg99Error as error:
        yield Send(messages.error_response(error.sqlstate, error.message))
        raise


class ClientLeft(Unauthorized):
    """The client ended the connection during the log-in."""


def _until_tls() -> Steps[Tls | CancelRequest]:
    """The packets in plain text, byte by byte as far as they belong to us, so that nothing a stranger sent before the
    handshake can slip in behind it."""
    reader = StartupReader()
    while True:
        if reader.buffered_bytes == 0 and (yield Receive(1, peek=True)) == bytes([TLS_HANDSHAKE_BYTE]):
            tls = yield from _started_tls()
            if tls.alpn != ALPN:
                raise ProtocolViolation(f"A direct TLS connection must negotiate the ALPN protocol '{ALPN}'.")
            return tls
        # The first eight bytes say which packet it is. What follows a request for TLS is not ours to read.
        missing = _HEAD_BYTES - reader.buffered_bytes
        packet = reader.feed((yield from _received(missing if missing > 0 else _READ_BYTES)))
        if packet is None:
            continue
        if isinstance(packet, CancelRequest):
            # Today's libpq asks in plain text on a connection that may not be the one it was asked to encrypt; the key is
            # all it shows. The answer is the same for every key: the connection closes.
            return packet
        if isinstance(packet, Startup):
            raise Unauthorized(ONLY_TLS)
        if (yield Receive(1, peek=True, wait=False)):
            raise ProtocolViolation(INJECTED)
        if isinstance(packet, GssEncRequest):
            yield Send(b"N")
        else:
            yield Send(b"S")
            return (yield from _started_tls())


def _started_tls() -> Steps[Tls]:
    tls: Tls = yield StartTls()
    return tls


def _startup() -> Steps[tuple[Startup | CancelRequest, bytes]]:
    """The packet inside TLS, and what came after it."""
    reader = StartupReader()
    while (packet := reader.feed((yield from _received(_READ_BYTES)))) is None:
        pass
    if isinstance(packet, SslRequest | GssEncRequest):
        raise ProtocolViolation("Encryption was asked for on a connection that is encrypted.")
    return packet, reader.rest


def _exchange(
    user: bytes, end_point_hash: bytes | None, scanner: FrameScanner, nonce: str, mock_secret: bytes
) -> Steps[tuple[ServerExchange, float]]:
    """SCRAM up to our challenge, and how long the verdict is to be held back. Known and unknown users take the same steps."""
    offered = [scram_exchange.PLAIN] if end_point_hash is None else [scram_exchange.PLUS, scram_exchange.PLAIN]
    yield Send(messages.authentication_sasl(offered))
    account: Account = yield FindUser(user)
    verifier = account.verifier or scram.mock_verifier(user, secret=mock_secret)
    mechanism, first = messages.sasl_initial_response((yield from _password_message(scanner)))
    exchange = ServerExchange(
        verifier, mechanism=mechanism, nonce=nonce, end_point_hash=end_point_hash, doomed=account.verifier is None
    )
    yield Send(messages.authentication_sasl_continue(exchange.first(first)))
    return exchange, account.delay_seconds


def _final(exchange: ServerExchange, user: bytes, proof: bytes) -> Steps[bytes]:
    """Our last word to the client, or WrongPassword."""
    try:
        final = exchange.final(proof)
    except WrongPassword:
        # It may have been changed a moment ago, and nobody had heard of it here when it was looked for.
        now: Account = yield FindUser(user, again=True)
        if now.verifier is None or not exchange.renew(now.verifier):
            raise
        final = exchange.final(proof)
    return messages.authentication_sasl_final(final)


def _password_message(scanner: FrameScanner) -> Steps[bytes]:
    while (message := scanner.take()) is None:
        scanner.feed((yield from _received(_READ_BYTES)))
    kind, body = message
    if kind == messages.TERMINATE[:1]:
        raise ClientLeft("The client ended the log-in.")
    if kind != messages.PASSWORD:
        raise ProtocolViolation("A message of the log-in was expected.")
    return body


def _received(bytes_max: int) -> Steps[bytes]:
    data: bytes = yield Receive(bytes_max)
    if not data:
        raise ClientLeft("The client closed the connection during the log-in.")
    return data
