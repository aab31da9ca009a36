"""`spg99 dev`: the whole platform in the foreground. Here: signals and what a person reads. Not here: supervising (supervisor.py)."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
import sys
import time
from pathlib import Path

import click

from spg99 import log
from spg99.commands.dev_folder import DevFolder, DevState
from spg99.commands.options import settings_command
from spg99.commands.preforked import prefork
from spg99.commands.supervisor import STOP_ORDER, Supervisor, runs_safekeeper
from spg99.config import DevSettings
from spg99.node.folder import check_path
from spg99.processes import stop_ordered
from spg99.reach import default_data_dir


@settings_command(DevSettings, "dev")
def dev(settings: DevSettings) -> None:
    """Runs everything on this machine, in the foreground: catalogue, Control Plane, agent and Gateway.

    Prints the addresses, then logs. Whatever dies is started again under the same address. Ctrl-C stops everything and
    leaves no process behind; the data stays in the data folder for the next time.
    """
    log.configure("dev", level=settings.log_level, json=settings.log_json)
    check_path(settings.data_dir)
    folder = DevFolder(settings.data_dir)
    folder.prepare()
    folder.lock()
    config_file: Path | None = click.get_current_context().params.get("config_file")
    left_out = {
        "catalogue": settings.catalogue_url is not None,
        "safekeeper": not runs_safekeeper(settings, folder.data_dir),
    }
    processes = [name for name in STOP_ORDER if not left_out.get(name)]
    supervisor = Supervisor(settings, folder, config_file, prefork(len(processes), folder.data_dir))
    try:
        asyncio.run(_run(supervisor))
    finally:
        folder.unlock()


async def _run(supervisor: Supervisor) -> None:
    began = time.monotonic()

    def asked_to_stop() -> None:
        with contextlib.suppress(OSError):  # a terminal that was closed sends SIGHUP and takes no more words
            click.echo("Stopping ...", err=True)

    stop = stop_ordered(
        first=asked_to_stop,
        again=supervisor.end_at_once,
        signals=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
    )
    await supervisor.run(stop, lambda state: _greet(state, supervisor.folder, time.monotonic() - began))


def _greet(state: DevState, folder: DevFolder, seconds: float) -> None:
    where = "" if folder.data_dir == default_data_dir() else f" --data-dir {shlex.quote(str(folder.data_dir))}"
    lines = [
        f"SPG99 is ready ({seconds:.1f} s). Data folder: {folder.data_dir}",
        f"  API      {state.cp_url}{f'  (CA {state.api_ca_file})' if state.api_ca_file else ''}",
        f"  Gateway  {state.gateway_host}:{state.gateway_port}  (TLS{f'; CA {state.ca_file}' if state.ca_file else ''})",
        f'  Shell    eval "$(spg99 env{where})"',
        "Ctrl-C stops everything.",
    ]
    click.echo("\n".join(lines))
    sys.stdout.flush()
