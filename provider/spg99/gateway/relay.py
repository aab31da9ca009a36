"""Bytes from the client to the compute and back. Here: the two halves, back-pressure, the end of a session.

Not here: how the two connections were made (session.py, backend.py). This is the hot path: a chunk costs one write.

The contract, which tests/unit/gateway/test_gateway_relay.py holds it to:

- **Order.** What one side sent reaches the other whole, unchanged and in its order: the greeting and what had arrived
  before the relay first, then every chunk as it came. The two directions are independent.
- **Who may put bytes in.** Towards the client: whoever starts the relay, once, before the first relayed byte (`start`);
  and the relay itself, once, as its last word: one ErrorResponse, only where its last chunk shows that the
  stream stands between two messages (where it does not, the connection ends without a word), never after a FATAL of the
  compute's own and never to a client that has said Terminate. Towards the compute: nobody.
- **Who may hold back.** Only a side that does not take: from HIGH_WATER_BYTES not yet taken by one side until it has
  taken most of them, the other side is not read. So a relay holds at most that and one chunk in each direction. The other
  direction goes on. Nobody else pauses a transport: who wants to (pooling, handoff) becomes a second reason here, or the
  two would undo each other.
- **The end.** Client gone: what it had sent goes to the compute, whose connection is then closed. Compute gone: what it had
  sent goes to the client, then the reason, then its connection is closed; where it was found gone by a write, of what
  lies unread by then one HIGH_WATER_BYTES and no more, nothing when the client is gone, too, or when the compute was another machine's (TLS). `terminate`: the reason, then both are closed.
  `on_end` is called once, after the last byte was counted, whichever end came first.
- **Counting.** `from_client.received` and `to_client` are the bytes of the two directions, greeting included, the relay's
  own last word not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from typing import Final

from spg99.wire.messages import TERMINATE, ends_between_messages, ends_with_fatal, error_response

HIGH_WATER_BYTES: Final = 256 * 1024
"""More than this not yet taken by one side, and the other side is not read until it is."""
COMPUTE_LOST: Final = (
    "57P01",
    "The connection to the database was lost: its compute has ended. Connect again, it will be woken.",
)


class Relay:
    """A session in its pure form: two transports that feed each other."""

    __slots__ = ("_ended", "_on_end", "backend", "client", "from_client", "last_to_client", "to_client")

    def __init__(
        self, client: asyncio.Transport, backend: asyncio.Transport, *, on_end: Callable[[Relay], None]
    ) -> None:
        self.client = client
        self.backend = backend
        self.to_client = 0
        """Bytes so far."""
        self.last_to_client = b""
        self._on_end = on_end
        self._ended = False
        self.from_client = ClientHalf(self)
        for transport in (client, backend):
            transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)

    def start(self, greeting: bytes, *, late_from_client: bytes, late_from_backend: bytes) -> None:
        """Joins the two, beginning with what had arrived before."""
        self.client.set_protocol(self.from_client)
        self.backend.set_protocol(BackendHalf(self))
        self.last_to_client = late_from_backend or greeting
        self.to_client += len(greeting) + len(late_from_backend)
        self.client.write(greeting + late_from_backend)
        if late_from_client:
            self.from_client.data_received(late_from_client)
        self.client.resume_reading()
        self.backend.resume_reading()

    def terminate(self, sqlstate: str, sentence: str) -> None:
        """Ends the session from our side and gives the client the reason, where that can be done without harm."""
        self._send_error(sqlstate, sentence)
        self.client.close()
        self.backend.close()

    def _send_error(self, sqlstate: str, sentence: str) -> None:
        if self.client.is_closing() or self.from_client.last == TERMINATE:
            return
        if ends_between_messages(self.last_to_client) and not ends_with_fatal(self.last_to_client):
            self.client.write(error_response(sqlstate, sentence))

    def client_lost(self) -> None:
        """The client is gone: what it sent last still goes to the compute."""
        self.backend.close()
        self._end()

    def backend_lost(self) -> None:
        """The compute is gone: what it sent last still goes to the client."""
        self._send_error(*COMPUTE_LOST)
        self.client.close()
        self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._on_end(self)


class ClientHalf(asyncio.Protocol):
    """Reads the client, writes the compute."""

    __slots__ = ("_relay", "_write", "last", "received")

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._write = relay.backend.write
        self.received = 0
        self.last = b""

    def data_received(self, data: bytes) -> None:
        """A chunk, as it comes."""
        self._write(data)
        self.received += len(data)
        self.last = data

    def pause_writing(self) -> None:
        """The client takes no more: stop reading the compute."""
        self._relay.backend.pause_reading()

    def resume_writing(self) -> None:
        """The client takes again."""
        if not self._relay.backend.is_closing():
            self._relay.backend.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._relay.client_lost()


class BackendHalf(asyncio.Protocol):
    """Reads the compute, writes the client."""

    __slots__ = ("_relay", "_write")

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._write = relay.client.write

    def data_received(self, data: bytes) -> None:
        """A chunk, as it comes."""
        self._write(data)
        relay = self._relay
        relay.to_client += len(data)
        relay.last_to_client = data

    def pause_writing(self) -> None:
        """The compute takes no more: stop reading the client."""
        self._relay.client.pause_reading()

    def resume_writing(self) -> None:
        """The compute takes again."""
        if not self._relay.client.is_closing():
            self._relay.client.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The compute is gone."""
        if exc is not None and not self._relay.client.is_closing():
            # Found out by writing: what it had said before it went lies unread, and the event loop will not read it.
            for data in _unread(self._relay.backend):
                self.data_received(data)
        self._relay.backend_lost()


def _unread(transport: asyncio.Transport) -> Iterator[bytes]:
    sock = transport.get_extra_info("socket")
    if sock is None or transport.get_extra_info("ssl_object") is not None:
        return  # of another machine: what lies unread is not PostgreSQL's words but TLS'
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as lost:
        lost.setblocking(False)
        left = HIGH_WATER_BYTES  # nobody can hold these back any more: what a slow client does not take is memory
        while left and (data := lost.recv(left)):
            left -= len(data)
            yield data
