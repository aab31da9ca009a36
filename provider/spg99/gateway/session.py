"""One client that has logged in: finding its compute, the relay, the end.

Here: waiting for the compute, every failure as an SQLSTATE with a sentence. Not here: the log-in (accept.py), which
compute (checkouts.py in the parent), bytes back and forth (relay.py).
"""

from __future__ import annotations

import asyncio
from typing import Final

from spg99 import log, spans
from spg99.errors import CannotWake, Fault, Internal, NotFound, Spg99Error, TooManyConnections
from spg99.gateway import backend
from spg99.gateway.backend import Backend, BackendGone, BackendRefused
from spg99.gateway.cancel import CancelTarget
from spg99.gateway.client_stream import TlsStream
from spg99.gateway.relay import Relay
from spg99.gateway.worker_context import WorkerContext
from spg99.protocol.gateway import Checkout, Credentials
from spg99.wire import messages
from spg99.wire.login import LoggedIn
from spg99.wire.startup import printable

RECONNECT_SECONDS: Final = 0.02
RECONNECT_SECONDS_MAX: Final = 0.25

CLIENT_ADDRESS_SETTING: Final = b"spg99.client_addr"
"""What a session reads its client's address from (`current_setting`): PostgreSQL sees only our socket."""

_log = log.get("gateway")


class Session:
    """A client with its compute. `ended` is done when both connections are over."""

    FAILED: Final = "The gateway failed to serve this connection; it was logged."

    def __init__(
        self,
        context: WorkerContext,
        stream: TlsStream,
        address: str,
        client: LoggedIn,
        credentials: Credentials,
        request_id: str,
    ) -> None:
        self._context = context
        self._stream = stream
        self._address = address
        self._logged_in = client
        self._credentials = credentials
        self._request_id = request_id
        self._number = next(context.numbers)
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._relay: Relay | None = None
        self._cancel_key: tuple[int, bytes] | None = None
        self._holds_place = False
        self.ended: asyncio.Future[None] = self._loop.create_future()

    # What the worker calls.

    def terminate(self, sqlstate: str, sentence: str) -> None:
        """Ends the session with a reason for the client."""
        if self._relay is not None:
            self._relay.terminate(sqlstate, sentence)
        else:
            self._refuse(sqlstate, sentence)
            if self._task is not None:
                self._task.cancel()

    def abort(self) -> None:
        """Ends the session at once."""
        if self._relay is not None:
            self._relay.backend.abort()
        self._stream.abort()

    async def run(self) -> None:
        """Returns once the relay stands; the session goes on until `ended`."""
        self._task = asyncio.current_task()
        try:
            await self._join()
        except BackendRefused as refused:
            self._context.counters.error(refused.sqlstate)
            self._stream.send(refused.message)
        except Spg99Error as error:
            write = _log.info if error.fault is Fault.USER else _log.warning
            write("a client was refused", address=self._address, sqlstate=error.sqlstate, error=str(error))
            self._refuse(error.sqlstate, error.message)
        except Exception:  # noqa: BLE001 - the gateway's edge: the client gets an answer, the log the reason
            _log.exception("a session failed", address=self._address)
            self._refuse(Internal.sqlstate, self.FAILED)
        finally:
            if self._relay is None:
                self._stream.close()
                self._end()

    # The compute.

    async def _join(self) -> None:
        context = self._context
        if len(context.sessions) >= context.settings.connections_max:
            raise TooManyConnections("Too many connections: this gateway serves no more of them.")
        context.sessions[self._number] = self
        spans.mark("gateway.logged_in")
        checkout, session = await self._find()
        spans.mark("gateway.joined")
        client = self._stream.transport
        client.pause_reading()
        greeting = session.after_key
        if session.pid:
            target = CancelTarget(backend.place_of(checkout), session.pid, session.secret)
            self._cancel_key = context.cancel_keys.give(target, long=self._logged_in.startup.minor_version >= 2)
            greeting = session.before_key + messages.backend_key_data(*self._cancel_key) + session.after_key
        self._relay = Relay(client, session.transport, on_end=self._relay_ended)
        context.counters.session_started(self._relay, checkout.db_id)
        late = self._logged_in.rest + self._stream.take()
        self._relay.start(self._logged_in.final + greeting, late_from_client=late, late_from_backend=session.late)

    async def _find(self) -> tuple[Checkout, Backend]:
        """A session on the database's compute, whichever that is; the client sees only that it takes longer."""
        startup, credentials = self._logged_in.startup, self._credentials
        deadline = self._loop.time() + self._context.settings.connect_seconds
        parameters = startup.parameters | {
            b"user": credentials.pg_user.encode(),
            b"database": startup.database,
            CLIENT_ADDRESS_SETTING: self._address.encode(),
        }
        try:
            database = startup.database.decode()
        except UnicodeDecodeError:
            raise NotFound(f'database "{printable(startup.database)}" does not exist') from None
        failed_compute_id: str | None = None
        pause = RECONNECT_SECONDS
        self._holds_place = True
        while True:
            answer = await self._context.parent.call(
                "connect",
                session=self._number,
                request_id=self._request_id,
                address=self._address,
                pg_user=credentials.pg_user,
                tenant_id=credentials.tenant_id,
                database=database,
                connections_max=credentials.max_connections,
                database_connections_max=credentials.max_connections_of_database,
                seconds=deadline - self._loop.time(),
                failed_compute_id=failed_compute_id,
            )
            checkout = Checkout.model_validate(answer)
            parameters[b"database"] = checkout.database.encode()  # in its files it may have another name
            spans.mark("gateway.knows_compute")
            try:
                async with asyncio.timeout_at(deadline):
                    session = await backend.open_session(
                        backend.place_of(checkout), parameters, network=self._context.network_context
                    )
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
        if self._stream.transport.is_closing():
            return
        self._context.counters.error(sqlstate)
        self._stream.send(messages.error_response(sqlstate, sentence))
        self._stream.close()

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
