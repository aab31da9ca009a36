"""Ports of `spg99 dev`: which to try (decided), and holding one for as long as dev runs (done). Not here: listening."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable

from spg99.errors import Conflict

ANY = 0


def candidates(wanted: int | None, *, used_last: int | None, usual: int) -> list[int]:
    """Ports to try, best first; `ANY` stands for a free one. A port that the user named has no second choice."""
    if wanted:
        return [wanted]
    first = [used_last] if used_last else []
    if wanted == ANY:
        return [*first, ANY]
    return [*first, *([usual] if usual not in first else []), ANY]


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


def hold_first(host: str, ports: list[int], *, flag: str, hold: Callable[[str, int], Hold] | None = None) -> Hold:
    """Holds the first of `ports` that is free. Raises Conflict when none is."""
    taken: OSError | None = None
    for port in ports:
        try:
            return (hold or hold_port)(host, port)
        except OSError as error:
            taken = error
    raise Conflict(
        f"Port {ports[-1]} of {host} cannot be used ({taken.strerror if taken else 'taken'}). "
        f"Free it, or give another {flag}; 0 takes a free one."
    )


def hold_port(host: str, port: int) -> Hold:
    """Holds `port` (0: a free one). Raises OSError when somebody listens on it, holds it, or it may not be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if sys.platform != "linux":
        # Elsewhere a bound socket keeps our own processes out as well: a port is only looked at.
        with _reusable(family) as probe:
            probe.bind((host, port))
            probe.listen(1)
            return Hold(probe.getsockname()[1])
    with contextlib.ExitStack() as undo:
        if port != ANY:
            claim = undo.enter_context(_claimed(port))
            # Gateways share ports (SO_REUSEPORT); only listening without it proves that nobody is there.
            with _reusable(family) as probe:
                probe.bind((host, port))
                probe.listen(1)
        held = undo.enter_context(_reusable(family))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((host, port))
        found: int = held.getsockname()[1]
        if port == ANY:
            claim = undo.enter_context(_claimed(found))
        undo.pop_all()  # all went well: nothing to undo
    return Hold(found, held, claim)


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


def _reusable(family: socket.AddressFamily) -> socket.socket:
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return made
