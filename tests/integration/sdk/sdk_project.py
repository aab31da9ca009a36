"""A project that uses an installed SDK, the installed plugin and a small Control Plane, run by the embedded engine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proof.server import API_KEY, Server
from spg99.emit import pulumi_plugin
from spg99.engine.events import Event, Result

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Project:
    """One project with one stack `dev`. Settings come from the environment, as on a developer's machine."""

    folder: Path
    server: Server
    python_path: str = ""
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        pulumi_plugin.install(self.folder / "home" / "plugins")

    @property
    def env(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SPG99_", "CP_", "PULUMI_"))}
        return clean | {
            "PULUMI_CONFIG_PASSPHRASE": "x",
            "PULUMI_IGNORE_AMBIENT_PLUGINS": "1",  # this machine may have a plugin of ours on its PATH
            "PULUMI_HOME": str(self.folder / "home"),
            "SPG99_CP_URL": self.server.url,
            "SPG99_API_KEY": API_KEY,
            "PYTHONPATH": self.python_path,
        }

    def run(self, operation: Callable[..., Result], *, ok: bool = True, **options: Any) -> Result:
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
        assert result.ok == ok, (result.failures, self.events)
        return result

    @property
    def state_text(self) -> str:
        (path,) = (self.folder / "state/.pulumi/stacks").glob("*/dev.json")
        return path.read_text()

    def resource(self, name: str) -> dict[str, Any]:
        resources = json.loads(self.state_text)["checkpoint"]["latest"]["resources"]
        found: dict[str, Any] = next(item for item in resources if item["urn"].endswith(f"::{name}"))
        return found


def changes(result: Result) -> dict[str, int]:
    """What an operation changed."""
    return {kind: count for kind, count in result.changes.items() if kind != "same"}
