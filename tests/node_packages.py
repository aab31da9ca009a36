"""Where the npm packages are that tests of Node.js programs need (`make cli-tools` puts them there). Here: finding them, or skipping."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def node_modules() -> Path:
    """The folder `node_modules` with @pulumi/pulumi; skips the test, and says why, where there is none."""
    if shutil.which("node") is None:
        pytest.skip("node is not on PATH")
    folder = Path(os.environ.get("SPG99_NODE_MODULES") or ROOT / ".tools/node/node_modules")
    if not (folder / "@pulumi/pulumi/cmd/run/index.js").is_file():
        pytest.skip(
            f"@pulumi/pulumi is not in {folder} (`make cli-tools` installs it; SPG99_NODE_MODULES names another folder)"
        )
    return folder
