"""The process that Terraform starts: handshake first, all other imports after it. What a provider is stands in interface.py.

    serve(load_provider)                          never returns; what a launcher calls
    serve(load_provider, attach="host/ns/name")   prints TF_REATTACH_PROVIDERS and serves until Ctrl-C (for debuggers, tests)

`load_provider` is called at the first call, in a worker: what it imports delays no handshake, and if it fails the user reads
why, instead of Terraform's "Failed to read any lines from plugin's stdout". A launcher should start Python with `-I -B` (and
`-S` with its own sys.path), ship .pyc files, and import nothing but this module.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found,unused-ignore] # signal would import half of enum first
import gc
import os
import sys

from tfplugin import handshake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from tfplugin.interface import Provider

GARBAGE_OBJECTS = 20_000
"""New objects between two looks for garbage (Python's own: 700): at most some megabytes wait for one."""


def serve(load_provider: Callable[[], Provider], *, attach: str = "", tcp: bool = False) -> NoReturn:
    """Be a plugin until Terraform is done. `attach` is a provider's address, `tcp` asks for loopback instead of a unix socket."""
    if attach:
        _serve_attached(load_provider, attach)
    environ = os.environ
    if not handshake.wanted(environ):
        _leave(handshake.NOT_BY_HAND)
    if not handshake.spoken(environ):
        _leave("This provider speaks plugin protocol 6: it needs Terraform 1.0 or later, or OpenTofu.\n")
    # Ctrl-C reaches every process of the terminal: Terraform decides what it means, and tells us (StopProvider).
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    stdout = handshake.private_stdout()
    client_certificate = environ.get("PLUGIN_CLIENT_CERT", "")
    try:
        listener = handshake.listen(environ, tcp=tcp, sealed=bool(client_certificate))
    except handshake.CannotListen as failed:
        _leave(f"The provider cannot listen for Terraform: {failed}\n")
    certificate, identity = b"", ""
    if client_certificate:
        from tfplugin.certificate import make

        certificate, identity = make()
    os.write(stdout, handshake.line(listener, certificate, environ))
    os.close(stdout)
    # Imports make objects by the ten thousand that all stay: looking through them for garbage took a twentieth of their time.
    gc.set_threshold(GARBAGE_OBJECTS)
    # From here on Terraform works too: it reads the line, connects, and waits in the socket's queue.
    from tfplugin import serving, tls

    settings = tls.context(identity, client_certificate, listener.folder) if client_certificate else None
    server = serving.Server(listener, load_provider, settings, alone=True)
    _signal.signal(_signal.SIGTERM, lambda number, frame: server.terminated())
    server.run()
    serving.end_process()
    raise AssertionError("the process has ended")


def _serve_attached(load_provider: Callable[[], Provider], address: str) -> NoReturn:
    from tfplugin.serving import REATTACH, Attached, end_process

    attached = Attached(load_provider, address)
    sys.stdout.write(f"{REATTACH}='{attached.reattach}'\n")
    sys.stdout.flush()
    try:
        attached.run()
    except KeyboardInterrupt:
        attached.close()
        attached.run()
    end_process()
    raise AssertionError("the process has ended")


def _leave(message: str) -> NoReturn:
    sys.stderr.write(message)
    sys.stderr.flush()
    os._exit(1)
