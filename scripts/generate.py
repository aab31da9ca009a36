"""Writes every generated file, or with --check says which ones are stale. The facts are elsewhere; this only lists who emits what."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from spg99.bridges.terraform.documentation import pages as terraform_pages
from spg99.bridges.terraform.schema import tables
from spg99.bridges.terraform.schema_json import as_json
from spg99.config import ControlPlaneSettings
from spg99.control_plane.server import create_app
from spg99.control_plane.store import Store
from spg99.emit import dynamic, pulumi_docs, pulumi_schema, reference, sdk_nodejs, sdk_python, shapes
from spg99.emit.package import package
from spg99.node.profiles import PROFILES

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (
    ROOT / "sdk",
    *(ROOT / "docs" / kind for kind in ("resources", "data-sources", "ephemeral-resources", "functions")),
)
"""Nothing but generated files lives here."""
LEFT_BY_TOOLS = {"__pycache__", "node_modules", "build", "dist", ".mypy_cache"}
"""Folders that an install or a test leaves in them."""


def openapi() -> dict[str, Any]:
    """The document that a Control Plane serves; none has to run for it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = ControlPlaneSettings(data_dir=Path(folder))
        document: dict[str, Any] = create_app(settings, Store("postgresql://nowhere")).openapi()
    return document


def sizes() -> list[tuple[str, int, int, int, int]]:
    """What each size stands for, as the node knows it."""
    return [
        (size.value, one.memory_mb, one.max_connections, one.shared_buffers_mb, one.work_mem_kb)
        for size, one in PROFILES.items()
    ]


def files() -> dict[Path, str]:
    """Every generated file and its right content."""
    docs = ROOT / "docs"
    generated = pulumi_schema.schema(package())
    registries = pulumi_docs.pages(package()) | terraform_pages(package(), as_json(tables(package())))
    sdks = {ROOT / "sdk" / "python": sdk_python.files(generated), ROOT / "sdk" / "nodejs": sdk_nodejs.files(generated)}
    return {
        dynamic.OUTPUT: dynamic.module(),
        shapes.OUTPUT: shapes.prepared(package()),
        pulumi_schema.OUTPUT: pulumi_schema.text(package()),
        **{folder / name: content for folder, made in sdks.items() for name, content in made.items()},
        **{docs / name: content for name, content in registries.items()},
        docs / "resources.md": reference.resources_page(),
        docs / "settings.md": reference.settings_page(),
        docs / "api.md": reference.api_page(openapi()),
        docs / "operations.md": reference.with_sizes((docs / "operations.md").read_text(), sizes()),
    }


def strangers(wanted: dict[Path, str]) -> list[Path]:
    """Files in generated folders that nobody emits (any more)."""
    there = [path for folder in FOLDERS for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in there if path not in wanted and not LEFT_BY_TOOLS & set(path.relative_to(ROOT).parts)]


def main() -> int:
    """Writes what differs and removes what nobody emits; with --check answers 1 and names it instead."""
    wanted = files()
    extra = strangers(wanted)
    for path in extra:
        if "--check" in sys.argv:
            print(f"not generated: {path.relative_to(ROOT)} (run `make generate`)")
        else:
            path.unlink()
            print(f"removed: {path.relative_to(ROOT)}")
    stale = [path for path, content in wanted.items() if not path.exists() or path.read_text() != content]
    for path in stale:
        if "--check" in sys.argv:
            print(f"stale: {path.relative_to(ROOT)} (run `make generate`)")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path])
            print(f"written: {path.relative_to(ROOT)}")
    return 1 if (stale or extra) and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
