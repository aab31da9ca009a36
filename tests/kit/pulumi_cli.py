"""Pulumi's real CLI as tests drive it: the binary, a folder with everything that it looks for beside itself, its environment.

    command = pulumi()                            # skips the test where there is none
    environment = os.environ | pulumi_environment(folder, passphrase="x")

The CLI is the user's own, named by SPG99_PULUMI or found on PATH with its language hosts, or the one that `make cli-tools` built: to
that one a folder is made with language hosts of ours (language_host.py). Here: finding and arranging. Not here: running stacks.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from kit.tiers import only_when_slow

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / ".tools" / "bin"
MISSING = "there is no pulumi with language hosts on PATH and none in .tools/bin (`make cli-tools` builds it; SPG99_PULUMI names one)"


def pulumi() -> Path:
    """The CLI; skips the test, and says why, where there is none. Fails one that is not marked `slow`."""
    only_when_slow("Pulumi's CLI")
    found = find_pulumi()
    if found is None:
        pytest.skip(MISSING)
    return found


@functools.cache
def find_pulumi() -> Path | None:
    """The CLI, or None."""
    if named := os.environ.get("SPG99_PULUMI"):
        return Path(named)
    found = shutil.which("pulumi")
    if found and shutil.which("pulumi-language-python", path=f"{Path(found).parent}{os.pathsep}{os.environ['PATH']}"):
        return Path(found)
    if not (BUILT / "pulumi").is_file():
        return None
    return _with_hosts(BUILT) / "pulumi"


def pulumi_environment(folder: Path, *, passphrase: str, state: Path | None = None) -> dict[str, str]:
    """What keeps the CLI to itself: its home and state in `folder`, no network, no questions."""
    return {
        "PULUMI_HOME": str(folder / "home"),
        "PULUMI_BACKEND_URL": f"file://{state or folder / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": passphrase,
        **OFFLINE,
    }


OFFLINE = {
    "PULUMI_SKIP_UPDATE_CHECK": "true",
    "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    "PULUMI_DISABLE_REGISTRY_RESOLVE": "true",
    "PULUMI_AUTOMATION_API_SKIP_VERSION_CHECK": "true",
    "PULUMI_SKIP_CONFIRMATIONS": "true",
}


def _with_hosts(built: Path) -> Path:
    """A folder with the built CLI and language hosts beside it, as a release has them. Made once, also by many at a time."""
    binary = built / "pulumi"
    host = Path(__file__).with_name("language_host.py")
    executor = built / "pulumi-language-python-exec"
    scripts = {
        "pulumi-language-python": f'exec "{sys.executable}" -u "{host}" python "{executor}" "$@"',
        "pulumi-language-nodejs": f'exec "{sys.executable}" -u "{host}" nodejs - "$@"',
        "pulumi-language-yaml": f'exec "{built / "pulumi-language-yaml"}" "$@"',
        "pulumi-resource-pulumi-python": f': "${{PULUMI_PYTHON_CMD:={sys.executable}}}"\nexport PULUMI_PYTHON_CMD\n'
        f'exec "{built / "pulumi-resource-pulumi-python"}" "$@"',
        "pulumi-resource-pulumi-nodejs": f'exec "{built / "pulumi-resource-pulumi-nodejs"}" "$@"',
    }
    stamp = hashlib.sha256(f"{binary.stat().st_mtime_ns} {scripts}".encode()).hexdigest()[:12]
    folder = ROOT / ".tools" / f"pulumi-{stamp}"
    if folder.exists():
        return folder
    new = Path(tempfile.mkdtemp(prefix="new-", dir=folder.parent))
    new.chmod(0o755)
    # It looks beside the file that runs, not beside a symbolic link to it.
    try:
        os.link(binary.resolve(), new / "pulumi")
    except OSError:
        shutil.copy2(binary, new / "pulumi")
    for name, text in scripts.items():
        (new / name).write_text(f"#!/bin/sh\n{text}\n")
        (new / name).chmod(0o755)
    with contextlib.suppress(OSError):  # another worker was first
        new.rename(folder)
    shutil.rmtree(new, ignore_errors=True)
    return folder
