"""Writes every generated file, or with --check says which ones are stale. The facts are elsewhere; this only lists who emits what."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from spg99.config import ControlPlaneSettings
from spg99.control_plane.server import create_app
from spg99.control_plane.store import Store
from spg99.emit import dynamic, reference

ROOT = Path(__file__).resolve().parent.parent


def openapi() -> dict[str, Any]:
    """The document that a Control Plane serves; none has to run for it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = ControlPlaneSettings(data_dir=Path(folder))
        document: dict[str, Any] = create_app(settings, Store("postgresql://nowhere")).openapi()
    return document


def files() -> dict[Path, str]:
    """Every generated file and its right content."""
    docs = ROOT / "docs"
    return {
        dynamic.OUTPUT: dynamic.module(),
        docs / "resources.md": reference.resources_page(),
        docs / "settings.md": reference.settings_page(),
        docs / "api.md": reference.api_page(openapi()),
    }


def main() -> int:
    """Writes what differs; with --check answers 1 and names it instead."""
    wanted = files()
    stale = [path for path, content in wanted.items() if not path.exists() or path.read_text() != content]
    for path in stale:
        if "--check" in sys.argv:
            print(f"stale: {path.relative_to(ROOT)} (run `make generate`)")
        else:
            path.write_text(wanted[path])
            print(f"written: {path.relative_to(ROOT)}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
