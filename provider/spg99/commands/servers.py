"""One command a process: control-plane, gateway, agent, safekeeper, pageserver, catalogue. Here: handing over settings. Not here: the processes.

Every command that dev starts watches its parent (`end_with_parent`), after its forks: the watch is a thread, and beside a
thread there is no fork. Without it the process of a dev that was killed would stay for good.
"""

from __future__ import annotations

from pathlib import Path

import click

from spg99 import log
from spg99.commands.options import settings_command
from spg99.commands.parent import end_with_parent
from spg99.config import (
    AgentSettings,
    CatalogueSettings,
    ControlPlaneSettings,
    GatewaySettings,
    PageserverSettings,
    SafekeeperSettings,
    load,
)


@settings_command(ControlPlaneSettings, "control-plane")
def control_plane(settings: ControlPlaneSettings) -> None:
    """The Control Plane: the HTTP API v2 and the life of databases.

    Stateless: as many as you like may work on one catalogue. Prints one line of JSON when it is ready. SIGTERM ends it.
    """
    log.configure("control-plane", level=settings.log_level, json=settings.log_json)
    end_with_parent()
    from spg99.control_plane.server import run

    run(settings)


@settings_command(GatewaySettings, "gateway")
def gateway(settings: GatewaySettings) -> None:
    """The Gateway: one TLS PostgreSQL endpoint for every database, which wakes those that sleep.

    Prints one line of JSON when it is ready. SIGTERM lets live connections end for a while, then ends it.
    """
    log.configure("gateway", level=settings.log_level, json=settings.log_json)
    from spg99.gateway.server import run

    run(settings, forked=end_with_parent)


@settings_command(AgentSettings, "agent")
def agent(settings: AgentSettings) -> None:
    """The agent: starts and stops the PostgreSQL processes of this node as the Control Plane asks.

    Prints one line of JSON when it is ready. Databases keep running when it ends, and are taken over when it starts again.
    """
    log.configure("agent", level=settings.log_level, json=settings.log_json)
    end_with_parent()
    from spg99.node.agent import run

    run(settings)


@settings_command(SafekeeperSettings, "safekeeper")
def safekeeper(settings: SafekeeperSettings) -> None:
    """A safekeeper: keeps the WAL of databases, so that a commit outlives the compute that made it and its disk.

    Prints one line of JSON when it is ready. Computes go on when it ends; their commits wait while too few safekeepers are there.
    """
    log.configure("safekeeper", level=settings.log_level, json=settings.log_json)
    end_with_parent()
    from spg99.safekeeper.server import run

    if not settings.pageserver:
        run(settings)
        return
    from spg99.pageserver.server import beside

    config_file: Path | None = click.get_current_context().params.get("config_file")
    reach = {name: getattr(settings, name) for name in ("data_dir", "cp_url", "ca_file")}
    pageserver = load(PageserverSettings, "pageserver", flags=reach, config_file=config_file)
    run(settings, beside=lambda stop: beside(pageserver, stop))


@settings_command(PageserverSettings, "pageserver")
def pageserver(settings: PageserverSettings) -> None:
    """The pageserver: keeps the history of databases in the object store, so that any moment of it can come back.

    Prints one line of JSON when it is ready. Nothing waits for it: while it is away safekeepers keep their WAL.
    """
    log.configure("pageserver", level=settings.log_level, json=settings.log_json)
    end_with_parent()
    from spg99.pageserver.server import run

    run(settings)


@settings_command(CatalogueSettings, "catalogue")
def catalogue(settings: CatalogueSettings) -> None:
    """The embedded catalogue: a PostgreSQL in the data folder, reachable by a unix socket there.

    For several Control Planes on one machine, and for `spg99 dev`. Prints one line of JSON when it is ready.
    """
    log.configure("catalogue", level=settings.log_level, json=settings.log_json)
    end_with_parent()
    from spg99.commands.catalogue import run

    run(settings)
