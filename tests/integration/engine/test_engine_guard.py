"""Nothing is written until a step is decided, and every way to a deletion asks the same guard. Not here: the rules (unit tests)."""

from __future__ import annotations

import json
from typing import Any

import pytest

KEPT = 'Box("app", text="{text}", size=1, opts=Opts(protect={protect}, import_="{id}"))'


def _there(project: Any, *names: str) -> None:
    for name in names:
        (project.shelf / f"{name}.json").write_text(json.dumps({"text": name, "size": 1}))


def _mark_pending(project: Any, **more: Any) -> None:
    """What the version before this one left: the object of the state replaced by another, its own deletion pending."""
    raw = json.loads(project.state_file.read_text())
    resources = raw["checkpoint"]["latest"]["resources"]
    (live,) = [r for r in resources if r["urn"].endswith("::app")]
    resources.append(live | {"delete": True} | more)
    live["id"] = "other-1"
    project.state_file.write_text(json.dumps(raw))
    _there(project, "other-1")


def test_a_wrong_import_of_a_protected_resource_changes_nothing(project: Any) -> None:
    project.up('Box("app", text="a", size=1, opts=Opts(protect=True))')
    _there(project, "other-1")
    before = project.state_file.read_bytes()
    for text in ("a", "other-1"):
        result = project.up(KEPT.format(text=text, protect=True, id="other-1"), ok=False)
        assert "app: The state has it with the id 'app-1', and it is protected" in project.why(result)
        assert project.state_file.read_bytes() == before
    assert project.up('Box("app", text="other", size=1, opts=Opts(protect=True))').changes == {"same": 1, "update": 1}
    assert (project.shelf / "app-1.json").exists() and project.journal("delete") == []


@pytest.mark.slow  # broken
@pytest.mark.parametrize("refusing", ["check", "diff"])
def test_an_import_that_a_check_refuses_changes_nothing(project: Any, refusing: str) -> None:
    project.up('Box("app", text="a", size=1)')
    _there(project, "other-1")
    before = project.state_file.read_bytes()
    program = KEPT.format(text="b", protect=False, id="other-1")
    if refusing == "check":
        program = program.replace("size=1", "size=-1")
    else:
        program = program.replace("size=1", 'size=1, kind="forces another"')
    assert not project.up(program, ok=False).ok
    assert project.state_file.read_bytes() == before


def test_an_import_in_place_of_another_deletes_that_and_its_preview_says_so(project: Any) -> None:
    project.up('Box("app", text="a", size=1)')
    _there(project, "other-1")
    program = KEPT.format(text="other-1", protect=False, id="other-1")
    preview = project.preview(program)
    assert preview.changes == {"same": 1, "import": 1, "delete": 1}
    assert project.up(program).changes == {"same": 1, "import": 1, "delete": 1}
    assert project.resource("app")["id"] == "other-1" and not (project.shelf / "app-1.json").exists()


@pytest.mark.slow  # broken
def test_a_pending_deletion_is_shown_in_every_preview(project: Any) -> None:
    project.up('Box("app", text="a", size=1)')
    _mark_pending(project)
    assert project.preview().changes == {"same": 2, "delete": 1}
    code, out, _ = project.call("preview", "-s", "dev")
    assert code == 0 and "- 1 to delete" in out and "[id app-1: another one has taken its place" in out
    assert project.destroy(dry_run=True).changes["delete"] == 3
    code, out, _ = project.call("preview", "-s", "dev", "--expect-no-changes")
    assert code == 255
    assert project.up().changes == {"same": 2, "delete": 1}
    assert not (project.shelf / "app-1.json").exists() and (project.shelf / "other-1.json").exists()


@pytest.mark.slow  # broken
def test_a_pending_deletion_honours_protect_and_retain(project: Any) -> None:
    program = 'Box("app", text="a", size=1, opts=Opts(protect=True))'
    project.up(program)
    _mark_pending(project)
    before = project.state_file.read_bytes()
    for run in (project.preview, project.up, project.destroy):
        options = {"ok": False} if run == project.up else {}
        assert "is pending; but it is protected" in project.why(run(**options))
    assert (project.shelf / "app-1.json").exists() and project.state_file.read_bytes() == before
    assert project.up('Box("app", text="a", size=1)').changes["delete"] == 1
    assert not (project.shelf / "app-1.json").exists()
    _there(project, "app-1")
    _mark_pending(project, retainOnDelete=True, id="app-1")
    assert project.up().changes["delete"] == 1
    assert (project.shelf / "app-1.json").exists() and project.resource("app")["id"] == "other-1"


def test_what_the_provider_protects_stays_whatever_leads_to_its_deletion(project: Any) -> None:
    project.up('Box("app", text="a", size=1)')
    project.behave(delete__app={"fail": "deletion_protection is on"})
    for program in ('Box("app", text="a", size=1, place="elsewhere")', 'Box("app", text="a", size=1, kind="b")', ""):
        assert "deletion_protection is on" in project.why(project.up(program, ok=False))
        assert (project.shelf / "app-1.json").exists()
    assert "deletion_protection is on" in project.why(project.destroy())
    assert (project.shelf / "app-1.json").exists()
    assert any(r["id"] == "app-1" for r in project.state()["resources"] if "id" in r)


