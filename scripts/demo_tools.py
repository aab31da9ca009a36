"""The tools that declare things in the demo: Pulumi and Terraform, each as its user would call it.

Here: which command is which step. Not here: the walk (demo.py).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


class DemoFailed(Exception):
    """A step did not do what it should; the message says which and what was seen."""


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        raise DemoFailed(f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


class Pulumi:
    """examples/01-hello-database, driven by the `pulumi` on PATH or by the embedded engine: the same commands."""

    tenant = "acme"
    prepare_title, apply_title = "stack init", "up"

    def __init__(self, data_dir: Path, environment: dict[str, str]) -> None:
        pulumi = shutil.which("pulumi")
        self.program = [pulumi] if pulumi else [str(BIN / "spg99")]
        self.name = "the Pulumi CLI" if pulumi else "the embedded engine (no pulumi on PATH)"
        self.project = data_dir / "hello-database"
        self.environment = environment | {
            "PULUMI_BACKEND_URL": f"file://{data_dir}/state",
            "PULUMI_CONFIG_PASSPHRASE": "demo",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        (data_dir / "state").mkdir()
        shutil.copytree(ROOT / "examples" / "01-hello-database", self.project)

    def prepare(self) -> str:
        """Makes the stack."""
        self._run("stack", "init", "dev")
        return ""

    def apply(self) -> str:
        """Makes it so; answers the lines that count resources."""
        return _changes_in(self._run("up", "--yes", "--stack", "dev"))

    def apply_again(self) -> str:
        """Once more; fails when anything would change."""
        return _changes_in(self._run("up", "--yes", "--stack", "dev", "--expect-no-changes"))

    def change_idle_timeout(self, seconds: int) -> None:
        """Writes another value into the stack's configuration."""
        self._run("config", "set", "idleTimeoutSeconds", str(seconds), "--stack", "dev")

    def output(self, name: str) -> str:
        """An output of the stack."""
        shown = self._run("stack", "output", name, "--show-secrets", "--stack", "dev")
        return shown.strip().splitlines()[-1]

    def destroy(self) -> str:
        """Removes everything."""
        return _changes_in(self._run("destroy", "--yes", "--stack", "dev"))

    def _run(self, *arguments: str) -> str:
        return _run([*self.program, *arguments], self.project, self.environment)


class Terraform:
    """examples/05-terraform, driven by the `terraform` (or else `tofu`) on PATH, with the provider from a mirror."""

    tenant = "acme_tf"
    prepare_title, apply_title = "install the provider, init", "apply"

    def __init__(self, data_dir: Path, environment: dict[str, str]) -> None:
        found = shutil.which("terraform") or shutil.which("tofu", path=f"{environment['PATH']}:{ROOT / '.tools/bin'}")
        if found is None:
            raise DemoFailed(
                "there is neither terraform nor tofu on PATH. `scripts/cli-tools` builds OpenTofu with Go."
            )
        self.program = found
        self.name = Path(found).name
        self.project = data_dir / "terraform"
        self.environment = environment | {
            "TF_CLI_CONFIG_FILE": str(data_dir / "terraformrc"),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
        }
        shutil.copytree(ROOT / "examples" / "05-terraform", self.project)

    def prepare(self) -> str:
        """Installs the provider into a mirror of its own and initialises the folder."""
        mirror = self.project.parent / "mirror"
        lines = _run([str(BIN / "spg99"), "terraform", "install", "--dir", str(mirror)], self.project, self.environment)
        Path(self.environment["TF_CLI_CONFIG_FILE"]).write_text(lines)
        shown = self._run("init", "-input=false", "-no-color")
        return next((line.strip("- ") for line in shown.splitlines() if line.startswith("- Installed")), "")

    def apply(self) -> str:
        """Makes it so; answers the line that counts resources."""
        return _summary_of(self._run("apply", "-auto-approve", "-input=false", "-no-color"), "Apply complete!")

    def apply_again(self) -> str:
        """Plans once more; fails when anything would change."""
        command = [self.program, "plan", "-detailed-exitcode", "-input=false", "-no-color"]
        _run(command, self.project, self.environment)  # 2 would mean: something to do
        return "no changes"

    def change_idle_timeout(self, seconds: int) -> None:
        """Writes another value for the variable."""
        (self.project / "terraform.tfvars.json").write_text(json.dumps({"idle_timeout_seconds": seconds}))

    def output(self, name: str) -> str:
        """An output of the state."""
        return self._run("output", "-raw", name).strip()

    def destroy(self) -> str:
        """Removes everything."""
        return _summary_of(self._run("destroy", "-auto-approve", "-input=false", "-no-color"), "Destroy complete!")

    def _run(self, *arguments: str) -> str:
        return _run([self.program, *arguments], self.project, self.environment)


def _summary_of(output: str, beginning: str) -> str:
    return next((line.removeprefix(beginning).strip() for line in output.splitlines() if beginning in line), "done")


def _changes_in(output: str) -> str:
    """The lines of an `up` that count resources, on one line."""
    lines = [line.strip() for line in output.splitlines()]
    if "Resources:" not in lines:
        return "done"
    counted = []
    last = len(lines) - 1 - lines[::-1].index("Resources:")  # an `up` shows a preview first
    for line in lines[last + 1 :]:
        if not line:
            break
        counted.append(line)
    return ", ".join(counted)
