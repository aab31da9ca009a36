"""Starts the processes of `spg99 dev` in order, keeps them, and ends them in order, whenever and however it is told to.

Order: catalogue, Control Plane, a safekeeper where one is wanted, agent and Gateway together; ended: Gateway, agent (which stops the
databases), safekeeper, Control
Plane, catalogue. Here: the order. Not here: one process (child.py), files (dev_folder.py), ports (ports.py).
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from spg99 import log
from spg99.atomic_write import write_file
from spg99.commands.child import Child, Plan
from spg99.commands.dev_folder import DevFolder, DevState
from spg99.commands.endpoints import api_endpoint, certificate_names
from spg99.commands.installation import Installation
from spg99.commands.leftovers import end_databases, end_former
from spg99.commands.ports import Hold, candidates, hold_first
from spg99.commands.preforked import PreforkedProcesses
from spg99.config import API_PORT, GATEWAY_PORT, ControlPlaneSettings, DevSettings, GatewaySettings, load
from spg99.processes import Loops, Wakeup

_log = log.get("dev")

DRAIN_SECONDS = 1
"""At Ctrl-C a person waits, so clients who are connected have less time than in a service."""
NOTE_SECONDS = 3600.0
"""Nothing to catch up with unless somebody rings."""
STOP_ORDER = ("gateway", "agent", "safekeeper", "control-plane", "catalogue")


class Supervisor:
    """One `spg99 dev`."""

    def __init__(
        self,
        settings: DevSettings,
        folder: DevFolder,
        config_file: Path | None = None,
        preforked: PreforkedProcesses | None = None,
    ) -> None:
        self.folder = folder
        self._preforked = preforked or PreforkedProcesses()
        self._config_file = config_file
        self.state = DevState()
        self._settings = settings
        self._children: dict[str, Child] = {}
        self._holds: list[Hold] = []
        self._is_behind = False
        """What dev.json says is not true any more."""
        self._unwritten = Wakeup()
        self._loops = Loops()
        self._loops.repeat("dev.json", self._catch_up, wakeup=self._unwritten)

    async def run(self, stop: asyncio.Event, ready: Callable[[DevState], None]) -> None:
        """Starts everything, calls `ready`, and ends everything when `stop` is set, also while starting."""
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                ready(self.state)
                async with self._loops:
                    await stopping
        finally:
            await _cancelled(starting)
            await _cancelled(stopping)
            await self._stop()

    def end_at_once(self) -> None:
        """The user is impatient: live connections no longer delay the end."""
        if (gateway := self._children.get("gateway")) is not None:
            gateway.end_at_once()

    async def _start(self) -> None:
        settings, folder = self._settings, self.folder
        before = folder.read()
        await end_former(folder.data_dir, STOP_ORDER)
        api = self._hold(settings.api_port, before.api_port, API_PORT, "--api-port")
        gate = self._hold(settings.gateway_port, before.gateway_port, GATEWAY_PORT, "--gateway-port")
        # Kept for the next start even if this one is killed on the way.
        self.state = DevState(api_port=api.port, gateway_port=gate.port)
        self._note()

        catalogue_url = settings.catalogue_url
        if catalogue_url is None:
            catalogue_url = (await self._child(self._plan("catalogue", _postgres_flags(settings), stop_seconds=30)))[
                "url"
            ]
        async with Installation(catalogue_url, folder) as installation:
            await installation.prepare()
            if settings.safekeeper is not None:
                await installation.keep_new_databases(1 if settings.safekeeper else 0)
        plane_seen = load(ControlPlaneSettings, "control-plane", flags={}, config_file=self._config_file)
        gateway_seen = load(GatewaySettings, "gateway", flags={}, config_file=self._config_file)
        endpoint = api_endpoint(settings, plane_seen, api.port)
        plane = ["--host", settings.host, "--port", str(api.port), "--tls" if endpoint.is_tls else "--no-tls"]
        plane += self._names(plane_seen.tls_names, settings.api_host)
        plane += ["--gateway-host", settings.gateway_host, "--gateway-port", str(gate.port)]
        secrets = {"SPG99_CATALOGUE_URL": catalogue_url}
        await self._child(self._plan("control-plane", plane, environment=secrets, owns_group=True))

        reach = ["--cp-url", endpoint.url]
        api_ca_file = folder.api_ca_file if endpoint.is_tls and endpoint.has_our_ca else None
        if api_ca_file is not None:
            reach += ["--ca-file", str(api_ca_file)]
        agent = [*reach, "--stop-computes-on-exit", *_postgres_flags(settings)]
        gateway = [*reach, "--host", settings.host, "--port", str(gate.port)]
        gateway += self._names(gateway_seen.tls_names, settings.gateway_host)
        gateway += ["--drain-seconds", str(DRAIN_SECONDS), "--workers", str(gateway_workers(settings, gateway_seen))]
        if runs_safekeeper(settings, self.folder.data_dir):
            keeper = self._enrolled("safekeeper", "safekeeper", [*reach, "--pageserver"], catalogue_url)
            await self._child(self._with_pageserver(keeper, catalogue_url))
        async with asyncio.TaskGroup() as both:
            both.create_task(self._child(self._enrolled("agent", "node", agent, catalogue_url, stop_seconds=60)))
            both.create_task(self._child(self._enrolled("gateway", "gateway", gateway, catalogue_url, owns_group=True)))
        ca_file = folder.ca_file if gateway_seen.tls_cert_file is None and folder.ca_file.exists() else None
        reachable = {
            "pid": os.getpid(),
            "cp_url": endpoint.url,
            "gateway_host": settings.gateway_host,
            "ca_file": ca_file,
            "api_ca_file": api_ca_file,
            "ca_bundle_file": folder.write_ca_bundle([file for file in (api_ca_file, ca_file) if file is not None]),
            "admin_key_file": folder.admin_key_file,
            "catalogue_url": catalogue_url if settings.catalogue_url is None else None,
        }
        self.state = self.state.model_copy(update=reachable)
        self._note()
        if settings.ready_file is not None:
            write_file(settings.ready_file, self.state.model_dump_json(indent=2) + "\n", mode=0o644)

    def _hold(self, wanted: int | None, used_last: int | None, usual: int, flag: str) -> Hold:
        ports = candidates(wanted, used_last=used_last, usual=usual)
        hold = hold_first(self._settings.host, ports, flag=flag, used_last=used_last)
        if used_last and hold.port != used_last:
            _log.warning(
                "another port than last time: addresses that were handed out lead nowhere",
                flag=flag,
                was=used_last,
                now=hold.port,
            )
        self._holds.append(hold)
        return hold

    async def _child(self, plan: Plan) -> dict[str, Any]:
        child = self._children[plan.name] = Child(plan, changed=self._note_change, preforked=self._preforked)
        line = await child.start()
        _log.debug("ready", child=plan.name)
        return line

    def _plan(
        self,
        name: str,
        flags: list[str],
        *,
        environment: dict[str, str] | None = None,
        stop_seconds: float = 20,
        owns_group: bool = False,
    ) -> Plan:
        surroundings = dict(environment or {})
        if self._config_file is not None:
            surroundings["SPG99_CONFIG"] = str(self._config_file.absolute())

        async def fixed() -> dict[str, str]:
            return surroundings

        arguments = [name, "--data-dir", str(self.folder.data_dir), "--log-level", self._settings.log_level, *flags]
        if (as_json := self._settings.log_json) is not None:
            arguments.append("--log-json" if as_json else "--no-log-json")
        return Plan(name, arguments, fixed, stop_seconds, owns_group)

    def _enrolled(
        self,
        name: str,
        kind: Literal["node", "gateway", "safekeeper"],
        flags: list[str],
        catalogue_url: str,
        *,
        stop_seconds: float = 20,
        owns_group: bool = False,
    ) -> Plan:
        """A plan with a fresh enrolment token at each start; a process that is known already ignores it."""

        plan = self._plan(name, flags, stop_seconds=stop_seconds, owns_group=owns_group)

        async def with_token() -> dict[str, str]:
            async with Installation(catalogue_url, self.folder) as installation:
                return await plan.environment() | {"SPG99_ENROLMENT_TOKEN": await installation.enrolment_token(kind)}

        return dataclasses.replace(plan, environment=with_token)

    def _with_pageserver(self, plan: Plan, catalogue_url: str) -> Plan:
        """Two roles in one process: it is let in as both."""

        async def with_both() -> dict[str, str]:
            async with Installation(catalogue_url, self.folder) as installation:
                token = await installation.enrolment_token("pageserver")
            return await plan.environment() | {"SPG99_PAGESERVER_ENROLMENT_TOKEN": token} | self._postgres_variables()

        return dataclasses.replace(plan, environment=with_both)

    def _postgres_variables(self) -> dict[str, str]:
        found = {"SPG99_PG_BIN": self._settings.pg_bin, "SPG99_RUN_AS": self._settings.run_as}
        return {name: str(value) for name, value in found.items() if value is not None}

    def _names(self, listed: str, known_as: str | None) -> list[str]:
        names = certificate_names(listed, host=self._settings.host, known_as=[known_as])
        return ["--tls-names", ",".join(names)]

    def _note_change(self) -> None:
        """As `_note`, but what runs goes on when it cannot be written (a full disk): that is made good later."""
        try:
            self._note()
        except OSError as error:
            _log.warning("cannot write who runs where", file=str(self.folder.state_file), reason=error.strerror)
            self._unwritten.wake()

    async def _catch_up(self) -> float:
        if self._is_behind:
            self._note()
        return NOTE_SECONDS

    def _note(self) -> None:
        """Writes who runs where, for people, tests and the next start. Raises OSError."""
        self._is_behind = True
        processes = {name: child.running for name, child in self._children.items() if child.running}
        self.state = self.state.model_copy(update={"processes": processes})
        self.folder.write(self.state)
        self._is_behind = False

    async def _stop(self) -> None:
        for name in STOP_ORDER:
            if (child := self._children.get(name)) is not None:
                await child.stop()
        self._preforked.end()
        await end_databases(self.folder.data_dir)
        for hold in self._holds:
            hold.release()
        if self._settings.ready_file is not None:
            self._settings.ready_file.unlink(missing_ok=True)
        if self.state.api_port is not None:
            self.state = DevState(api_port=self.state.api_port, gateway_port=self.state.gateway_port)
            self._note_change()


def runs_safekeeper(settings: DevSettings, data_dir: Path) -> bool:
    """Whether a safekeeper is wanted, or was once: then there may be databases that need it."""
    return settings.safekeeper is True or (data_dir / "safekeeper").exists()


def gateway_workers(settings: DevSettings, gateway: GatewaySettings) -> int:
    """Worker processes of the Gateway: none, unless some are asked for. Each is memory, and its own process serves what a laptop runs."""
    if settings.gateway_workers is not None:
        return settings.gateway_workers
    return gateway.workers if "workers" in gateway.model_fields_set else 0


async def _cancelled(task: asyncio.Task[Any]) -> None:
    """Ends a task, however it ends: what went wrong in it was raised before."""
    task.cancel()
    await asyncio.wait({task})


def _postgres_flags(settings: DevSettings) -> list[str]:
    flags: list[str] = []
    if settings.pg_bin is not None:
        flags += ["--pg-bin", str(settings.pg_bin)]
    if settings.run_as is not None:
        flags += ["--run-as", settings.run_as]
    return flags
