"""Every file that the map of the code names is there. Not here: guides, whose links have a test of their own (test_guides.py)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "docs/architecture.md", "docs/contributing.md")]
FROM = [
    ROOT,
    ROOT / "docs",
    *sorted(p for p in (ROOT / "tests" / "integration").rglob("*") if p.is_dir()),
    ROOT / "provider",
    ROOT / "provider" / "spg99",
    *sorted(p for p in (ROOT / "provider" / "spg99").rglob("*") if p.is_dir()),
]
A_PATH = re.compile(r"[\w.*-]+(?:/[\w.*-]+)*(?:/|\.(?:py|sql|md|toml|json|so|c))|[\w-]+(?:/[\w*-]+)+")
MADE_UP = {"note.py", "notes.py", "note_routes.py", "NNNN_notes.up.sql", "NNNN_notes.down.sql", "acme/app", "acme/x"}
"""Files that a reader of "Add a noun" makes, and names of databases."""


def spelled_out(text: str) -> list[str]:
    """`a/{b,c}.py` names two files."""
    parts = re.split(r"\{([^{}]*)\}", text)
    choices = [part.split(",") if number % 2 else [part] for number, part in enumerate(parts)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def paths_in(page: str) -> Iterator[str]:
    """What stands in backticks, without options and blanks, and looks like a path of ours."""
    for quoted in re.findall(r"`([^`\n]+)`", page):
        for text in spelled_out(quoted):
            if A_PATH.fullmatch(text) and not text.startswith(("/", "-", "application/", "text/")):
                yield text


def is_there(path: str) -> bool:
    return any(next(iter(base.glob(path.rstrip("/"))), None) is not None for base in FROM)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_is_named_is_there(page: Path) -> None:
    named = set(paths_in(page.read_text()))
    assert len(named) > 3, "nothing was found: is the pattern still right?"
    assert sorted(path for path in named - MADE_UP if path.split("/")[-1] not in MADE_UP and not is_there(path)) == []


def test_a_path_that_is_gone_would_be_seen() -> None:
    assert list(paths_in("see `gateway/desk.py` and `tests/{unit,desk}/x.py`")) == [
        "gateway/desk.py",
        "tests/unit/x.py",
        "tests/desk/x.py",
    ]
    assert not is_there("gateway/desk.py") and is_there("gateway/accept.py") and is_there("checkouts.py")
