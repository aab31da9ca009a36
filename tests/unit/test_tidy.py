"""The project's own rules about files, as a test: first lines, names, sizes, nothing of one machine in a commit."""

from __future__ import annotations

import ast
import re
import subprocess
import tokenize
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "provider" / "spg99"
GENERATED = {PACKAGE / "dynamic.py", PACKAGE / "prepared.py"}
LINES_MAX = 400
BANNED_NAMES = {"utils", "helpers", "common", "misc", "manager", "base", "core", "util", "helper"}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def tracked() -> list[Path]:
    """Every file that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_a_file_says_what_lives_there_and_is_not_too_long() -> None:
    texts = {path: path.read_text() for path in SOURCES}
    assert [path for path, text in texts.items() if not ast.get_docstring(ast.parse(text))] == []
    assert [path for path in texts.keys() - GENERATED if len(texts[path].splitlines()) > LINES_MAX] == []
    assert [path for path in texts if path.stem in BANNED_NAMES] == []


OUR_PICTURES = {
    "look",
    "looks",
    "looked",
    "looking",
    "tell",
    "tells",
    "told",
    "door",
    "doors",
    "doorman",
    "desk",
    "doorstep",
    "house",
}
OUR_PICTURES |= {"tally", "tallies", "wish", "wishes", "bell", "bells"}
"""Words of ours for things that the field has a word for: no name is made of them (sentences may say that somebody looks)."""
NAMED = [*SOURCES, *sorted((ROOT / "scripts").glob("*.py"))]


def words_of(name: str) -> set[str]:
    """The words of a name: `look_again`, `LookAgain` and `LOOK_AGAIN` are made of two each."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def names_made_of(words: set[str], paths: Iterable[Path]) -> list[str]:
    """Names of these files, and in them, that are made of one of these words, as `file: name`."""
    found = []
    for path in paths:
        with path.open() as source:
            names = {token.string for token in tokenize.generate_tokens(source.readline) if token.type == tokenize.NAME}
        found += [f"{path.relative_to(ROOT)}: {name}" for name in names | {path.stem} if words_of(name) & words]
    return found


def test_names_are_the_fields_words() -> None:
    assert names_made_of(OUR_PICTURES, NAMED) == []


def test_tests_say_platform_as_everybody_does() -> None:
    """A test's name is a sentence and may tell; the thing under test has one name."""
    assert names_made_of({"house"}, (ROOT / "tests").rglob("*.py")) == []


def test_a_name_of_ours_would_be_seen() -> None:
    assert all(
        words_of(name) & OUR_PICTURES for name in ("look_again", "_Look", "LOOK_SECONDS", "forgetsWish", "_told")
    )
    assert not any(words_of(name) & OUR_PICTURES for name in ("LookupError", "lookup", "household", "untold"))


def test_exceptions_are_caught_whole_only_at_the_edges() -> None:
    found = {
        str(path.relative_to(PACKAGE))
        for path in SOURCES
        if re.search(r"^\s*except( Exception)?\s*(as \w+)?:", path.read_text(), re.MULTILINE)
    }
    edges = {
        "commands/app.py",  # the command line: a user reads a sentence, never a traceback
        "engine/run.py",  # re-raised after the run is cleaned up
        "bridges/pulumi/dynamic/provider.py",  # Pulumi's host would print a traceback: it becomes one message
    }
    # Every other place must say why on the line itself.
    for name in found - edges:
        for line in (PACKAGE / name).read_text().splitlines():
            if re.search(r"except( Exception)?\s*(as \w+)?:", line):
                assert "noqa: BLE001" in line and len(line.split("BLE001")[1].strip(" -:")) > 10, (
                    f"{name}: {line.strip()}"
                )


def test_nothing_of_a_registry_or_of_one_machine_is_committed() -> None:
    registry = re.compile(
        r"(pypi\.org|pythonhosted|registry\.npmjs|crates\.io/api|proxy\.golang|repo1\.maven|deb\.debian)"
    )
    machine = re.compile(r"/(root|work|home)/[a-z]")
    found = []
    for path in tracked():
        if path == Path(__file__):
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if registry.search(line) or machine.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found
