"""Terraform providers to measure ours against, made when the benchmark runs: a Go floor, and the frameworks `tf` and `pyvider`.

Each is the same provider: one resource of a tenant, a name and an id, which keeps what it is given and talks to nobody. The Go
floor has a second one, with as many attributes as our database; and ours is there a second time, with as few as theirs.
Here: building them into a file-system mirror. What cannot be had is left out, with the reason. Not here: measuring.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from spg99.bridges.terraform.installation import launcher, platform_name

PEERS = Path(__file__).resolve().parent / "peers"
VERSION = "0.1.0"
FRAMEWORKS = {"tf": "tf==1.2.0", "pyvider": "pyvider==0.8.1"}
"""The versions that the minimal providers in peers/ are written for."""


class Missing(Exception):
    """A peer cannot be had here; says why."""


@dataclass(frozen=True)
class Peer:
    """A provider in the mirror. `name` is its local name, and its resource is `<name>_database`, or what `resource` says."""

    title: str
    name: str
    executable: Path
    resource: str = ""

    @property
    def type_name(self) -> str:
        """The resource's type."""
        return self.resource or f"{self.name}_database"


def _place(mirror: Path, name: str) -> Path:
    folder = mirror / "registry.terraform.io" / name / name / VERSION / platform_name()
    folder.mkdir(parents=True)
    return folder / f"terraform-provider-{name}_v{VERSION}"


def _run(command: list[str | Path], why: str, *, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=180, check=False)
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise Missing(f"{why}: {failed}") from failed
    if done.returncode:
        raise Missing(f"{why}: {' '.join(done.stderr.split())[-300:]}")
    return done.stdout.strip()


def go_floor(mirror: Path, scratch: Path) -> Peer:
    """The Go provider on HashiCorp's plugin framework; everything is compared with it."""
    if shutil.which("go") is None:
        raise Missing("go is not on PATH")
    made = scratch / "go_floor"
    command: list[str | Path] = ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", made, "."]
    _run(command, "the Go provider could not be built", cwd=PEERS / "go_floor")
    target = _place(mirror, "floor")
    shutil.copy(made, target)
    return Peer("Go floor (terraform-plugin-framework), 3 attributes", "floor", target)


def ours_small(mirror: Path) -> Peer:
    """Our provider with the floor's resource. Its schema lies ready in no file, which costs one start some milliseconds."""
    target = _place(mirror, "small")
    text = launcher().partition("try:")[0]
    folder = str(PEERS / "small")
    target.write_text(f"{text}sys.path.append({folder!r})\nfrom small_package import main\nmain()\n")
    target.chmod(0o755)
    return Peer("spg99 with such a resource (6 attributes)", "small", target)


def python_floor(framework: str, mirror: Path, scratch: Path) -> Peer:
    """A provider on a framework from PyPI, on the same Python as ours, in a virtual environment of its own."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise Missing("uv is not on PATH")
    venv = scratch / framework
    python = venv / "bin" / "python"
    base = str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())
    _run([uv, "venv", "-q", "--python", base, venv], "no virtual environment")
    install: list[str | Path] = [uv, "pip", "install", "-q", "--compile-bytecode", "--python", python]
    _run([*install, FRAMEWORKS[framework]], f"{framework} could not be installed")
    floor = {"tf": _tf, "pyvider": _pyvider}[framework]
    name, text = floor(venv, python)
    target = _place(mirror, name)
    target.write_text(f"#!{python}\n{text}")
    target.chmod(0o755)
    return Peer(f"{FRAMEWORKS[framework].replace('==', ' ')}, 3 attributes", name, target)


def _site_packages(python: Path) -> Path:
    return Path(
        _run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], "the environment is broken")
    )


def _tf(venv: Path, python: Path) -> tuple[str, str]:
    """As its documentation says: the executable calls run_provider. The provider is imported, so that it is compiled once."""
    shutil.copy(PEERS / "tf_floor" / "tf_floor.py", _site_packages(python))
    return (
        "tffloor",
        "import sys\nfrom tf.runner import run_provider\nfrom tf_floor import Floor\nrun_provider(Floor(), sys.argv)\n",
    )


def _pyvider(venv: Path, python: Path) -> tuple[str, str]:
    """As its documentation says: the provider is found by an entry point, and its command line serves it."""
    packages = _site_packages(python)
    shutil.copy(PEERS / "pyvider_floor" / "pyvider_floor.py", packages)
    told = packages / f"pyvider_floor-{VERSION}.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pyvider-floor\nVersion: {VERSION}\n")
    (told / "entry_points.txt").write_text("[pyvider]\nfloor = pyvider_floor\n")
    # Its log lines would be work that the others do not do.
    quiet = 'import os, sys\nos.environ.setdefault("PYVIDER_LOG_LEVEL", "ERROR")\n'
    return "pyfloor", f'{quiet}sys.argv[1:] = ["provide"]\nfrom pyvider.cli.__main__ import main\nmain()\n'
