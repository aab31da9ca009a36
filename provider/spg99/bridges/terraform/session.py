"""What all calls of one provider process share: the schemas, the configuration, the way to the Control Plane.

Here: who is configured and how. Not here: any call (resources.py, reads.py ...).
"""

from __future__ import annotations

import os
from _thread import allocate_lock  # `threading` is one more import of every start
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spg99.bridges.shared.unknown import UNKNOWN
from spg99.bridges.terraform import schema
from spg99.bridges.terraform.configuration import Configuration, configured
from spg99.bridges.terraform.handed_over import HandedOver
from spg99.bridges.terraform.reach import Reach
from spg99.bridges.terraform.renames import PlannedObjects
from spg99.bridges.terraform.schema import Block, Cty, Tables
from spg99.errors import BadRequest, Spg99Error, Unavailable
from spg99.shapes import Noun, Package
from tfplugin import values
from tfplugin.interface import error
from tfplugin.msgpack import BadValue

if TYPE_CHECKING:
    from spg99.declarer import Declarer
    from tfplugin.interface import Call, Diagnostic, Message


class Session:
    """One provider of one process. Calls come from many threads."""

    def __init__(self, package: Package, environment: Mapping[str, str] = os.environ) -> None:
        self.package = package
        self.environment = environment
        self.configuration = Configuration()
        self.handed_over = HandedOver(environment)
        self.planned = PlannedObjects()
        self._lock = allocate_lock()
        self._reach: Reach | None = None
        self._declarer: Declarer | None = None
        self._tables: Tables | None = None

    @property
    def tables(self) -> Tables:
        """All schemas."""
        if self._tables is None:
            self._tables = schema.tables(self.package)
        return self._tables

    @property
    def secrets_in_state(self) -> bool:
        """Whether secrets that the system makes may stand in the state."""
        return self.configuration.secrets_in_state

    def declarer(self) -> Declarer:
        """Who declares the objects of this run: the state, by its name."""
        if self._declarer is None:
            from spg99.bridges.terraform import state_names  # a plan of new objects needs it not

            self._declarer = state_names.declarer_of(
                self.configuration.state_name, state_names.program(), self.environment, os.getcwd()
            )
        return self._declarer

    @property
    def is_unknown(self) -> bool:
        """The configuration waits for values that are known after apply: nothing can be asked of a Control Plane yet."""
        return bool({"url", "api_key", "ca_file"} & set(self.configuration.unknown))

    def configure(self, block: Mapping[str, Any], terraform_version: str) -> list[Diagnostic]:
        """Takes a configuration; connects to nothing."""
        found, complaints = configured(self.package, dict(block), self.environment, terraform_version=terraform_version)
        if self._reach is not None and (found != self.configuration or self._reach.is_interrupted):
            self._reach = None
        self.configuration, self._declarer = found, None
        self.handed_over, self.planned = HandedOver(self.environment), PlannedObjects()  # another run of Core's begins
        return [error(each.summary, each.detail, (each.attribute,) if each.attribute else ()) for each in complaints]

    def reach(self) -> Reach:
        """The way to the Control Plane. Raises Unavailable while nobody knows which one it is."""
        if self.is_unknown:
            names = " and ".join(f"`{name}`" for name in self.configuration.unknown)
            raise Unavailable(
                f"The provider's {names} will be known only after apply, so nothing can be asked of the Control Plane yet. Apply "
                "what it comes from first (`-target`), or give the value in a variable."
            )
        if not self.configuration.url or not self.configuration.api_key:
            raise BadRequest("The provider is not configured, so nothing can be asked of the Control Plane.")
        with self._lock:
            if self._reach is None:
                self._reach = Reach(self.configuration, self.package.version)
            return self._reach

    def stop(self) -> None:
        """The user asked to stop: ends all waits, at once."""
        if self._reach is not None:
            self._reach.interrupt()

    def schema_bytes(self) -> bytes:
        """The answer to GetProviderSchema."""
        from spg99.bridges.terraform.schema_messages import schema_bytes

        return schema_bytes(self.tables)

    def block_of(self, kind: Mapping[str, Block], name: str) -> Block:
        """The schema of this type name. Raises BadRequest for a stranger."""
        found = kind.get(name)
        if found is None:
            raise BadRequest(f"This version of the provider ({self.package.version}) knows no '{name}'.")
        return found

    def diagnose(self, problem: Exception, request: Message, call: Call) -> list[Diagnostic]:
        """An exception of a call, in words."""
        from spg99.bridges.terraform import diagnostics

        name = request.get("type_name") or request.get("target_type_name") or request.get("name") or ""
        doing = f"{VERBS.get(call.rpc, call.rpc)} {name} failed".replace("  ", " ")
        if isinstance(problem, BadValue):
            return [error(doing, f"A value does not fit this version of the provider: {problem}.")]
        if isinstance(problem, Spg99Error):
            return diagnostics.of_error(self.tables.resources.get(name), problem, doing=doing)
        return [diagnostics.of_surprise(problem, doing=doing)]


VERBS = {
    "ConfigureProvider": "Configuring the provider",
    "ValidateResourceConfig": "Checking",
    "ReadResource": "Reading",
    "PlanResourceChange": "Planning",
    "ApplyResourceChange": "Applying",
    "ImportResourceState": "Importing",
    "MoveResourceState": "Moving to",
    "UpgradeResourceState": "Reading the state of",
    "ReadDataSource": "Reading",
    "OpenEphemeralResource": "Opening",
    "CloseEphemeralResource": "Closing",
    "ListResource": "Listing",
    "CallFunction": "Calling",
}


def decoded(type_: Cty, value: Message | None) -> Any:
    """A value of the protocol, unknowns as ours."""
    return values.decode(type_, value, unknown=UNKNOWN)


def encoded(type_: Cty, value: Any) -> Message:
    """A value for the protocol."""
    return values.encode(type_, value, unknown=UNKNOWN)


def noun_of(block: Block) -> Noun:
    """The noun a resource or data source is of."""
    assert block.noun is not None, "only the provider's own configuration has no noun"
    return block.noun
