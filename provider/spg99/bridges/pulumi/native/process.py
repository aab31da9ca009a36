"""The process `pulumi-resource-spg99`: how it starts, where it listens, how it ends. Not here: what it answers (service.py).

Pulumi starts it with the engine's address, reads the port from the first line of its output, and hides everything it prints
after that.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from spg99.shapes import Package

PARENT_SECONDS = 5.0
"""How often it is looked whether the engine is still there: one that was killed ends nobody."""
END_SECONDS = 4.0
"""Pulumi kills a provider 5 s after it asked it to stop."""

_ABOUT = """\
{name} {version}: Pulumi's plugin for the package `{package}`. Pulumi starts it; you need not.

`spg99 plugin install` puts it where Pulumi looks. Started by hand, without arguments, it serves an engine that is told of
it: PULUMI_DEBUG_PROVIDERS={package}:<the port it prints> pulumi up
"""


def main() -> None:
    """The executable."""
    from spg99.prepared import PACKAGE

    serve(PACKAGE, sys.argv[1:])


def serve(package: Package, arguments: Sequence[str]) -> NoReturn:
    """Serves a package until told to stop. Ends the process."""
    if {"-h", "--help", "--version"} & set(arguments):
        about = _ABOUT.format(name=f"pulumi-resource-{package.name}", version=package.version, package=package.name)
        print(package.version if "--version" in arguments else about)
        sys.exit(0)
    try:
        asyncio.run(_serve(package, engine_address(arguments)))
    except OSError as error:
        # What it prints before its port is shown to the user.
        print(f"pulumi-resource-{package.name} cannot listen on 127.0.0.1: {error.strerror}.", file=sys.stderr)
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)  # nothing is left to be done, and the libraries take their time to come down


def engine_address(arguments: Sequence[str]) -> str:
    """The engine's address among the arguments (`--logtostderr -v=9 --tracing <endpoint> <engine>`); empty without one."""
    last = arguments[-1] if arguments else ""
    follows_a_flag = len(arguments) > 1 and arguments[-2] == "--tracing"
    return "" if last.startswith("-") or follows_a_flag else last


async def _serve(package: Package, engine: str) -> None:
    from grpc import aio

    from spg99.bridges.pulumi.native.service import Service

    server = aio.server(
        options=[
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ]
    )
    service = Service(package, engine)
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: _stop(service, stop))
    print(port, flush=True)
    parent = os.getppid()
    while not stop.is_set() and os.getppid() == parent:
        try:
            await asyncio.wait_for(stop.wait(), PARENT_SECONDS)
        except TimeoutError:
            continue
    service.calls.cancel()
    try:
        await asyncio.wait_for(service.calls.settle(), END_SECONDS)
    except TimeoutError:
        return
    await server.stop(0.2)  # the last answers leave


def _stop(service: object, stop: asyncio.Event) -> None:
    if stop.is_set():
        os._exit(1)  # asked twice: now
    stop.set()
