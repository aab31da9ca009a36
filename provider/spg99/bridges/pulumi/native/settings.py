"""The provider's own configuration: what is wrong with it, what its change means, and the connection it leads to.

Here: CheckConfig, DiffConfig, Configure. Nothing is asked of the network before the first call that needs it.

Decided: neither a new key nor a new address replaces anything. An address is not what makes two objects one (their uids are,
and an update of an object that is not behind the new address says so); replacing everything would destroy the data behind
the old one.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from spg99.bridges.pulumi.native.properties import Properties, guarded
from spg99.bridges.pulumi.native.wire import revealed
from spg99.bridges.pulumi.shared.naming import from_wire, to_wire, wire_path
from spg99.bridges.shared.inputs import check_fields
from spg99.bridges.shared.unknown import UNKNOWN
from spg99.bridges.shared.words import PULUMI
from spg99.emit.names import camel
from spg99.reach import bad_url, client_settings
from spg99.shapes import Field, Package

if TYPE_CHECKING:
    from spg99.bridges.shared.operations import Operations

_PULUMIS_OWN = {"version", "pluginDownloadURL", "parameterization"}
"""Keys of a provider's inputs that are meant for the engine."""


class Checked(NamedTuple):
    """The answer to CheckConfig."""

    inputs: dict[str, Any]
    failures: list[tuple[str, str]]
    warnings: list[tuple[str, str]]


def check_config(package: Package, news: Properties, *, is_default: bool) -> Checked:
    """What is wrong with a configuration. Environment variables are not written into it: they would stay in the state.

    A default provider gets everything under `spg99:` in the stack's configuration, also what a program of that name keeps
    there for itself, so a setting that nobody knows is a failure for explicit providers only.
    """
    kept = {key: value for key, value in news.items() if key in _PULUMIS_OWN or key.startswith("__")}
    given = _values(package, {key: value for key, value in news.items() if key not in kept})
    checked = check_fields(package.configuration, given, what=f"provider {package.name}", spelling=camel)
    failures = [(wire_path(item.path, package.configuration), item.reason) for item in checked.failures]
    strangers = [(path, reason) for path, reason in failures if path in given and path not in _names(package)]
    if is_default:
        failures = [item for item in failures if item not in strangers]
    if isinstance(url := given.get("url"), str) and (reason := bad_url(url)) is not None:
        failures.append((camel("url"), f"{reason[:1].lower()}{reason[1:]}"))
    completed = guarded(package.configuration, to_wire(package.configuration, given))
    unknown = {name: value for name, value in given.items() if camel(name) not in completed and value is not None}
    warnings = [(wire_path(item.path, package.configuration), item.reason) for item in checked.warnings]
    return Checked(completed | unknown | kept, failures, warnings + (strangers if is_default else []))


def diff_config(package: Package, olds: Properties, news: Properties) -> list[str]:
    """The settings that differ. No change of them replaces anything."""
    before, now = (_values(package, {k: v for k, v in each.items() if k not in _PULUMIS_OWN}) for each in (olds, news))
    return [
        camel(field.name)
        for field in package.configuration
        if before.get(field.name) != now.get(field.name) or now.get(field.name) is UNKNOWN
    ]


def missing(package: Package, given: Mapping[str, Any]) -> str | None:
    """A sentence that says which settings are missing and where they can be given; None when all are there."""
    absent = [
        field
        for field in package.configuration
        if field.environment
        and field.name in ("url", "api_key")
        and not given.get(field.name)
        and not any(os.environ.get(name) for name in field.environment)
    ]
    if not absent:
        return None
    what = " and ".join(f"{package.name}:{camel(field.name)}" for field in absent)
    variables = " and ".join(field.environment[0] for field in absent)
    return (
        f"The provider {package.name} needs {what}. Set it in the stack's configuration (`pulumi config set {package.name}:url "
        f"...`, `pulumi config set --secret {package.name}:apiKey ...`), or {variables} in the environment "
        '(`eval "$(spg99 env)"` prints them), or give an explicit provider.'
    )


class Connection:
    """The configuration of this process and the one connection that it leads to."""

    def __init__(self, package: Package) -> None:
        self._package = package
        self._given: dict[str, Any] = {}
        self._operations: Operations | None = None
        self._opening = asyncio.Lock()
        self.interrupted = False

    def configure(self, args: Properties, variables: Mapping[str, str]) -> None:
        """Keeps the configuration; `variables` (`spg99:config:url`) is what older engines send instead."""
        if self.interrupted:  # a plugin in a debugger outlives the run that cancelled it: this is the next one
            self.interrupted, self._operations = False, None
        prefix = f"{self._package.name}:config:"
        older = {key.removeprefix(prefix): value for key, value in variables.items() if key.startswith(prefix)}
        self._given = _values(self._package, args or older)

    def missing(self) -> str | None:
        """What is missing to connect, in a sentence."""
        return missing(self._package, self._given)

    def interrupt(self) -> None:
        """Ends all waits."""
        self.interrupted = True
        if self._operations is not None:
            self._operations.interrupt()

    async def acknowledge(self) -> None:
        """Tells the Control Plane that Pulumi has what was created."""
        if self._operations is not None:
            await self._operations.acknowledge()

    async def operations(self) -> Operations:
        """The operations on the Control Plane; connects at the first call. Raises Unauthorized with a sentence."""
        async with self._opening:
            if self._operations is None:
                # httpx and pydantic take a quarter of a second to import, in which other calls go on being answered.
                self._operations = await asyncio.to_thread(_connect, self._given)
                if self.interrupted:
                    self._operations.interrupt()
            return self._operations


def _connect(given: Mapping[str, Any]) -> Operations:
    from spg99.bridges.shared.connecting import connected

    return connected(
        client_settings(url=given.get("url"), api_key=given.get("api_key"), ca_file=given.get("ca_file")), PULUMI
    )


def _values(package: Package, properties: Properties) -> dict[str, Any]:
    """Settings under our names; what is no text comes as JSON text from a stack's configuration."""
    plain = {key: revealed(value) for key, value in properties.items() if not key.startswith("__")}
    fields = {field.name: field for field in package.configuration}
    return {
        name: _typed(fields[name], value) if name in fields else value
        for name, value in from_wire(package.configuration, plain).items()
    }


def _typed(field: Field, value: Any) -> Any:
    if not isinstance(value, str) or field.type.kind in ("text", "enum", "time"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value  # the check of its type says what is wrong


def _names(package: Package) -> set[str]:
    return {camel(field.name) for field in package.configuration}
