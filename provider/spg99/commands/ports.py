"""Ports of `spg99 dev`: which to try (decided), and holding one for as long as dev runs (done). Not here: listening."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable

import psutil

from spg99.errors import Conflict
from spg99.processes import listening

ANY = 0
_TRIES_MAX = 20
_COMMAND_CHARS_MAX = 60
"""Enough to know it by; what stands at the end of a command line may be somebody's secret."""


def candidates(wanted: int | None, *, used_last: int | None, usual: int) -> list[int]:
    """Ports to try, best first; `ANY` stands for a free one. A port that the user named has no second choice, and the one
    used last only where he asks for a free one: it stands in every connection string that was handed out."""
    if wanted:
        return [wanted]
    if used_last:
        return [used_last] if wanted is None else [used_last, ANY]
    return [ANY] if wanted == ANY else [usual, ANY]


class Hold:
    """A port that nobody else gets while dev runs, also while the process that listens on it is restarted.

    The socket is bound and never listens, so that it takes no connection, and a client that knocks during a restart is
    refused rather than connected to itself.
    """

    def __init__(self, port: int, *held: socket.socket) -> None:
        self.port = port
        self._held = held

    def release(self) -> None:
        """Lets the port go."""
        for each in self._held:
            each.close()


def hold_first(
    host: str,
    ports: list[int],
    *,
    flag: str,
    used_last: int | None = None,
    hold: Callable[[str, int], Hold] | None = None,
) -> Hold:
    """Holds the first of `ports` that is free. Raises Conflict, naming who has it, when none is."""
    taken: OSError | None = None
    for port in ports:
        try:
            return (hold or hold_port)(host, port)
        except OSError as error:
            taken = error
    port = ports[-1]
    reason = taken.strerror if taken else "taken"
    if (who := listener_on(port)) is not None:
        reason = f"{reason}: {who} listens there"
    if port == used_last:
        raise Conflict(
            f"Port {port} of {host}, used last here and named by every address that was handed out, cannot be used ({reason}). "
            f"Free it. Or move on purpose with {flag} (0 takes a free one): then those addresses lead nowhere."
        )
    raise Conflict(
        f"Port {port} of {host} cannot be used ({reason}). Free it, or give another {flag}; 0 takes a free one."
    )


def listener_on(port: int) -> str | None:
    """Who listens on a TCP port of this machine, such as `pid 17 (nginx -g ...)`; None where the system does not tell."""
    try:
        listeners = [
            each.pid
            for each in psutil.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port and each.pid
        ]
    except (psutil.Error, OSError):
        return None
    if not listeners:
        return None
    try:
        process = psutil.Process(listeners[0])
        command = " ".join(process.cmdline()) or process.name()
    except (psutil.Error, OSError):
        return f"pid {listeners[0]}"
    return f"pid {listeners[0]} ({command if len(command) <= _COMMAND_CHARS_MAX else command[: _COMMAND_CHARS_MAX - 3] + '...'})"


def hold_port(host: str, port: int) -> Hold:
    """Holds `port` (0: a free one) on every address of `host`. Raises OSError when somebody listens on it, holds it, or it
    may not be used."""
    addresses = listening.addresses_of(host)
    for tries_left in range(_TRIES_MAX - 1, -1, -1):
        try:
            return _hold(addresses, port)
        except OSError:
            # A port that is free on the first address may be taken on the second.
            if port != ANY or len(addresses) == 1 or tries_left == 0:
                raise
    raise AssertionError("the last try answers or raises")


def _hold(addresses: list[str], port: int) -> Hold:
    if sys.platform != "linux":
        # Elsewhere a bound socket keeps our own processes out as well: a port is only looked at.
        for address in addresses:
            with listening.bound(address, port) as probe:
                probe.listen(1)
                port = probe.getsockname()[1]
        return Hold(port)
    with contextlib.ExitStack() as undo:
        kept = []
        if port != ANY:
            kept.append(undo.enter_context(_claimed(port)))
        for address in addresses:
            if port != ANY:
                # Gateways share ports (SO_REUSEPORT); only listening without it proves that nobody is there.
                with listening.bound(address, port) as probe:
                    probe.listen(1)
            held = undo.enter_context(listening.bound(address, port, reuse_port=True))
            kept.append(held)
            if port == ANY:
                port = held.getsockname()[1]
                kept.append(undo.enter_context(_claimed(port)))
        undo.pop_all()  # all went well: nothing to undo
    return Hold(port, *kept)


def _claimed(port: int) -> socket.socket:
    """A name in the kernel that one process has at a time: between finding a port free and our process listening on it
    seconds pass, in which another dev would find it free too."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0spg99-port-{port}")
    except OSError:
        claim.close()
        raise
    return claim
