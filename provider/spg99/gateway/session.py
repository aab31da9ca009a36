"""One client behind TLS, from its start-up message to the relay.

Here: the order of the log-in, and every failure as an SQLSTATE with a sentence. Not here: bytes (wire/), the time before
TLS (accept.py), which compute (checkouts.py in the parent), what follows (relay.py).
"""

from __future__ import annotations

import asyncio
import base64
import math
import secrets
import ssl
from collections.abc import Callable
from typing import Final

from spg99 import log
from spg99.errors import (
    CannotWake,
    Fault,
    Internal,
    ProtocolViolation,
    Spg99Error,
    TooManyConnections,
    Unauthorized,
    WrongPassword,
)
from spg99.gateway import backend
from spg99.gateway.backend import Backend, BackendGone, BackendRefused
from spg99.gateway.cancel import CancelTarget
from spg99.gateway.relay import Relay
from spg99.gateway.tls import ALPN
from spg99.gateway.worker_context import WorkerContext
from spg99.ids import new_id
from spg99.protocol.gateway import Checkout, Credentials
from spg99.wire import messages, scram, scram_exchange
from spg99.wire.messages import FrameScanner
from spg99.wire.scram_exchange import ServerExchange
from spg99.wire.startup import STARTUP_BYTES_MAX, CancelRequest, Startup, StartupReader

FAILURE_STEP_SECONDS: Final = 0.1
"""A failed log-in is answered at a whole multiple of this after it began, so that its time says nothing."""
RECONNECT_SECONDS: Final = 0.02
RECONNECT_SECONDS_MAX: Final = 0.25
_EARLY_BYTES_MAX: Final = 64 * 1024
"""A client that says more than this before it may is not read further until it may."""

_log = log.get("gateway")


