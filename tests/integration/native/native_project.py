"""A project whose program declares resources by the native plugin, without any SDK of ours, run by the embedded engine.

Here: the program's classes, the folder, what a run changed. Not here: what is right (test_native_*.py).
"""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proof.server import API_KEY
from spg99.engine.events import Event, Message, Result

CLASSES = """\
import pulumi
from pulumi import Output, ResourceOptions as Opts

def resource(title, names):
    def __init__(self, resource_name, opts=None, **args):
        props = dict.fromkeys(names) | args
        pulumi.CustomResource.__init__(self, f"spg99:index:{title}", resource_name, props, opts)
    return type(title, (pulumi.CustomResource,), {"__init__": __init__} | {n: property(lambda self, n=n: pulumi.get(self, n)) for n in names})

Gadget = resource("Gadget", ["shelf", "name", "token", "gadgetId", "state", "amount"])
Tenant = resource("Tenant", ["name", "tenantId"])
Database = resource("Database", ["name", "tenant", "connectionString", "dbId"])

class Provider(pulumi.ProviderResource):
    def __init__(self, name, **props):
        super().__init__("spg99", name, props)
"""


@dataclass
class Project:
    folder: Path
    url: str
    events: list[Event] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    """What a test adds to it."""
    head: str = CLASSES
    """What stands before every program."""

    @property
    def messages(self) -> list[Message]:
        """What the last run said."""
        return [event for event in self.events if isinstance(event, Message)]

    @property
    def env(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SPG99_", "CP_", "PULUMI_"))}
        return clean | {
            "PULUMI_CONFIG_PASSPHRASE": "x",
            "PULUMI_IGNORE_AMBIENT_PLUGINS": "1",  # this machine may have a plugin of ours on its PATH
            "PULUMI_HOME": str(self.folder / "home"),
            "SPG99_CP_URL": self.url,
            "SPG99_API_KEY": API_KEY,
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            **self.environment,
        }

    def run(
        self, operation: Callable[..., Result], text: str | None = None, *, ok: bool = True, **options: Any
    ) -> Result:
        if text is not None:
            (self.folder / "__main__.py").write_text(self.head + textwrap.dedent(text))
        self.events.clear()
        result = operation(
            self.folder,
            "dev",
            backend_url=f"file://{self.folder}/state",
            env=self.env,
            create_stack=True,
            listener=self.events.append,
            **options,
        )
        assert result.ok == ok, result.failures
        return result

    @property
    def state_text(self) -> str:
        return (self.folder / "state/.pulumi/stacks/proj/dev.json").read_text()

    def resources(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.state_text)["checkpoint"]["latest"]["resources"]
        return found

    def resource(self, name: str) -> dict[str, Any]:
        return next(r for r in self.resources() if r["urn"].endswith(f"::{name}"))


def changes(result: Result) -> dict[str, int]:
    return {kind: count for kind, count in result.changes.items() if kind != "same"}
