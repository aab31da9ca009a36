"""Writes docs/conformance.md from JUnit files. Here: the command. Not here: the page (report.py)."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.behaviours.report import PAGE, Results, page

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m tests.behaviours RESULT.xml [MORE.xml ...]")
    PAGE.write_text(page(Results.read(map(Path, sys.argv[1:]))))
    print(f"written: {PAGE.name}")
