"""A stack in a temporary folder, with real programs, providers and state files, run by the embedded engine."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from spg99.engine.events import Event, Result
from spg99.engine.operations import run_destroy, run_preview, run_refresh, run_up

PROGRAMS = Path(__file__).with_name("programs")


@dataclass
class Project:
    """One project with one stack `dev`."""

    folder: Path
    env: dict[str, str]
    events: list[Event] = field(default_factory=list)

    @property
    def shelf(self) -> Path:
        return self.folder / "shelf"

    @property
    def state_file(self) -> Path:
        return self.folder / "state/.pulumi/stacks/project/dev.json"

    def program(self, text: str) -> None:
        (self.folder / "__main__.py").write_text(
            "import pulumi\nfrom pulumi import Alias, Output, ResourceOptions as Opts\n"
            "from note import Note\nfrom shelf import Box, Provider, Rack\n" + textwrap.dedent(text)
        )

    def _run(self, operation: Callable[..., Result], **options: Any) -> Result:
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
        self.check_integrity()
        return result

    def preview(self, text: str | None = None, **options: Any) -> Result:
        if text is not None:
            self.program(text)
        return self._run(run_preview, **options)

    def up(self, text: str | None = None, *, ok: bool = True, **options: Any) -> Result:
        if text is not None:
            self.program(text)
        result = self._run(run_up, **options)
        assert result.ok == ok, self.why(result)
        return result

    def refresh(self, **options: Any) -> Result:
        return self._run(run_refresh, **options)

    def destroy(self, **options: Any) -> Result:
        return self._run(run_destroy, **options)

    def state(self) -> dict[str, Any]:
        latest: dict[str, Any] = json.loads(self.state_file.read_text())["checkpoint"].get("latest") or {}
        return latest

    def check_integrity(self) -> None:
        """What Pulumi verifies before it uses a state: references only backwards, one live resource a URN, the magic."""
        state = self.state()
        if not state:
            return
        manifest = state["manifest"]
        assert manifest["magic"] == hashlib.sha256(manifest["version"].encode()).hexdigest()
        seen: set[str] = set()
        providers: set[str] = set()
        live: set[str] = set()
        for r in state.get("resources", []):
            assert r["custom"] or not r.get("id"), f"{r['urn']}: a component has an id"
            if r["type"].startswith("pulumi:providers:"):
                assert r["id"], f"{r['urn']}: a provider without an id"
                providers.add(f"{r['urn']}::{r['id']}")
            if r.get("provider") and not r.get("pendingReplacement"):
                assert r["provider"] in providers, f"{r['urn']}: its provider comes later or is missing"
            needs = {r.get("parent"), r.get("deletedWith"), *r.get("dependencies", [])}
            needs |= {u for urns in r.get("propertyDependencies", {}).values() for u in urns}
            assert needs - {None, ""} <= seen, f"{r['urn']}: {needs - seen} comes later or is missing"
            seen.add(r["urn"])
            if not r.get("delete"):
                assert r["urn"] not in live, f"{r['urn']} is there twice"
                live.add(r["urn"])

    def resource(self, name: str) -> dict[str, Any]:
        found = [r for r in self.state().get("resources", []) if r["urn"].endswith(f"::{name}")]
        assert len(found) == 1, [r["urn"] for r in found]
        return found[0]

    def names(self) -> list[str]:
        """Names of the resources in the state, in its order, without providers and the stack."""
        return [
            r["urn"].rpartition("::")[2]
            for r in self.state().get("resources", [])
            if "pulumi:" not in r["type"].split("-")[0]
        ]

    def journal(self, *ops: str) -> list[str]:
        """What the shelf provider was asked since the last look, as `op name`."""
        file = self.shelf / "journal"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        file.unlink(missing_ok=True)
        return [f"{line['op']} {line.get('name', '')}".strip() for line in lines if not ops or line["op"] in ops]

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.shelf / "journal").read_text().splitlines()]

    def behave(self, **wishes: Mapping[str, str]) -> None:
        (self.shelf / "behave.json").write_text(json.dumps({k.replace("__", ":"): v for k, v in wishes.items()}))

    @staticmethod
    def why(result: Result) -> str:
        """What failed, as `name: message` lines."""
        return "\n".join(f"{f.urn.rpartition('::')[2]}: {f.message}" for f in result.failures)

    def command(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """The command line in a process of its own."""
        code = (
            "import click; from spg99.engine.cli import COMMANDS; click.Group(commands={c.name: c for c in COMMANDS})()"
        )
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=self.folder,
            env=os.environ | self.env | {"PULUMI_BACKEND_URL": "file://./state", "NO_COLOR": "1"} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def call(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        process = self.command(*arguments, **environment)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


@pytest.fixture(autouse=True)
def nothing_outlives_its_run() -> Iterator[None]:
    """Programs and providers that the engine starts end with the run, however it ends: it may be a library in a long-lived process."""

    def children() -> list[str]:
        found = []
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                line = " ".join(child.cmdline())
                if "/engine/child.py" in line and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(line)
        return found

    before = children()
    yield
    until_gone = time.monotonic() + 15
    while (left := [line for line in children() if line not in before]) and time.monotonic() < until_gone:
        time.sleep(0.05)
    assert not left


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    for name in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE", "PULUMI_STACK"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "shelf").mkdir()
    (folder / "bin").mkdir()
    (folder / "Pulumi.yaml").write_text("name: project\nruntime: python\n")
    for name in ("shelf.py", "note.py"):
        shutil.copy(PROGRAMS / name, folder)
    plugin = folder / "bin/pulumi-resource-shelf"
    plugin.write_text(f'#!/bin/sh\nexec "{sys.executable}" -u "{PROGRAMS / "shelf_provider.py"}" "$@"\n')
    plugin.chmod(0o755)
    env = {
        "PATH": f"{folder}/bin{os.pathsep}{os.environ['PATH']}",
        "SHELF": str(folder / "shelf"),
        "PULUMI_CONFIG_PASSPHRASE": "correct horse",
        "PULUMI_HOME": str(tmp_path / "pulumi-home"),
    }
    monkeypatch.setenv("PULUMI_HOME", env["PULUMI_HOME"])
    return Project(folder, env)
