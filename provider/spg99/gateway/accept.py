"""One accepted connection until its client has logged in. Here: driving wire/login.py with a socket, TLS and a clock.

Not here: the order of the steps and what is answered (wire/login.py), what follows (session.py).
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, TypeVar

from spg99 import log
from spg99.errors import Fault, Internal, Spg99Error
from spg99.gateway.client_stream import PlainStream, TlsStream
from spg99.gateway.session import Session
from spg99.gateway.worker_context import WorkerContext
from spg99.ids import new_id
from spg99.protocol.gateway import Credentials
from spg99.wire import login, messages, proxy_protocol, scram, scram_exchange
from spg99.wire.login import ClientLeft
from spg99.wire.startup import CancelRequest, printable

TLS_SHUTDOWN_SECONDS: Final = 2.0
TOO_SLOW: Final = ("57014", "The log-in took too long.")

T = TypeVar("T")
_log = log.get("gateway")


class HalfOpenConnection:
    """One accepted socket until its client has logged in. `on_done` is called once, when it is no longer half-open."""

    def __init__(
        self,
        context: WorkerContext,
        sock: socket.socket,
        address: str,
        *,
        on_done: Callable[[HalfOpenConnection], None],
    ) -> None:
        self._context = context
        self._address = address
        self._on_done: Callable[[HalfOpenConnection], None] | None = on_done
        self._loop = asyncio.get_running_loop()
        self._stream: PlainStream | TlsStream = PlainStream(sock)
        self._credentials: Credentials | None = None
        self._request_id = new_id("req")
        self._deadline = self._loop.time() + context.settings.startup_seconds
        self._task = self._loop.create_task(self._run())

    def abort(self) -> None:
        """Closes at once: there are too many like it, or the gateway ends."""
        self._task.cancel()
        self._done()

    def terminate(self, sqlstate: str, sentence: str) -> None:
        """Closes with a reason, where the client is far enough to read it."""
        if isinstance(self._stream, TlsStream):
            self._stream.send(messages.error_response(sqlstate, sentence))
            self._stream.close()
        self.abort()

    async def _run(self) -> None:
        log.bind_request(self._request_id)
        try:
            async with asyncio.timeout_at(self._deadline):
                via_proxy = self._address in self._context.proxies
                self._context.counters.accepted("proxy" if via_proxy else "direct")
                if via_proxy:
                    client_address = await self._drive(proxy_protocol.read_header())
                    self._address = client_address or self._address
                outcome = await self._drive(self._login())
            if isinstance(outcome, CancelRequest):
                assert self._context.cancel is not None
                await self._context.cancel(outcome)
            else:
                await self._serve(outcome)
                return
        except TimeoutError:
            # In plain text nobody is waiting for a sentence: whoever says nothing there is no client.
            if isinstance(self._stream, TlsStream):
                self._context.counters.error(TOO_SLOW[0])
                self._stream.send(messages.error_response(*TOO_SLOW))
        except ClientLeft:
            pass
        except Spg99Error as error:
            self._context.counters.error(error.sqlstate)
            write = _log.info if error.fault is Fault.USER else _log.warning
            write("a client was refused", address=self._address, sqlstate=error.sqlstate, error=str(error))
        except OSError as error:
            _log.debug("a connection was lost before its log-in", address=self._address, error=str(error))
        except asyncio.CancelledError:
            self._close(abort=isinstance(self._stream, PlainStream))
            raise
        except Exception:  # noqa: BLE001 - the gateway's edge: the client gets an answer, the log the reason
            _log.exception("a log-in failed", address=self._address)
            self._context.counters.error(Internal.sqlstate)
            self._stream.send(messages.error_response(Internal.sqlstate, Session.FAILED))
        self._close()

    def _close(self, *, abort: bool = False) -> None:
        if abort:
            self._stream.abort()
        else:
            self._stream.close()
        self._done()

    def _done(self) -> None:
        if self._on_done is not None:
            on_done, self._on_done = self._on_done, None
            on_done(self)

    async def _serve(self, client: login.LoggedIn) -> None:
        assert self._credentials is not None, "nobody logs in without"
        assert isinstance(self._stream, TlsStream), "nor in plain text"
        session = Session(self._context, self._stream, self._address, client, self._credentials, self._request_id)
        self._done()
        await session.run()

    # Carrying out the steps of the log-in.

    def _login(self) -> login.Steps[login.LoggedIn | CancelRequest]:
        return login.log_in(
            monotonic=self._loop.time,
            nonce=base64.b64encode(secrets.token_bytes(scram_exchange.NONCE_BYTES)).decode(),
            mock_secret=self._context.mock_secret,
        )

    async def _drive(self, steps: login.Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    answer = await self._carry_out(step)
                except Spg99Error as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            outcome: T = end.value
            return outcome
        finally:
            steps.close()

    async def _carry_out(self, step: login.Step) -> Any:
        match step:
            case login.Receive(bytes_max, peek, wait):
                if isinstance(self._stream, TlsStream):
                    return await self._stream.receive()
                return await self._stream.receive(bytes_max, peek=peek, wait=wait)
            case login.Send(data):
                self._stream.send(data)
            case login.StartTls():
                return await self._start_tls()
            case login.FindUser(user, again):
                return await self._find_user(user, again=again)
            case login.PasswordFailed(user):
                self._context.parent.notify("password_failed", pg_user=printable(user), address=self._address)
            case login.Wait(seconds):
                await asyncio.sleep(seconds)
        return None

    async def _start_tls(self) -> login.Tls:
        assert isinstance(self._stream, PlainStream), "TLS begins once"
        tls = self._context.tls
        stream = TlsStream()
        try:
            await self._loop.connect_accepted_socket(
                lambda: stream,
                self._stream.socket,
                ssl=tls.context,
                ssl_handshake_timeout=self._context.settings.startup_seconds,
                ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS,
            )
        except ssl.SSLError as error:
            raise ConnectionError(str(error)) from error
        self._stream = stream
        # Whatever is awaited by then, the verdict on a password or a compute: nobody waits for it any more.
        stream.on_lost = self._task.cancel
        ssl_object: ssl.SSLObject = stream.transport.get_extra_info("ssl_object")
        return login.Tls(ssl_object.selected_alpn_protocol(), tls.end_point_hash)

    async def _find_user(self, user: bytes, *, again: bool) -> login.Account:
        # A name that is not UTF-8 is nobody's: its printable form has signs that no user of ours may have.
        answer = await self._context.parent.call(
            "credentials", pg_user=printable(user), address=self._address, again=again
        )
        if answer["credentials"] is None:
            return login.Account(None, answer["delay_seconds"])
        self._credentials = Credentials.model_validate(answer["credentials"])
        return login.Account(scram.parse_verifier(self._credentials.scram_verifier), answer["delay_seconds"])
