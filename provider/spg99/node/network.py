"""Lets Gateways and safekeepers of other machines through to the computes of this node. Here: who may come in and to which compute, and the bytes both
ways. Not here: TLS (tls/mutual.py), the first words (wire/preface.py), the computes (computes.py).

PostgreSQL itself listens on unix sockets only: it knows no certificates here, and nobody who has none gets as far as it. A connection is let through
once, to one compute of one term. It ends with the compute's, or when either machine is silent for half a minute.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from spg99 import log
from spg99.errors import ProtocolViolation
from spg99.node.computes import Computes
from spg99.node.folder import NodeFolder
from spg99.node.following import BACKEND_PORT
from spg99.node.writer import Writer
from spg99.postgres.cluster import wal_socket_of
from spg99.processes.own_certificate import OwnCertificate
from spg99.protocol.tasks import ComputeStart
from spg99.tls.listener import HttpsListener
from spg99.tls.mutual import notice_silence, peer_of
from spg99.wire import preface
from spg99.wire.preface import Preface, Refused

PREFACE_SECONDS_MAX: Final = 10.0
UNTAKEN_BYTES_MAX: Final = 256 * 1024
_TARGETS: Final = {"gw": "clients", "sk": "wal"}
"""What each kind of process may ask for."""
ONLY_OURS: Final = "This port is for Gateways and safekeepers of the same installation only."

_log = log.get("network")


class Network:
    """The connections of other machines to this node's computes."""

    def __init__(self, folder: NodeFolder, computes: Computes, certificate: OwnCertificate) -> None:
        self.computes = computes
        self._folder = folder
        self.certificate = certificate
        self.connections: set[Connection] = set()
        self._listeners: list[HttpsListener] = []

    def begin(self, listeners: list[socket.socket]) -> None:
        """Takes connections that come to these sockets."""
        for listener in listeners:
            made = HttpsListener(listener, lambda: Connection(self), self.certificate.server_context, only=ONLY_OURS)
            self._listeners.append(made)

    def revoke(self, identity_ids: list[str]) -> None:
        """None of these is let in any more, and what stands of them ends."""
        self.certificate.revoked = frozenset(identity_ids)
        for connection in list(self.connections):
            if connection.peer_id in self.certificate.revoked:
                connection.abort()

    async def end(self) -> None:
        """Takes no more and ends those that stand."""
        for listener in self._listeners:
            listener.close()
        for connection in list(self.connections):
            connection.abort()
        for listener in self._listeners:
            await listener.wait_closed()

    def admit(self, asked: Preface, peer_id: str) -> Path | Refused:
        """The unix socket of the compute that one may be let through to, or why not."""
        kind = peer_id.partition("_")[0]
        if asked.target != _TARGETS.get(kind):
            return Refused("forbidden", f"'{peer_id[:80]}' may not ask for this.")
        found = self._found(asked)
        if found is None:
            return Refused("not_here", "The compute does not run on this node (any more).")
        if found.writer_term != asked.writer_term:
            return Refused("stale", f"The compute has term {found.writer_term}, not {asked.writer_term}.")
        folder = self._folder.socket_dir(asked.compute_id)
        if asked.target == "clients":
            return folder / f".s.PGSQL.{BACKEND_PORT}"
        if found.kept is None or peer_id not in found.kept.addresses:
            return Refused("forbidden", f"'{peer_id[:80]}' does not keep this database's WAL.")
        return wal_socket_of(folder) / f".s.PGSQL.{BACKEND_PORT}"

    def _found(self, asked: Preface) -> Writer | ComputeStart | None:
        """What is known of a compute that runs; for safekeepers also of one that is being started, which lets clients in only with them."""
        compute = self.computes.find(asked.compute_id)
        if compute is not None:
            return compute.record
        keeping = self.computes.keeping
        start = keeping.starting.get(asked.compute_id) if keeping is not None and asked.target == "wal" else None
        return start.order if start is not None else None


class Connection(asyncio.Protocol):
    """One connection from another machine, from the end of its handshake on."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._reader = preface.QuestionReader()
        self._transport: asyncio.Transport | None = None
        self._inner: _Inner | None = None
        self._joining: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.peer_id = ""
        """Who is at the other end."""
        self._late = bytearray()

    def abort(self) -> None:
        """Ends it at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over: who is there?"""
        self._transport = cast(asyncio.Transport, transport)
        self._network.connections.add(self)
        notice_silence(transport.get_extra_info("socket"))
        self._transport.set_write_buffer_limits(high=UNTAKEN_BYTES_MAX)
        secured = transport.get_extra_info("ssl_object")
        self.peer_id = peer_of(secured)
        if (reason := self._network.certificate.refusal(secured, kinds=frozenset(_TARGETS))) is not None:
            self._refuse(Refused("forbidden", reason))
            return
        self._timer = asyncio.get_running_loop().call_later(PREFACE_SECONDS_MAX, self.abort)

    def data_received(self, data: bytes) -> None:
        """The question, and then what is meant for the compute."""
        if self._inner is not None:
            self._inner.write(data)
            return
        assert self._transport is not None
        if self._transport.is_closing():
            return
        if self._joining is not None:
            self._late += data
            return
        try:
            asked = self._reader.feed(data)
        except ProtocolViolation as error:
            self._refuse(Refused("malformed", error.message))
            return
        if asked is not None:
            self._transport.pause_reading()
            self._joining = asyncio.get_running_loop().create_task(self._join(asked))

    async def _join(self, asked: Preface) -> None:
        assert self._transport is not None
        found = self._network.admit(asked, self.peer_id)
        if isinstance(found, Refused):
            self._refuse(found)
            return
        loop = asyncio.get_running_loop()
        try:
            _, inner = await loop.create_unix_connection(lambda: _Inner(self._outer), str(found))
        except OSError as error:
            # It is starting, stopping, or being asked whether it is in use: the one who comes again finds out.
            self._refuse(Refused("not_here", f"The compute takes no connections now ({error.strerror or error})."))
            return
        self._stop_timer()
        if self._transport.is_closing():
            inner.close()
            return
        self._inner = inner
        self._transport.write(preface.answer(None))
        if early := self._reader.rest + self._late:
            inner.write(early)
        self._transport.resume_reading()
        inner.resume()

    def _outer(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    def _refuse(self, refused: Refused) -> None:
        assert self._transport is not None
        _log.info("a connection was refused", peer_id=self.peer_id, code=refused.code, reason=refused.reason)
        self._stop_timer()
        if not self._transport.is_closing():
            self._transport.write(preface.answer(refused))
            self._transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause_writing(self) -> None:
        """The other machine takes no more: the compute is not read."""
        if self._inner is not None:
            self._inner.pause()

    def resume_writing(self) -> None:
        """It takes again."""
        if self._inner is not None:
            self._inner.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """What it had sent still goes to the compute."""
        self._stop_timer()
        self._network.connections.discard(self)
        if self._inner is not None:
            self._inner.close()


class _Inner(asyncio.Protocol):
    """The compute's side of one connection; quiet until it is joined."""

    def __init__(self, outer: Callable[[], asyncio.Transport]) -> None:
        self._outer = outer()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=UNTAKEN_BYTES_MAX)
        self._transport.pause_reading()

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def pause(self) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._outer.write(data)

    def pause_writing(self) -> None:
        if not self._outer.is_closing():
            self._outer.pause_reading()

    def resume_writing(self) -> None:
        if not self._outer.is_closing():
            self._outer.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._outer.close()
