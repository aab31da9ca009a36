"""Where others are: `host:port` as it is written in settings and messages, or a unix socket of this machine. Here: taking one apart, listening on one. Not here: sockets (listening.py), connecting."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from spg99.dsn import PORT_MAX
from spg99.errors import BadRequest
from spg99.processes.listening import WILDCARDS, listen


def parted(address: str, *, setting: str) -> tuple[str, int]:
    """Host (without the brackets of IPv6) and port. Raises BadRequest that names the setting it is from."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > PORT_MAX:
        raise BadRequest(f"{setting} must look like 10.0.0.5:7654, not '{address[:80]}'.")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_here(socket_file: Path | str) -> bool:
    """Whether whoever listens on this unix socket is on our machine, and we may enter: then nothing goes over the network."""
    return os.access(socket_file, os.W_OK)


def joined(host: str, port: int) -> str:
    """The address of this host and port."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen_on(address: str, advertised: str | None) -> tuple[list[socket.socket], str]:
    """Sockets that listen on an address, and the one by which others reach them: `advertised` (port 0: the one that was taken), else the same.
    Raises BadRequest when it cannot be had, or stands for all of a machine's addresses while none of them is advertised."""
    host, port = parted(address, setting="listen")
    reached_host, reached_port = parted(advertised, setting="advertise") if advertised is not None else (host, 0)
    if reached_host in WILDCARDS:
        raise BadRequest(
            f"--listen {address} stands for every address of this machine: name the one that others reach with --advertise."
        )
    try:
        listeners = listen(host, port)
    except OSError as error:
        raise BadRequest(f"--listen {address} cannot be had: {error.strerror or error}.") from error
    return listeners, joined(reached_host, reached_port or int(listeners[0].getsockname()[1]))