class Session(asyncio.Protocol):
    """The protocol of a client's transport until the relay takes over. `on_authenticated` is called after the password."""

    def __init__(
        self,
        context: WorkerContext,
        address: str,
        *,
        direct: bool,
        deadline: float,
        on_authenticated: Callable[[], None],
    ) -> None:
        self._context = context
        self._address = address
        self._direct = direct
        self._deadline = deadline
        self._on_authenticated = on_authenticated
        self._number = next(context.numbers)
        self._request_id = new_id("req")
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._received = b""
        self._data_waiter: asyncio.Future[None] | None = None
        self._relay: Relay | None = None
        self._cancel_key: tuple[int, bytes] | None = None
        self._holds_place = False
        self._scanner = FrameScanner(bytes_max=messages.SASL_MESSAGE_BYTES_MAX)
        self.ended = self._loop.create_future()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS stands."""
        self._transport = transport  # type: ignore[assignment]
        self._task = self._loop.create_task(self._run())

    def data_received(self, data: bytes) -> None:
        """Bytes of the log-in."""
        self._received += data
        if len(self._received) > _EARLY_BYTES_MAX:
            self._client.pause_reading()
        if self._data_waiter is not None and not self._data_waiter.done():
            self._data_waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone before it was joined to a compute."""
        if self._task is not None:
            self._task.cancel()
        self._end()

    # What the worker calls.

    def terminate(self, sqlstate: str, sentence: str) -> None:
        """Ends the session with a reason for the client."""
        if self._relay is not None:
            self._relay.terminate(sqlstate, sentence)
        elif self._transport is not None:
            self._refuse(sqlstate, sentence)
            if self._task is not None:
                self._task.cancel()

    def abort(self) -> None:
        """Ends the session at once."""
        if self._relay is not None:
            self._relay.backend.abort()
        if self._transport is not None:
            self._transport.abort()

    # The log-in.

    @property
    def _client(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    async def _run(self) -> None:
        log.bind_request(self._request_id)
        try:
            try:
                async with asyncio.timeout_at(self._deadline):
                    authenticated = await self._log_in()
            except TimeoutError:
                self._refuse("57014", "The log-in took too long.")
                return
            if authenticated is not None:
                self._on_authenticated()
                await self._join(*authenticated)
        except BackendRefused as refused:
            self._context.counters.error(refused.sqlstate)
            self._client.write(refused.message)
            self._client.close()
        except Spg99Error as error:
            write = _log.info if error.fault is Fault.USER else _log.warning
            write("a client was refused", address=self._address, sqlstate=error.sqlstate, error=str(error))
            self._refuse(error.sqlstate, error.message)
        except asyncio.CancelledError:
            self._client.close()
            raise
        except Exception:  # noqa: BLE001 - the gateway's edge: the client gets an answer, the log the reason
            _log.exception("a session failed", address=self._address)
            self._refuse(Internal.sqlstate, "The gateway failed to serve this connection; it was logged.")

    async def _log_in(self) -> tuple[Startup, Credentials, bytes] | None:
        """Start-up message and password; None when the client only wanted to cancel."""
        self._check_direct()
        startup = await self._startup()
        if isinstance(startup, CancelRequest):
            assert self._context.cancel is not None
            await self._context.cancel(startup)
            self._client.close()
            return None
        if startup.minor_version > messages.NEWEST_MINOR_VERSION or startup.protocol_options:
            self._client.write(messages.negotiate_protocol_version(startup.minor_version, startup.protocol_options))
        began = self._loop.time()
        try:
            credentials, final = await self._authenticate(startup)
        except WrongPassword:
            self._context.parent.notify("password_failed", address=self._address)
            steps = math.floor((self._loop.time() - began) / FAILURE_STEP_SECONDS) + 1
            await asyncio.sleep(began + steps * FAILURE_STEP_SECONDS - self._loop.time())
            raise WrongPassword(f'password authentication failed for user "{startup.user}"') from None
        return startup, credentials, final

    def _check_direct(self) -> None:
        if not self._direct:
            return
        tls: ssl.SSLObject = self._client.get_extra_info("ssl_object")
        if tls.selected_alpn_protocol() != ALPN:
            raise ProtocolViolation(f"A direct TLS connection must negotiate the ALPN protocol '{ALPN}'.")

    async def _startup(self) -> Startup | CancelRequest:
        reader = StartupReader()
        while (packet := reader.feed(await self._bytes())) is None:
            if reader.buffered_bytes > STARTUP_BYTES_MAX:
                raise ProtocolViolation("The start-up message is too long.")
        self._scanner.feed(reader.rest)
        if not isinstance(packet, Startup | CancelRequest):
            raise ProtocolViolation("Encryption was asked for on a connection that is encrypted.")
        return packet

    async def _authenticate(self, startup: Startup) -> tuple[Credentials, bytes]:
        """SCRAM; the credentials of the user and our last word to it."""
        end_point_hash = self._context.tls.end_point_hash
        offered = [scram_exchange.PLAIN] if end_point_hash is None else [scram_exchange.PLUS, scram_exchange.PLAIN]
        self._client.write(messages.authentication_sasl(offered))
        answer = await self._context.parent.call("credentials", pg_user=startup.user, address=self._address)
        known = answer["credentials"] and Credentials.model_validate(answer["credentials"])
        verifier = (
            scram.parse_verifier(known.scram_verifier)
            if known
            else scram.mock_verifier(startup.user, secret=self._context.mock_secret)
        )
        mechanism, first = messages.sasl_initial_response(await self._message(messages.PASSWORD))
        exchange = ServerExchange(
            verifier,
            mechanism=mechanism,
            nonce=base64.b64encode(secrets.token_bytes(scram_exchange.NONCE_BYTES)).decode(),
            end_point_hash=end_point_hash,
            doomed=not known,
        )
        self._client.write(messages.authentication_sasl_continue(exchange.first(first)))
        proof = await self._message(messages.PASSWORD)
        if answer["delay_seconds"]:
            await asyncio.sleep(answer["delay_seconds"])
        final = exchange.final(proof)
        assert isinstance(known, Credentials), "a doomed exchange ends above"
        return known, messages.authentication_sasl_final(final)

    async def _message(self, kind: bytes) -> bytes:
        while (message := self._scanner.take()) is None:
            self._scanner.feed(await self._bytes())
        if message[0] == messages.TERMINATE[:1]:
            raise Unauthorized("The client ended the log-in.")
        if message[0] != kind:
            raise ProtocolViolation("A message of the log-in was expected.")
        return message[1]

    async def _bytes(self) -> bytes:
        while not self._received:
            self._data_waiter = self._loop.create_future()
            await self._data_waiter
        arrived, self._received = self._received, b""
        self._client.resume_reading()
        return arrived

    # The compute.

    async def _join(self, startup: Startup, credentials: Credentials, final: bytes) -> None:
        context = self._context
        if len(context.sessions) >= context.settings.connections_max:
            raise TooManyConnections("Too many connections: this gateway serves no more of them.")
        context.sessions[self._number] = self
        checkout, session = await self._find(startup, credentials)
        self._client.pause_reading()
        greeting = session.after_key
        if session.pid:
            target = CancelTarget(checkout.backend_addr, checkout.backend_port, session.pid, session.secret)
            self._cancel_key = context.cancel_keys.give(target, long=startup.minor_version >= 2)
            greeting = session.before_key + messages.backend_key_data(*self._cancel_key) + session.after_key
        self._relay = Relay(self._client, session.transport, on_end=self._relay_ended)
        context.counters.session_started(self._relay, checkout.db_id)
        late = self._scanner.rest + self._received
        self._relay.start(final + greeting, late_from_client=late, late_from_backend=session.late)

    async def _find(self, startup: Startup, credentials: Credentials) -> tuple[Checkout, Backend]:
        """A session on the database's compute, whichever that is; the client sees only that it takes longer."""
        settings = self._context.settings
        deadline = self._loop.time() + settings.connect_seconds
        parameters = startup.parameters | {"user": credentials.pg_user, "database": startup.database}
        failed_compute_id: str | None = None
        pause = RECONNECT_SECONDS
        self._holds_place = True
        while True:
            answer = await self._context.parent.call(
                "connect",
                session=self._number,
                request_id=self._request_id,
                tenant_id=credentials.tenant_id,
                database=startup.database,
                connections_max=credentials.max_connections,
                seconds=deadline - self._loop.time(),
                failed_compute_id=failed_compute_id,
            )
            checkout = Checkout.model_validate(answer)
            try:
                async with asyncio.timeout_at(deadline):
                    session = await backend.open_session(checkout.backend_addr, checkout.backend_port, parameters)
                if not session.transport.is_closing():
                    return checkout, session
                reason = "the compute closed the connection"
            except BackendGone as gone:
                reason = str(gone)
            except TimeoutError:
                reason = "its compute does not answer"
            if self._loop.time() + pause >= deadline:
                raise CannotWake(f"The database cannot be reached right now: {reason}. Retry in a moment.")
            _log.info("a compute did not answer, asking again", compute_id=checkout.compute_id, reason=reason)
            failed_compute_id = checkout.compute_id
            await asyncio.sleep(pause)
            pause = min(pause * 2, RECONNECT_SECONDS_MAX)

    # The end.

    def _refuse(self, sqlstate: str, sentence: str) -> None:
        if self._client.is_closing():
            return
        self._context.counters.error(sqlstate)
        self._client.write(messages.error_response(sqlstate, sentence))
        self._client.close()

    def _relay_ended(self, relay: Relay) -> None:
        self._context.counters.session_ended(relay)
        self._end()

    def _end(self) -> None:
        if self._cancel_key is not None:
            self._context.cancel_keys.take_back(self._cancel_key)
        if self._holds_place:
            self._holds_place = False
            self._context.parent.notify("closed", session=self._number)
        self._context.sessions.pop(self._number, None)
        if not self.ended.done():
            self.ended.set_result(None)
