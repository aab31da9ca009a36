"""A run that was interrupted: the next one, whichever it is, first finds out what became of everything that was under way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spg99.engine.backend import StackFile
from spg99.errors import Spg99Error

pytestmark = pytest.mark.slow  # broken

BOX = 'Box("box", text="a", size=1)'
OTHER = 'Box("other", text="o", size=1)'


def _interrupted(project: Any, kind: str, name: str, **changes: Any) -> None:
    """The state as a run leaves it that was killed in the middle of an operation."""
    raw = json.loads(project.state_file.read_text())
    latest = raw["checkpoint"]["latest"]
    (resource,) = [r for r in latest["resources"] if r["urn"].endswith(f"::{name}") and not r.get("delete")]
    if kind == "creating" and "id" not in changes:
        latest["resources"].remove(resource)
    asked = resource | changes
    if kind == "creating":
        asked = {key: value for key, value in asked.items() if key not in ("id", "outputs")}
    latest.setdefault("pending_operations", []).append({"resource": asked, "type": kind})
    project.state_file.write_text(json.dumps(raw))


def _open(project: Any) -> list[Any]:
    found: list[Any] = project.state().get("pending_operations", [])
    return found


@pytest.fixture
def remembering(project: Any) -> Any:
    """A provider that can be asked what became of a create."""
    (project.shelf / "remembers").touch()
    return project


@pytest.mark.parametrize("command", ["up", "refresh", "destroy"])
@pytest.mark.parametrize("made", [True, False], ids=["made", "not made"])
def test_a_create_whose_end_nobody_saw(remembering: Any, command: str, made: bool) -> None:
    project = remembering
    project.up(BOX + "\n" + OTHER)
    _interrupted(project, "creating", "box")
    if not made:
        (project.shelf / "box-1.json").unlink()
    before = project.state_file.read_bytes()
    preview = project.preview(dry_run=True)
    said = "it was made ('box-1')" if made else "it was not made"
    assert any(said in m.text for m in preview.messages) and preview.changed
    assert project.state_file.read_bytes() == before, "a preview only shows it"
    project.journal()
    result = getattr(project, command)()
    assert result.ok and any(said in m.text for m in result.messages) and not _open(project)
    asked = project.entries()
    assert [e["id"] for e in asked if e["op"] == "read" and e["id"].startswith("spg99:")] == [
        "spg99:was-it-made-else-never"
    ]
    if command == "up":
        assert project.up().changes == {"same": 3} and not project.up().messages
        assert [f.name for f in project.shelf.glob("box-*.json")] == ["box-1.json"]
    elif command == "refresh":
        assert ("box" in project.names()) == made
    else:
        assert project.names() == [] and not list(project.shelf.glob("*-*.json"))


def test_a_create_that_nobody_declares_any_more_is_deleted_by_the_guard(remembering: Any) -> None:
    project = remembering
    project.up(BOX.replace("size=1", "size=1, opts=Opts(protect=True)") + "\n" + OTHER)
    _interrupted(project, "creating", "box")
    assert "box: It is protected" in project.why(project.up(OTHER, ok=False))
    assert (project.shelf / "box-1.json").exists() and not _open(project)
    project.up(BOX + "\n" + OTHER)
    assert project.up(OTHER).changes == {"same": 2, "delete": 1} and not (project.shelf / "box-1.json").exists()


def test_a_create_that_is_there_but_not_settled_is_finished_by_the_next_up(remembering: Any) -> None:
    project = remembering
    project.up(BOX)
    _interrupted(project, "creating", "box")
    (project.shelf / "unfinished").write_text("it is still drying")
    assert project.up().changes == {"refresh": 1, "same": 1, "update": 1}
    assert not project.resource("box").get("initErrors") and project.up().changes == {"same": 2}


def test_half_of_a_replacement(remembering: Any) -> None:
    """The one that was to be replaced stays; the new one goes, unless the next program makes it once more."""
    project = remembering
    project.up(BOX)
    (project.shelf / "box-2.json").write_text(json.dumps({"text": "a", "size": 1, "kind": "new"}))
    _interrupted(project, "creating", "box", id="box-2", inputs={"text": "a", "size": 1, "kind": "new"})
    assert project.preview().changes == {"refresh": 1, "same": 2, "delete": 1}
    assert project.up().changes == {"refresh": 1, "same": 2, "delete": 1}
    assert project.resource("box")["id"] == "box-1" and not (project.shelf / "box-2.json").exists()


@pytest.mark.parametrize("happened", [True, False])
def test_a_delete_whose_end_nobody_saw(project: Any, happened: bool) -> None:
    project.up(BOX + "\n" + OTHER)
    _interrupted(project, "deleting", "box")
    if happened:
        (project.shelf / "box-1.json").unlink()
    assert project.preview().ok
    # the program declares it again: that must not fail
    result = project.up()
    assert result.changes["refresh"] == 1 and not _open(project)
    assert result.changes.get("create", 0) == (1 if happened else 0)
    assert project.up().changes == {"same": 3} and not project.up().messages


@pytest.mark.parametrize("happened", [True, False])
def test_an_update_whose_end_nobody_saw_is_read_back(project: Any, happened: bool) -> None:
    project.up(BOX)
    wanted = {"text": "b", "size": 1}
    _interrupted(project, "updating", "box", inputs=wanted)
    if happened:
        (project.shelf / "box-1.json").write_text(json.dumps(wanted))
    result = project.up(BOX.replace('"a"', '"b"'))
    assert result.ok and result.changes.get("update", 0) == (0 if happened else 1) and not _open(project)
    assert json.loads((project.shelf / "box-1.json").read_text()) == wanted


def test_what_cannot_be_asked_stays_open_and_is_said(project: Any) -> None:
    project.up(BOX + "\n" + OTHER)
    _interrupted(project, "creating", "box")
    _interrupted(project, "deleting", "other")
    project.behave(read__other={"fail": "the shelf is out of reach"})
    result = project.refresh()
    said = "\n".join(m.text for m in result.messages)
    assert "cannot be asked whether it was made" in said and "the shelf is out of reach" in said
    assert [op["type"] for op in _open(project)] == ["creating", "deleting"]
    project.behave()
    assert project.up().ok and not _open(project), "made again, under the same name"


def test_providers_hear_of_the_end_of_a_run_that_is_in_the_state(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulumi's Cancel: what they have kept for the case of a lost answer may go. Not in a preview, which writes nothing, and not
    while the state could not be written."""
    project.preview(BOX)
    assert "cancel" not in project.journal()
    project.up()
    assert project.journal()[-1] == "cancel"

    def full(_file: StackFile, _deployment: bytes | None) -> None:
        raise Spg99Error("There is no room on the disk.")

    monkeypatch.setattr(StackFile, "write", full)
    assert "no room on the disk" in project.why(project.up(BOX + "\n" + OTHER, ok=False))
    assert "cancel" not in project.journal()