@pytest.mark.slow  # broken
def test_a_replacement_first_asks_for_all_that_goes_with_it(project: Any) -> None:
    program = """
    base = Box("base", text="x", place="{place}")
    low = Box("low", kind=base.shade, opts=Opts(protect=True))
    Box("high", kind=low.shade)
    """
    project.up(program.format(place="here"))
    before = project.state_file.read_bytes()
    why = project.why(project.up(program.format(place="there"), ok=False))
    assert "would have to be replaced with it, and is protected" in why
    assert project.journal("delete") == [] and project.state_file.read_bytes() == before


@pytest.mark.slow  # broken
def test_a_rename_that_fails_leaves_the_old_name(project: Any) -> None:
    project.up('Box("old", text="a", size=1)')
    before = project.state_file.read_bytes()
    project.up('Box("new", text="a", size=-1, opts=Opts(aliases=[Alias(name="old")]))', ok=False)
    assert project.state_file.read_bytes() == before
    assert project.up('Box("old", text="a", size=1)').changes == {"same": 2}, "the program that was taken back finds it"


@pytest.mark.slow  # broken
def test_an_import_file_whose_entries_cannot_be_read_writes_nothing(project: Any) -> None:
    assert project.call("stack", "init", "dev")[0] == 0
    file = project.folder / "import.json"
    file.write_text(json.dumps({"resources": [{"type": "shelf:index:Box", "name": "b", "id": "nobody-1"}]}))
    code, out, err = project.call("import", "--file", str(file), "--yes", "-s", "dev")
    assert code == 255 and "nothing to import" in out + err
    assert {r["type"] for r in project.state().get("resources", [])} <= {"pulumi:providers:shelf"}


BOX = 'Box("{name}", text="app", size=1)'


def _hold_twice(project: Any) -> None:
    """What an import of a renamed resource has left in a state: two names for one object."""
    project.up(BOX.format(name="app"))
    raw = json.loads(project.state_file.read_text())
    resources = raw["checkpoint"]["latest"]["resources"]
    (live,) = [r for r in resources if r["urn"].endswith("::app")]
    resources.append(live | {"urn": live["urn"].replace("::app", "::eng-app")})
    project.state_file.write_text(json.dumps(raw))


def test_of_an_object_that_the_state_holds_twice_one_name_goes_and_nothing_is_deleted(project: Any) -> None:
    _hold_twice(project)
    program = BOX.format(name="eng-app")
    for result in (project.preview(program), project.up()):
        assert result.ok and result.changes == {"same": 2, "discard": 1}, result.changes
        (said,) = [m.text for m in result.messages if m.urn.endswith("::app")]
        assert "nothing is deleted" in said and "::eng-app holds the same object, 'app-1'" in said
    assert project.journal("delete") == [] and (project.shelf / "app-1.json").exists()
    assert project.resource("eng-app")["id"] == "app-1"


@pytest.mark.slow  # broken
def test_destroying_a_target_keeps_what_another_name_holds_and_destroying_all_deletes_it_once(project: Any) -> None:
    _hold_twice(project)
    assert project.destroy(targets=["**::app"]).changes == {"discard": 1}
    assert (project.shelf / "app-1.json").exists()
    project.destroy()
    _hold_twice(project)
    project.journal()
    result = project.destroy()
    assert result.ok and result.changes == {"discard": 1, "delete": 2}, result.changes
    assert project.journal("delete") == ["delete app"] or project.journal("delete") == ["delete eng-app"]
    assert not (project.shelf / "app-1.json").exists()


@pytest.mark.slow  # broken
@pytest.mark.parametrize("by", ["file", "option"])
def test_what_the_state_holds_under_one_name_is_not_imported_under_another(project: Any, by: str) -> None:
    project.up(BOX.format(name="app"))
    before = project.state_file.read_bytes()
    if by == "file":
        file = project.folder / "import.json"
        file.write_text(json.dumps({"resources": [{"type": "shelf:index:Box", "name": "eng-app", "id": "app-1"}]}))
        code, out, err = project.call("import", "--file", str(file), "--yes", "-s", "dev")
        assert code == 255
        said = " ".join((out + err).split())
    else:
        program = BOX.format(name="app") + '\nBox("eng-app", text="app", size=1, opts=Opts(import_="app-1"))'
        assert "holds 'app-1' already" in project.why(project.preview(program))
        said = project.why(project.up(ok=False))
    assert "::app; one object cannot be two resources" in said and 'aliases=[Alias(name="app")]' in said, said
    assert [r for r in json.loads(before)["checkpoint"]["latest"]["resources"] if "Box" in r["type"]] == [
        r for r in project.state()["resources"] if "Box" in r["type"]
    ]


@pytest.mark.parametrize("retain", [False, True], ids=["deleted", "retained"])
def test_an_import_in_anothers_place_says_in_preview_and_run_what_becomes_of_that(project: Any, retain: bool) -> None:
    project.up('Box("app", text="a", size=1)')
    _there(project, "other-1")
    project.program(f'Box("app", text="other-1", size=1, opts=Opts(import_="other-1", retain_on_delete={retain}))')
    for verb, count in (("preview", "- 1 to delete"), ("up", "- 1 deleted")):
        code, out, err = project.call(verb, "-s", "dev", *(("--yes", "--skip-preview") if verb == "up" else ()))
        said = " ".join((out + err).split())
        assert code == 0 and "= 1" in said and count in said and "[id app-1: another one has taken its place" in said, (
            said
        )
        assert ("[retained: it leaves the state and is not deleted]" in said) == retain, said
    assert (project.shelf / "app-1.json").exists() == retain
    assert project.journal("delete") == ([] if retain else ["delete app"])
