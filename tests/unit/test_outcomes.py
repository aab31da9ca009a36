"""What is kept of a run for the next: skipped, failed, failed by chance. Not here: what CI makes of it (.ci/run)."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit import outcomes


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "FOLDER", tmp_path)
    for name in ("SKIPPED", "FAILED", "BY_CHANCE"):
        monkeypatch.setattr(outcomes, name, tmp_path / name)


def kept() -> tuple[list[str], list[str], list[str]]:
    return outcomes._lines(outcomes.SKIPPED), outcomes._lines(outcomes.FAILED), outcomes._lines(outcomes.BY_CHANCE)


def test_a_second_tier_adds_to_the_first_and_has_second_chances_of_its_own() -> None:
    outcomes.write("first", {"a": "passed", "b": "failed", "c": "skipped", "d": "failed"})
    assert kept() == (["c"], ["b", "d"], [])
    outcomes.write("again", {"b": "passed", "d": "failed"})
    assert kept() == (["c"], ["d"], ["b"]), "who passes now failed by chance, who fails again is a fault"
    outcomes.write("more", {"e": "failed", "f": "skipped", "g": "passed"})
    assert kept() == (["c", "f"], ["e"], ["b"]), "the fault of the first tier is not asked a third time"
    outcomes.write("again", {"e": "passed"})
    assert kept() == (["c", "f"], [], ["b", "e"])
    outcomes.write("first", {"a": "passed"})
    assert kept() == ([], [], [])


def test_what_is_skipped_no_more_leaves_the_list() -> None:
    outcomes.write("first", {"a": "skipped", "b": "skipped"})
    outcomes.write("again", {"a": "passed", "b": "skipped"})
    assert kept() == (["b"], [], [])
