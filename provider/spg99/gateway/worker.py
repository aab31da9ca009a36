"""One worker: accepts clients, serves their sessions, drains when its parent says so. `python -m spg99.gateway.worker`, or in the parent's own process.

Here: the process and its accept loop. Not here: one client (accept.py, session.py), what all workers share (registry.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import gc
import os
import resource
import signal
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from spg99 import log
from spg99.config import GatewaySettings
from spg99.gateway import tls
from spg99.gateway.accept import HalfOpenConnection
from spg99.gateway.cancel import Cancels
from spg99.gateway.channel import Channel
from spg99.gateway.event_loop import run_loop
from spg99.gateway.proxies import Proxies
from spg99.gateway.worker_context import SHUTTING_DOWN, WorkerContext
from spg99.processes.forking import Forked, fork, may_fork
from spg99.processes.title import set_title
from spg99.tls.authority import Credentials
from spg99.tls.context import CertificatePair
from spg99.tls.mutual import MutualTls
from spg99.wire.startup import CancelRequest

HALF_OPEN_MAX: Final = 1000
"""Connections that have not logged in; past it the oldest of them makes room, so that a flood does not lock others out."""
ACCEPTS_AT_ONCE: Final = 64
FULL_PAUSE_SECONDS: Final = 0.1
CLOSE_SECONDS: Final = 1.0
KEEPALIVE_IDLE_SECONDS: Final = 60
_PR_SET_PDEATHSIG: Final = 1
_INDEX_BYTES: Final = 4
ADDRESSES_MAX: Final = 250
"""Sockets that one message can carry (Linux: 253)."""

_log = log.get("gateway")


class Worker:
    """Serves its listening sockets: one for each address of the host."""

    def __init__(self, listeners: list[socket.socket]) -> None:
        self._listeners = listeners
        self._context: WorkerContext | None = None
        self._half_open: dict[HalfOpenConnection, None] = {}
        self._cancelling: set[asyncio.Task[None]] = set()
        self._cancels = Cancels()
        self._drained = asyncio.Event()
        self._draining: asyncio.Task[None] | None = None
        self.channel = Channel(
            {
                "begin": self._begin,
                "cancel": self._cancel_here,
                "cancel_forwarded": self._cancel_forwarded,
                "counters": self._counters,
                "tls": self._tls,
                "network": self._network,
                "drain": self._drain,
            }
        )

    async def run(self, control: socket.socket) -> bool:
        """Serves until drained; False when the parent has gone before that, or does not speak any more."""
        await self.channel.open(control)
        serving = asyncio.get_running_loop().create_task(self.channel.serve())
        drained = asyncio.get_running_loop().create_task(self._drained.wait())
        try:
            await asyncio.wait({serving, drained}, return_when=asyncio.FIRST_COMPLETED)
            return drained.done()
        finally:
            self.channel.close()
            serving.cancel()
            drained.cancel()

    def abort(self) -> None:
        """Ends everything that it serves, at once."""
        self._unwatch()
        for listener in self._listeners:
            listener.close()
        for connection in list(self._half_open):
            connection.abort()
        if self._context is not None:
            for session in list(self._context.sessions.values()):
                session.abort()

    # What the parent asks.

    async def _begin(
        self,
        settings: dict[str, Any],
        mock_secret: str,
        certificate: dict[str, str],
        network: dict[str, str] | None = None,
    ) -> None:
        parsed = GatewaySettings.model_validate(settings)
        log.configure("gateway", level=parsed.log_level, json=parsed.log_json)
        self._context = WorkerContext(
            parsed,
            tls.load(CertificatePair(**certificate)),
            self.channel,
            bytes.fromhex(mock_secret),
            Proxies(parsed.proxy_networks),
        )
        self._context.cancel = self._cancel
        if network is not None:
            await self._network(network)
        for listener in self._listeners:
            listener.setblocking(False)
        self._watch()

    async def _tls(self, certificate: dict[str, str]) -> None:
        """New certificates: connections from now on get them."""
        assert self._context is not None
        self._context.tls = tls.load(CertificatePair(**certificate))

    async def _network(self, credentials: dict[str, str]) -> None:
        """What other machines are shown from now on."""
        assert self._context is not None
        if self._context.network is None:
            self._context.network = MutualTls(Credentials(**credentials))
        else:
            self._context.network.renew(Credentials(**credentials))

    async def _counters(self) -> dict[str, Any]:
        assert self._context is not None
        return self._context.counters.take(half_open=len(self._half_open))

    async def _cancel_here(self, pid: int, secret: str) -> bool:
        assert self._context is not None
        target = self._context.cancel_keys.find(pid, bytes.fromhex(secret))
        if target is not None:
            await self._cancels.cancel(target, self._context.network_context)
        return target is not None

    async def _cancel_forwarded(self, key_hash: str) -> bool:
        assert self._context is not None
        target = self._context.cancel_keys.find_by_hash(key_hash)
        if target is not None:
            await self._cancels.cancel(target, self._context.network_context)
        return target is not None

    async def _drain(self) -> None:
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._end())

    # Clients.

    def _cancel(self, request: CancelRequest) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(
            self.channel.call("cancel", pid=request.pid, secret=request.secret.hex())
        )
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)
        return task

    def _watch(self) -> None:
        for listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _unwatch(self) -> None:
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener)

    def _accept(self, listener: socket.socket) -> None:
        assert self._context is not None
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause_accepting(error)
                return
            sock.setblocking(False)
            _tune(sock)
            if len(self._half_open) >= HALF_OPEN_MAX:
                next(iter(self._half_open)).abort()
            self._half_open[HalfOpenConnection(self._context, sock, address[0], on_done=self._half_open_done)] = None

    def _half_open_done(self, connection: HalfOpenConnection) -> None:
        self._half_open.pop(connection, None)

    def _pause_accepting(self, error: OSError) -> None:
        if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            raise error
        _log.error("no more connections can be accepted for now", error=str(error))
        self._unwatch()
        if self._half_open:
            next(iter(self._half_open)).abort()
        asyncio.get_running_loop().call_later(FULL_PAUSE_SECONDS, self._resume_accepting)

    def _resume_accepting(self) -> None:
        if self._draining is None:
            self._watch()

    # The end.

    async def _end(self) -> None:
        loop = asyncio.get_running_loop()
        self._unwatch()
        for listener in self._listeners:
            listener.close()
        if self._context is not None:
            for connection in list(self._half_open):
                connection.terminate(*SHUTTING_DOWN)
            deadline = loop.time() + self._context.settings.drain_seconds
            await self._until_empty(deadline)
            for session in list(self._context.sessions.values()):
                session.terminate(*SHUTTING_DOWN)
            await self._until_empty(loop.time() + CLOSE_SECONDS)
            for session in list(self._context.sessions.values()):
                session.abort()
        self._drained.set()

    async def _until_empty(self, deadline: float) -> None:
        assert self._context is not None
        ends = {session.ended for session in self._context.sessions.values()}
        if ends:
            await asyncio.wait(ends, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))


def _tune(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS)


def die_with_parent(parent: int) -> None:
    """Lets the kernel end this process when its parent ends, however it ends; elsewhere the closed channel does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def raise_file_limit() -> None:
    """Takes as many open files as this user may have: each session needs two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    """Entry of the process: `worker.py <fd of the channel> <fds of the listening sockets, comma separated> <pid of the parent>`."""
    die_with_parent(int(sys.argv[3]))
    _ignore_stop_signals()
    raise_file_limit()
    _serve(socket.socket(fileno=int(sys.argv[1])), [int(word) for word in sys.argv[2].split(",")])


class PreforkedWorker(NamedTuple):
    """A worker that waits for its listening sockets, which are sent to it through `control`; then that is its channel."""

    process: Forked
    control: socket.socket

    def hand_over(self, index: int, listeners: list[int]) -> None:
        """Lets it serve these sockets as worker `index`. Raises OSError when it is dead."""
        socket.send_fds(self.control, [index.to_bytes(_INDEX_BYTES, "big")], listeners)

    def end(self) -> None:
        """Ends it; returns when it is gone, which is soon."""
        self.control.close()
        self.process.kill()
        self.process.wait()


def prefork(count: int) -> list[PreforkedWorker]:
    """Workers that share what is loaded here; none where a fork is not safe or fails (they are started by their command line
    then)."""
    workers: list[PreforkedWorker] = []
    if not may_fork():
        return workers
    try:
        for _ in range(count):
            workers.append(_preforked())
    except OSError as error:
        _log.warning("no process could be forked: the workers are started one by one", reason=error.strerror)
        while workers:
            workers.pop().end()
    return workers


def _preforked() -> PreforkedWorker:
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            return PreforkedWorker(fork(partial(_wait_and_serve, theirs, os.getpid()), keep=[theirs.fileno()]), ours)
    except OSError:
        ours.close()
        raise


def _wait_and_serve(control: socket.socket, parent: int) -> None:
    die_with_parent(parent)
    _ignore_stop_signals()
    program = f"{Path(sys.executable).name} -P -m spg99.gateway.worker"
    set_title(f"{program} of {parent}")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(nowhere, number)
    os.close(nowhere)
    index, numbers, _, _ = socket.recv_fds(control, _INDEX_BYTES, ADDRESSES_MAX)
    if index:  # else the parent has ended
        set_title(f"{program} {int.from_bytes(index, 'big')} of {parent}")
        _serve(control, numbers)


class LocalWorker:
    """A worker in its parent's process and loop, for a Gateway that has no other: to its parent it looks like one of its own."""

    def __init__(self, listeners: list[int]) -> None:
        """Serves these listening sockets, which stay the caller's."""
        self.control, theirs = socket.socketpair()
        worker = Worker([socket.socket(fileno=os.dup(number)) for number in listeners])

        async def serve() -> int:
            try:
                return 0 if await worker.run(theirs) else 1
            finally:
                worker.abort()

        self._serving = asyncio.get_running_loop().create_task(serve())

    def kill(self) -> None:
        """Ends it with all that it serves."""
        self._serving.cancel()

    def send_signal(self, number: signal.Signals) -> None:
        """As `kill`, whichever it is."""
        self.kill()

    async def wait(self) -> int:
        """Waits for its end; answers 0 when it was drained. Nothing of what it ended by is raised."""
        (code,) = await asyncio.gather(self._serving, return_exceptions=True)
        return code if isinstance(code, int) else 1


def _ignore_stop_signals() -> None:
    # The parent says when to end; a Ctrl-C in its terminal reaches us as well and must not cut the drain short.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _serve(control: socket.socket, listener_fds: list[int]) -> None:
    listeners = [socket.socket(fileno=number) for number in listener_fds]
    gc.freeze()

    async def serve() -> None:
        if not await Worker(listeners).run(control):
            # Without the parent nobody counts sessions or holds leases: a session must not outlive it.
            os._exit(1)

    run_loop(serve())


if __name__ == "__main__":
    main()
