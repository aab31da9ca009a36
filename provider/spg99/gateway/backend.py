"""Opens a session on a compute. Here: connecting, the compute's greeting, which failures are worth another try.

Not here: which compute (checkouts.py), what follows (relay.py).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from spg99.errors import ProtocolViolation
from spg99.processes import addresses
from spg99.protocol.gateway import Checkout
from spg99.tls.mutual import notice_silence
from spg99.wire import messages, preface
from spg99.wire.messages import FrameScanner
from spg99.wire.preface import Preface, Refused
from spg99.wire.startup import startup_message

NETWORK_SECONDS_MAX: Final = 4.0
"""For a connection to another machine and its handshake; one that takes longer is gone or cut off."""
_GREETING_BYTES_MAX: Final = 1024 * 1024
_PASSING: Final = frozenset({"57P01", "57P02", "57P03"})
"""The compute is starting, stopping or crashed a moment ago: another try will find it or its successor."""


@dataclass(frozen=True, slots=True)
class Remote:
    """How a compute of another machine is reached."""

    node_id: str
    """Whom its agent must show to be."""
    address: str
    """host:port of its agent."""
    compute_id: str
    writer_term: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a compute is."""

    folder: str
    """Of its unix socket."""
    port: int
    remote: Remote | None = None
    """None: on this machine."""


def place_of(checkout: Checkout) -> Place:
    """Where the compute of a checkout is."""
    remote = None
    if checkout.node_address is not None and checkout.node_id is not None:
        remote = Remote(checkout.node_id, checkout.node_address, checkout.compute_id, checkout.writer_term)
    return Place(checkout.backend_addr, checkout.backend_port, remote)


class BackendGone(Exception):
    """No session could be had from this compute now; a fresh checkout may lead to one that answers."""


class BackendRefused(Exception):
    """PostgreSQL itself refused; its own words go to the client."""

    def __init__(self, message: bytes, sqlstate: str) -> None:
        self.message = message
        self.sqlstate = sqlstate
        super().__init__(sqlstate)


@dataclass(slots=True)
class Backend:
    """An open session on a compute, quiet until it is relayed."""

    transport: asyncio.Transport
    before_key: bytes
    """What the compute said before its cancel key: AuthenticationOk, ParameterStatus."""
    after_key: bytes
    pid: int
    secret: bytes = field(repr=False)
    late: bytes
    """Bytes after the first ReadyForQuery."""


class Protocol(asyncio.Protocol):
    """What reads a compute; one that is reached over the network is told once if its agent lets nobody through."""

    def refused(self, error: BackendGone) -> None:
        """Nothing comes after this but the end of the connection."""


P = TypeVar("P", bound=Protocol)


async def connect(place: Place, protocol: P, *, network: ssl.SSLContext | None) -> asyncio.Transport:
    """A connection to a compute: by its unix socket where that can be entered, else through the agent of its node. What is written at once goes with
    the question for it. Raises BackendGone."""
    loop = asyncio.get_running_loop()
    socket_file = f"{place.folder}/.s.PGSQL.{place.port}"
    if place.remote is None or addresses.is_here(socket_file):
        try:
            transport, _ = await loop.create_unix_connection(lambda: protocol, socket_file)
        except OSError as error:
            raise BackendGone(f"the compute does not accept connections ({error.strerror or error})") from error
        return transport
    if network is None:
        raise BackendGone("this Gateway has no certificate yet to reach other machines with")
    remote = place.remote
    host, port = addresses.parted(remote.address, setting="The address of a node")
    try:
        async with asyncio.timeout(NETWORK_SECONDS_MAX):
            transport, _ = await loop.create_connection(
                lambda: _Answer(protocol), host, port, ssl=network, server_hostname=remote.node_id
            )
    except TimeoutError:
        raise BackendGone("the machine of the compute does not answer") from None
    except OSError as error:  # ssl.SSLError is one
        raise BackendGone(f"the machine of the compute cannot be reached ({error.strerror or error})") from error
    notice_silence(transport.get_extra_info("socket"))
    transport.write(preface.question(Preface("clients", remote.compute_id, remote.writer_term)))
    return transport


class _Answer(asyncio.Protocol):
    """Reads whether a node's agent lets us through, and hands the rest to the protocol of the compute."""

    def __init__(self, inner: Protocol) -> None:
        self._inner = inner
        self._reader = preface.AnswerReader()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            answer = self._reader.feed(data)
        except ProtocolViolation as error:
            answer = Refused("malformed", error.message)
        if answer is None:
            return
        if isinstance(answer, Refused):
            self._inner.refused(BackendGone(answer.reason))
            self._transport.close()
            return
        self._transport.set_protocol(self._inner)
        if answer:
            self._inner.data_received(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)


async def open_session(
    place: Place, parameters: Mapping[bytes, bytes], *, network: ssl.SSLContext | None = None
) -> Backend:
    """Logs in at a compute. Raises BackendGone or BackendRefused."""
    protocol = _Greeting()
    transport = await connect(place, protocol, network=network)
    transport.write(startup_message(parameters))
    try:
        return await protocol.ready
    except BaseException:
        transport.abort()
        raise


class _Greeting(Protocol):
    """Reads until the compute is ready for the first query."""

    def __init__(self) -> None:
        self.ready: asyncio.Future[Backend] = asyncio.get_running_loop().create_future()
        self._scanner = FrameScanner(bytes_max=_GREETING_BYTES_MAX)
        self._said = bytearray()
        self._before_key = b""
        self._key: tuple[int, bytes] = (0, b"")
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._scanner.feed(data)
        while not self.ready.done() and (message := self._scanner.take()) is not None:
            self._handle(*message)

    def _handle(self, kind: bytes, body: bytes) -> None:
        assert self._transport is not None
        if kind == messages.BACKEND_KEY_DATA:
            self._key = (int.from_bytes(body[:4]), body[4:])
            self._before_key, self._said = bytes(self._said), bytearray()
            return
        if kind == messages.ERROR_RESPONSE:
            fields = messages.error_fields(body)
            sqlstate, sentence = fields.get("C", "XX000"), fields.get("M", "")
            if sqlstate in _PASSING:
                self._fail(BackendGone(sentence))
            else:
                self._fail(BackendRefused(messages.frame(kind, body), sqlstate))
            return
        if kind == messages.AUTHENTICATION and messages.frame(kind, body) != messages.AUTHENTICATION_OK:
            self._fail(BackendGone("the compute asks the gateway for a password"))
            return
        self._said += messages.frame(kind, body)
        if kind == messages.READY_FOR_QUERY:
            # Nothing is read until the relay takes over, so nothing is lost in between.
            self._transport.pause_reading()
            pid, secret = self._key
            self.ready.set_result(
                Backend(self._transport, self._before_key, bytes(self._said), pid, secret, self._scanner.rest)
            )

    def refused(self, error: BackendGone) -> None:
        self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(BackendGone("the compute closed the connection"))

    def _fail(self, error: Exception) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)
