"""How a plugin and Terraform find each other: cookie, environment, socket, the one line on stdout. Not here: what follows.

The protocol is that of hashicorp/go-plugin. Imports little: Terraform waits for the line, and all the rest can be imported
while it reads it.
"""

from __future__ import annotations

import _socket
import os
from binascii import b2a_base64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

COOKIE = ("TF_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2")
PROTOCOL = 6
BACKLOG = 16
UNIX_PATH_BYTES_MAX = 100
"""Linux takes 107 bytes, macOS 103."""

NOT_BY_HAND = """This program is a provider for Terraform and OpenTofu: they start it, it does nothing by itself.
Name it in `required_providers` of a configuration and run `terraform init`.
"""


class CannotListen(Exception):
    """No socket could be opened. Holds the reason."""


class Listener:
    """An open socket and where it is. `folder` is removed with it."""

    __slots__ = ("address", "folder", "network", "socket")

    def __init__(self, sock: _socket.socket, network: str, address: str, folder: str) -> None:
        self.socket = sock
        self.network = network
        self.address = address
        self.folder = folder

    def remove(self) -> None:
        """Take away what lies on disk."""
        for take, path in ((os.unlink, self.address if self.network == "unix" else ""), (os.rmdir, self.folder)):
            try:
                if path:
                    take(path)
            except OSError:
                pass  # removed by somebody else


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether it is Terraform who starts us."""
    return environ.get(COOKIE[0]) == COOKIE[1]


def spoken(environ: Mapping[str, str]) -> bool:
    """Whether Terraform speaks our version; a client that names none is asked nothing."""
    versions = environ.get("PLUGIN_PROTOCOL_VERSIONS", "")
    return not versions or str(PROTOCOL) in versions.split(",")


def private_stdout() -> int:
    """Keep stdout for the handshake alone: whatever else the program prints goes to stderr, and so into Terraform's log.

    One stray line before the handshake would be taken for it.
    """
    kept = os.dup(1)
    os.set_inheritable(kept, False)
    try:
        os.dup2(2, 1)
    except OSError:  # there is no stderr
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
    return kept


def listen(environ: Mapping[str, str], *, tcp: bool = False, sealed: bool = False) -> Listener:
    """A socket that only this user can reach, in a folder of his own. Where that cannot be, one on this machine's loopback,
    which every user reaches: only if TLS lets none but Terraform in (`sealed`). Raises CannotListen.
    """
    folder = private_folder(environ)
    if hasattr(_socket, "AF_UNIX") and folder and not tcp:
        path = os.path.join(folder, "s")
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            sock.bind(path)
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
        else:
            return Listener(sock, "unix", path, folder)
    if not sealed:
        _remove_folder(folder)
        raise CannotListen(
            "there is no place for a unix socket, and without TLS a port would let every user of this machine drive the provider. "
            "Start it with Terraform or OpenTofu as they are (they use TLS), or set TMPDIR to a folder with a short name"
        )
    return _listen_tcp(environ, folder)


def _remove_folder(folder: str) -> None:
    try:
        if folder:
            os.rmdir(folder)
    except OSError:
        pass  # removed by somebody else


def private_folder(environ: Mapping[str, str]) -> str:
    """A new folder that only this user can enter, where a socket's path is short enough; empty if there is no place for one."""
    for parent in (environ.get("PLUGIN_UNIX_SOCKET_DIR"), environ.get("TMPDIR"), "/tmp", environ.get("TEMP")):  # noqa: S108 - 0700 inside
        if not parent or len(os.fsencode(parent)) + 24 > UNIX_PATH_BYTES_MAX:
            continue
        folder = os.path.join(parent, "tfp" + os.urandom(8).hex())
        try:
            os.mkdir(folder, 0o700)
        except OSError:
            continue
        return folder
    return ""


def _listen_tcp(environ: Mapping[str, str], folder: str) -> Listener:
    if not folder:
        raise CannotListen("there is no folder that could be written to: set TMPDIR to one with a short name")
    first, last = (int(environ.get(name) or 0) for name in ("PLUGIN_MIN_PORT", "PLUGIN_MAX_PORT"))
    for port in range(first, max(first, last) + 1):
        sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        try:
            sock.bind(("127.0.0.1", port))
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            continue
        return Listener(sock, "tcp", f"127.0.0.1:{sock.getsockname()[1]}", folder)
    raise CannotListen(f"no free port on 127.0.0.1 from {first} to {last}")


def line(listener: Listener, certificate: bytes, environ: Mapping[str, str]) -> bytes:
    """The handshake line. `certificate` in DER, empty without TLS."""
    encoded = b2a_base64(certificate, newline=False).decode().rstrip("=")
    parts = ["1", str(PROTOCOL), listener.network, listener.address, "grpc", encoded]
    if environ.get("PLUGIN_MULTIPLEX_GRPC"):
        # Asked whether brokered connections may share this one. We broker none.
        parts.append("false")
    return "|".join(parts).encode() + b"\n"
