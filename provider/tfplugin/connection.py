"""A connection's socket and the thread that reads it; whoever answers writes by himself. Not here: bytes (http2.py, tls.py).

One lock holds TLS and HTTP/2 together. Nobody ever waits inside it: the socket does not block, and what it does not take stays
here until the reading thread sees room for it. So an answer costs no change of threads, and reading never stops for a writer.
"""

from __future__ import annotations

import _thread
import select

from tfplugin import http2, sockets, tls
from tfplugin.http2 import Http2, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from tfplugin.hpack import Header

READ_BYTES = 256 * 1024
STREAMED_BYTES_MAX = 1024 * 1024
"""A stream of messages is made no faster than it is fetched, but for this much."""


class Connection:
    """One client. `on_event` is called on the reading thread and must return at once; `on_end` once, when all is over."""

    def __init__(
        self,
        sock: _socket.socket,
        session: tls.Tls | tls.Plain,
        on_event: Callable[[Connection, str, Stream], None],
        on_end: Callable[[Connection], None],
    ) -> None:
        self._sock = sock
        self._session = session
        self._on_event = on_event
        self._on_end = on_end
        self._http = Http2()
        self._lock = _thread.allocate_lock()
        self._waiting: list[_thread.LockType] = []  # a gate for each thread that waits in `write`
        self._unsent = b""
        self._broken = False
        self._reader = 0
        self._wake_reading, self._wake_writing = sockets.pair()
        self.failure = ""
        for each in (sock, self._wake_reading, self._wake_writing):
            each.setblocking(False)
        self._poller = select.poll() if hasattr(select, "poll") else None

    @property
    def served(self) -> bool:
        """Whether this has been a real client: it came through TLS and spoke HTTP/2."""
        return self._session.established and self._http.preface_seen

    # For whoever answers, on any thread

    def answer(self, stream: Stream, headers: list[Header], body: bytes, trailers: list[Header]) -> None:
        """A whole answer. Returns at once; what windows hold back is sent later."""
        with self._lock:
            self._http.start(stream, headers)
            self._http.write(stream, body)
            self._http.finish(stream, trailers)
            self._send()

    def start(self, stream: Stream, headers: list[Header]) -> None:
        """Begin an answer of many parts."""
        with self._lock:
            self._http.start(stream, headers)
            self._send()

    def write(self, stream: Stream, body: bytes) -> bool:
        """A part of an answer; waits while the other side does not fetch. False when nobody wants it any more."""
        with self._lock:
            self._http.write(stream, body)
            self._send()
        while True:
            gate = _thread.allocate_lock()
            with self._lock:
                wanted = not stream.closed and not self._broken
                if not wanted or self._http.waiting_bytes(stream) <= STREAMED_BYTES_MAX:
                    return wanted
                gate.acquire()
                self._waiting.append(gate)
            gate.acquire()

    def finish(self, stream: Stream, trailers: list[Header]) -> None:
        """End an answer."""
        with self._lock:
            self._http.finish(stream, trailers)
            self._send()

    def close(self) -> None:
        """Take no further call and hang up."""
        with self._lock:
            if not self._http.over:
                self._http.goaway()
                self._http.over = True
            self._send()
        self._wake()

    # The reading thread

    def run(self) -> None:
        """Read until the connection ends."""
        try:
            self._run()
        except OSError as failed:
            self.failure = self.failure or str(failed)
        finally:
            with self._lock:
                self._broken = True
                left = list(self._http.streams.values())
                for stream in left:
                    stream.closed = True
                self._open_gates()
                for each in (self._sock, self._wake_reading, self._wake_writing):
                    each.close()
            for stream in left:
                self._on_event(self, http2.RESET, stream)
            self._on_end(self)

    def _run(self) -> None:
        self._reader = _thread.get_ident()
        if self._poller is not None:
            self._poller.register(self._wake_reading, select.POLLIN)
        with self._lock:
            self._send()
        while not (self._http.over and not self._unsent):
            self._wait()
            with self._lock:
                data = self._received()
                if data == b"":
                    return
                try:
                    opened = self._session.opened(data or b"")
                except tls.Failed as failed:
                    self.failure = str(failed)
                    self._send()  # the alert which says so
                    return
                events = self._http.feed(opened) if opened else []
                self._send()
            for kind, stream in events:
                self._on_event(self, kind, stream)

    def _wait(self) -> None:
        """Until there is something to read, or room to write."""
        if self._poller is not None:
            self._poller.register(self._sock, select.POLLIN | (select.POLLOUT if self._unsent else 0))
            self._poller.poll()
        else:
            select.select([self._sock, self._wake_reading], [self._sock] if self._unsent else [], [])
        try:  # noqa: SIM105 - contextlib would be one more import of a start
            self._wake_reading.recv(4096)
        except BlockingIOError:
            pass

    def _received(self) -> bytes | None:
        """What came: empty at the end, None if nothing came."""
        try:
            return self._sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return None

    def _send(self) -> None:
        """Send as much as the socket takes; the rest is left to the reading thread. Under the lock."""
        if self._broken:
            return
        try:
            while True:
                if not self._unsent:
                    ready = self._http.take() if self._session.established else b""
                    self._unsent = self._session.sealed(ready)
                if not self._unsent:
                    return
                sent = self._sock.send(self._unsent)
                self._unsent = self._unsent[sent:]
        except (BlockingIOError, InterruptedError):
            self._wake()
        except OSError:
            # The reading thread meets the same end and clears up.
            self._unsent = b""
            self._wake()
        finally:
            self._open_gates()

    def _open_gates(self) -> None:
        """Something has changed: whoever waits in `write` looks again."""
        gates, self._waiting = self._waiting, []
        for gate in gates:
            gate.release()

    def _wake(self) -> None:
        if _thread.get_ident() == self._reader:
            return
        try:  # noqa: SIM105 - contextlib would be one more import of a start
            self._wake_writing.send(b"\0")
        except OSError:
            pass  # it is awake already, or gone
