"""The two Pulumi bridges under Pulumi's real CLI, as two more tools of the suite. Here: its commands, and its event log as steps. Not here:
programs and plugins (tools.py)."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

from conformance.tools import PASSPHRASE, Answer, Dynamic, Native, Pulumi, Step
from kit.pulumi_cli import pulumi, pulumi_environment
from spg99.emit.names import camel
from spg99.engine.operations import run_destroy, run_preview, run_refresh, run_up

VERBS = {
    run_up: ("up", "--yes", "--skip-preview"),
    run_preview: ("preview",),
    run_refresh: ("refresh", "--yes", "--skip-preview"),
    run_destroy: ("destroy", "--yes", "--skip-preview"),
}
REPLACED = {"replace", "create-replacement", "delete-replaced"}


class RealCli(Pulumi):
    """What both have in common."""

    ends_at_the_first_error = True

    def __init__(self, folder: Path, url: str) -> None:
        self.cli = pulumi()
        self._logs = itertools.count(1)
        super().__init__(folder, url)

    def environment(self) -> dict[str, str]:
        own = pulumi_environment(self.folder, passphrase=PASSPHRASE, state=self.state)
        return {**super().environment(), **own, "PULUMI_DEBUG_COMMANDS": "true"}

    def command(self) -> list[str]:
        return [str(self.cli), "up", "--yes", "--skip-preview", "--stack", "dev"]

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = self.environment()
        if "--preview-only" in command:
            del environment["PULUMI_SKIP_CONFIRMATIONS"]
        return subprocess.run(
            [str(self.cli), *command],
            cwd=self.project,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def _stack(self) -> None:
        if not (self.state / ".pulumi/stacks/conformance/dev.json").exists():
            self._run("stack", "init", "dev")

    def _ran(self, run: Any, **options: Any) -> Answer:
        self._stack()
        log = self.folder / f"events-{next(self._logs)}.json"
        verb = VERBS[run]
        if options.get("dry_run"):
            verb = ("refresh", "--preview-only")  # the environment's "yes to all" would be refused beside it
        done = self._run(*verb, "--stack", "dev", "--event-log", str(log))
        text = done.stdout + done.stderr
        self.said.append(text)
        events = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        log.unlink(missing_ok=True)  # as the CLI writes it for its developers; a user has none
        return Answer(done.returncode == 0, text, self._steps_of(events, refreshing=run is run_refresh))

    def _steps_of(self, events: list[dict[str, Any]], *, refreshing: bool) -> dict[str, Step]:
        nouns = {each.label: each.noun for each in self._declared}
        found: dict[str, Step] = {}
        for event in events:
            told = (event.get("resOutputsEvent" if refreshing else "resourcePreEvent") or {}).get("metadata")
            if told is None or told["type"].startswith("pulumi:"):
                continue
            label = told["urn"].rsplit("::", 1)[1]
            action = (
                "replace"
                if told["op"] in REPLACED
                else {"read": "same", "import": "same", "refresh": "same"}.get(told["op"], told["op"])
            )
            inputs = {camel(each.name): each.name for each in nouns[label].inputs} if label in nouns else {}
            old, new = ((told.get(side) or {}).get("inputs") or {} for side in ("old", "new"))
            paths = {path.split(".")[0].split("[")[0] for path in told.get("detailedDiff") or {}}
            paths |= {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
            names = frozenset(inputs[path] for path in paths if path in inputs)
            if found.get(label, Step("")).action == "replace":
                action, names = "replace", names | found[label].fields
            found[label] = Step(action, names if action in ("update", "replace") else frozenset())
        return found

    def resources(self) -> dict[str, dict[str, Any]]:
        done = self._run("stack", "export", "--show-secrets", "--stack", "dev")
        assert done.returncode == 0, done.stderr
        return {r["urn"].rsplit("::", 1)[1]: r for r in json.loads(done.stdout)["deployment"].get("resources") or []}

    def recover(self) -> None:
        self._run("cancel", "--yes", "--stack", "dev")


class CliDynamic(RealCli, Dynamic):
    """The dynamic provider under the real CLI."""

    name = "pulumi-dynamic"

    def take_in(self, declared: Any) -> Answer:
        self.declare(declared)
        (self.project / "import.json").write_text(json.dumps({"resources": [self._entry(each) for each in declared]}))
        self._stack()
        done = self._run("import", "--yes", "--file", "import.json", "--generate-code=false", "--stack", "dev")
        self.said.append(done.stdout + done.stderr)
        return Answer(done.returncode == 0, done.stdout + done.stderr)


class CliNative(RealCli, Native):
    """The native plugin under the real CLI."""

    name = "pulumi-native"
