"""Writes every generated file, or with --check says which ones are stale. The facts are elsewhere; this only lists who emits what."""

from __future__ import annotations

import sys
from pathlib import Path

from spg99.emit import reference

ROOT = Path(__file__).resolve().parent.parent


def files() -> dict[Path, str]:
    """Every generated file and its right content."""
    docs = ROOT / "docs"
    return {
        docs / "resources.md": reference.resources_page(),
        docs / "settings.md": reference.settings_page(),
    }


def main() -> int:
    """Writes what differs; with --check answers 1 and names it instead."""
    stale = [path for path, content in files().items() if not path.exists() or path.read_text() != content]
    if "--check" in sys.argv:
        for path in stale:
            print(f"stale: {path.relative_to(ROOT)} (run `make generate`)")
        return 1 if stale else 0
    for path in stale:
        path.write_text(files()[path])
        print(f"written: {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
