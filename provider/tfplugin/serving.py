"""Accepts connections for one provider and ends with them. Not here: the handshake before (server.py, handshake.py).

Started by Terraform there is one connection, and the process lives as long as it: Terraform may be killed at any time, and
nobody else would end us. Attached to by a test there are many, one after the other, and the process goes on.
"""

from __future__ import annotations

import _thread
import os
import select
import sys

from tfplugin import handshake, sockets, tls
from tfplugin.connection import Connection
from tfplugin.dispatch import Dispatch
from tfplugin.grpc import Reception
from tfplugin.logging import DEBUG, WARN, log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from tfplugin.handshake import Listener
    from tfplugin.interface import Provider

NOBODY_CAME_SECONDS = 120.0
"""Terraform connects at once; one that was killed in between never does."""
LAST_WORK_SECONDS = 2.0
"""What calls under way get when Terraform has gone: time to end, not to finish."""
REATTACH = "TF_REATTACH_PROVIDERS"


class Server:
    """Serves `load_provider`'s provider on `listener`. `settings` are TLS's, None for none; `alone` ends with the one client."""

    def __init__(
        self,
        listener: Listener,
        load_provider: Callable[[], Provider],
        settings: Any = None,
        *,
        alone: bool,
    ) -> None:
        self._listener = listener
        self._socket = listener.socket
        self._settings = settings
        self._alone = alone
        self._connections: set[Connection] = set()
        self._lock = _thread.allocate_lock()
        self._ended = False
        self._wake_accepting, self._wake = sockets.pair()
        self.dispatch = Dispatch(load_provider, self._shutdown)
        self._reception = Reception(self.dispatch.take)

    def run(self) -> None:
        """Accept until `close`, or, alone, until the client has gone or none came."""
        patience = NOBODY_CAME_SECONDS if self._alone else None
        while not self._ended:
            readable, _, _ = select.select([self._socket, self._wake_accepting], [], [], patience)
            if not readable and not self._is_served():
                log(WARN, "nobody connected: giving up", seconds=NOBODY_CAME_SECONDS)
                break
            if self._socket in readable and not self._ended:
                self._accept()
        self.dispatch.cancel(LAST_WORK_SECONDS)
        with self._lock:
            left = list(self._connections)
        for connection in left:
            connection.close()
        for each in (self._socket, self._wake, self._wake_accepting):
            each.close()
        self._listener.remove()

    def close(self) -> None:
        """End `run`, from any thread."""
        self._ended = True
        try:  # noqa: SIM105 - contextlib would be one more import of a start
            self._wake.send(b"\0")
        except OSError:
            pass  # `run` has ended already

    def terminated(self) -> None:
        """SIGTERM: calls under way end soon and are answered, so that no object is lost; with none the process ends."""
        # A signal comes in the middle of anything: whatever takes a lock must be done elsewhere.
        _thread.start_new_thread(self.dispatch.stop if self.dispatch.busy else self.close, ())

    def _is_served(self) -> bool:
        with self._lock:
            return any(connection.served for connection in self._connections)

    def _accept(self) -> None:
        try:
            sock = sockets.accepted(self._socket)
        except OSError as failed:  # the client hung up in between, or no descriptor is free
            log(WARN, "a connection could not be accepted", error=str(failed))
            return
        session = tls.Plain() if self._settings is None else tls.Tls(self._settings)
        connection = Connection(sock, session, self._reception.on_event, self._gone)
        with self._lock:
            self._connections.add(connection)
        _thread.start_new_thread(connection.run, ())

    def _gone(self, connection: Connection) -> None:
        with self._lock:
            self._connections.discard(connection)
        if connection.failure:
            log(WARN if not connection.served else DEBUG, "a connection ended", reason=connection.failure)
        # Whoever failed at TLS was not Terraform: its connection is still to come.
        if self._alone and connection.served and not self._is_served():
            self.close()

    def _shutdown(self) -> None:
        """Terraform is done with us and kills what is still there two seconds later."""
        if self._alone:
            self._listener.remove()
            end_process()


def end_process(status: int = 0) -> None:
    """End now, without taking the interpreter apart: nothing of it is needed, and it takes longer than the whole start."""
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 - contextlib would be one more import of a start
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # nobody is there to read it
    os._exit(status)


class Attached:
    """A provider for a test: served from this process, or a child of it, to Terraform commands that are told where it is.

    with Attached(load_provider, "registry.terraform.io/acme/acme") as attached:
        subprocess.run(["terraform", "plan"], env={**os.environ, **attached.environment})
    """

    def __init__(
        self, load_provider: Callable[[], Provider], address: str, environ: Mapping[str, str] = os.environ
    ) -> None:
        import threading

        self._listener = handshake.listen(environ)
        self._server = Server(self._listener, load_provider, alone=False)
        self._thread = threading.Thread(target=self._server.run, daemon=True, name="attached")
        where = f'{{"Network":"{self._listener.network}","String":"{self._listener.address}"}}'
        self.reattach = f'{{"{address}":{{"Protocol":"grpc","ProtocolVersion":{handshake.PROTOCOL},"Pid":{os.getpid()},"Test":true,"Addr":{where}}}}}'

    @property
    def environment(self) -> dict[str, str]:
        """The variable by which Terraform finds the provider."""
        return {REATTACH: self.reattach}

    @property
    def target(self) -> str:
        """The address for a gRPC client: `unix:/path` or `127.0.0.1:port`."""
        return f"unix:{self._listener.address}" if self._listener.network == "unix" else self._listener.address

    def __enter__(self) -> Attached:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._thread.join(10)

    def run(self) -> None:
        """Serve on this thread, until it is interrupted."""
        self._server.run()

    def close(self) -> None:
        """End `run`."""
        self._server.close()
