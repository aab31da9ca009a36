"""What `spg99 orphans` names for a create that is pending in a stack of Pulumi's real CLI takes the object in, and no note is left.

Here: the CLI and its commands, on a state as a killed engine leaves it. Not here: a stack in a file backend (tests of `spg99 orphans`),
real kills (tests/faults/rounds.py).
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from integration.bridges.plane_stub import Plane
from integration.bridges.test_forced_replacements import uid
from integration.bridges.test_forced_replacements_cli import project
from spg99.commands.orphans.rules import Declared
from spg99.commands.orphans.states import read_state
from spg99.commands.orphans.taking_in import commands_for_pending, taking_in
from spg99.resources import Database

pytestmark = pytest.mark.slow  # again


def _interrupted(folder: Path, name: str) -> str:
    """The state as an engine leaves it that was killed while it created `name`; its URN."""
    file = folder / "state/.pulumi/stacks/proj/dev.json"
    raw = json.loads(file.read_text())
    latest: dict[str, Any] = raw["checkpoint"]["latest"]
    (made,) = [each for each in latest["resources"] if each["urn"].endswith(f"::{name}")]
    latest["resources"].remove(made)
    asked = {key: value for key, value in made.items() if key not in ("id", "outputs", "created", "modified")}
    latest["pending_operations"] = [{"resource": asked, "type": "creating"}]
    file.write_text(json.dumps(raw))
    return str(made["urn"])


def _left(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "state/.pulumi/stacks/proj/dev.json").read_text())["checkpoint"]["latest"])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["dynamic", "native"])
@pytest.mark.parametrize("made", [True, False], ids=["made", "not made"])
def test_what_is_named_settles_a_pending_create(
    kind: str, made: bool, plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIGGER", "one")
    run = project(kind, plane, tmp_path)
    run(0, "stack", "init", "dev")
    run(0, "up", "--yes", "--skip-preview")
    was, urn = uid(plane), _interrupted(tmp_path, "app")
    thing = Database.model_validate(plane.objects["database", "acme/app"])
    found = Declared("database", "acme/app", str(was), "pulumi", "pulumi:proj/dev", urn, True, None, thing.created_at)
    if not made:
        plane.delete_outside("database", "acme/app")
    state = read_state((tmp_path / "state/.pulumi/stacks/proj/dev.json").read_text())
    first, *commands = commands_for_pending([found] if made else [], state, in_files=False)
    if made:
        assert first == "spg99 orphans --import -o orphans.json"
        (tmp_path / "orphans.json").write_text(json.dumps(taking_in([(found, thing)], state).content))
    else:
        commands.insert(0, first)
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "pulumi"
        run(0, *arguments, "--yes", "--skip-preview")
    left = _left(tmp_path)
    assert not left.get("pending_operations")
    assert [each["id"] for each in left["resources"] if each["urn"] == urn] == (["acme/app"] if made else [])
    run(0, "up", "--yes", "--skip-preview", *(["--expect-no-changes"] if made else []))
    assert (uid(plane) == was) == made


@pytest.mark.timeout(600)
def test_pulumis_own_way_takes_nothing_in(plane: Plane, tmp_path: Path) -> None:
    """`refresh --import-pending-creates` forgets the note and no more (3.274). When this fails, Pulumi has mended it, and our message
    may name it."""
    run = project("native", plane, tmp_path)
    run(0, "stack", "init", "dev")
    run(0, "up", "--yes", "--skip-preview")
    urn = _interrupted(tmp_path, "app")
    flag = "--import-pending-creates"
    run(0, "refresh", "--yes", "--skip-preview", flag, urn, flag, "acme/app")
    left = _left(tmp_path)
    assert not left.get("pending_operations") and urn not in {each["urn"] for each in left["resources"]}
