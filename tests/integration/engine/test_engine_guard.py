"""Nothing is written until a step is decided, and every way to a deletion asks the same guard. Not here: the rules (unit tests)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spg99.engine.decide import Kind

KEPT = 'Box("app", text="{text}", size=1, opts=Opts(protect={protect}, import_="{id}"))'


def _there(house: Any, *names: str) -> None:
    for name in names:
        (house.shelf / f"{name}.json").write_text(json.dumps({"text": name, "size": 1}))


def _mark_pending(house: Any, **more: Any) -> None:
    """What the version before this one left: the object of the state replaced by another, its own deletion pending."""
    raw = json.loads(house.state_file.read_text())
    resources = raw["checkpoint"]["latest"]["resources"]
    (live,) = [r for r in resources if r["urn"].endswith("::app")]
    resources.append(live | {"delete": True} | more)
    live["id"] = "other-1"
    house.state_file.write_text(json.dumps(raw))
    _there(house, "other-1")


def test_a_wrong_import_of_a_protected_resource_changes_nothing(house: Any) -> None:
    house.up('Box("app", text="a", size=1, opts=Opts(protect=True))')
    _there(house, "other-1")
    before = house.state_file.read_bytes()
    for text in ("a", "other-1"):
        result = house.up(KEPT.format(text=text, protect=True, id="other-1"), ok=False)
        assert "app: The state has it with the id 'app-1', and it is protected" in house.why(result)
        assert house.state_file.read_bytes() == before
    assert house.up('Box("app", text="other", size=1, opts=Opts(protect=True))').changes == {"same": 1, "update": 1}
    assert (house.shelf / "app-1.json").exists() and house.journal("delete") == []


@pytest.mark.parametrize("refusing", ["check", "diff"])
def test_an_import_that_a_check_refuses_changes_nothing(house: Any, refusing: str) -> None:
    house.up('Box("app", text="a", size=1)')
    _there(house, "other-1")
    before = house.state_file.read_bytes()
    program = KEPT.format(text="b", protect=False, id="other-1")
    if refusing == "check":
        program = program.replace("size=1", "size=-1")
    else:
        program = program.replace("size=1", 'size=1, kind="forces another"')
    assert not house.up(program, ok=False).ok
    assert house.state_file.read_bytes() == before


def test_an_import_in_place_of_another_deletes_that_and_its_preview_says_so(house: Any) -> None:
    house.up('Box("app", text="a", size=1)')
    _there(house, "other-1")
    program = KEPT.format(text="other-1", protect=False, id="other-1")
    preview = house.preview(program)
    assert preview.changes == {"same": 1, "import": 1}
    assert [s.kind for s in preview.steps if s.kind is Kind.DELETE_REPLACED], "told with its replacement"
    house.up(program)
    assert house.resource("app")["id"] == "other-1" and not (house.shelf / "app-1.json").exists()


def test_a_pending_deletion_is_shown_in_every_preview(house: Any) -> None:
    house.up('Box("app", text="a", size=1)')
    _mark_pending(house)
    assert house.preview().changes == {"same": 2, "delete": 1}
    code, out, _ = house.call("preview", "-s", "dev")
    assert code == 0 and "- 1 to delete" in out and "[id app-1: replaced by an earlier run" in out
    assert house.destroy(dry_run=True).changes["delete"] == 3
    code, out, _ = house.call("preview", "-s", "dev", "--expect-no-changes")
    assert code == 255
    assert house.up().changes == {"same": 2, "delete": 1}
    assert not (house.shelf / "app-1.json").exists() and (house.shelf / "other-1.json").exists()


def test_a_pending_deletion_honours_protect_and_retain(house: Any) -> None:
    program = 'Box("app", text="a", size=1, opts=Opts(protect=True))'
    house.up(program)
    _mark_pending(house)
    before = house.state_file.read_bytes()
    for run in (house.preview, house.up, house.destroy):
        options = {"ok": False} if run == house.up else {}
        assert "is pending; but it is protected" in house.why(run(**options))
    assert (house.shelf / "app-1.json").exists() and house.state_file.read_bytes() == before
    assert house.up('Box("app", text="a", size=1)').changes["delete"] == 1
    assert not (house.shelf / "app-1.json").exists()
    _there(house, "app-1")
    _mark_pending(house, retainOnDelete=True, id="app-1")
    assert house.up().changes["delete"] == 1
    assert (house.shelf / "app-1.json").exists() and house.resource("app")["id"] == "other-1"


def test_what_the_provider_protects_stays_whatever_leads_to_its_deletion(house: Any) -> None:
    house.up('Box("app", text="a", size=1)')
    house.behave(delete__app={"fail": "deletion_protection is on"})
    for program in ('Box("app", text="a", size=1, place="elsewhere")', 'Box("app", text="a", size=1, kind="b")', ""):
        assert "deletion_protection is on" in house.why(house.up(program, ok=False))
        assert (house.shelf / "app-1.json").exists()
    assert "deletion_protection is on" in house.why(house.destroy())
    assert (house.shelf / "app-1.json").exists()
    assert any(r["id"] == "app-1" for r in house.state()["resources"] if "id" in r)


def test_a_replacement_first_asks_for_all_that_goes_with_it(house: Any) -> None:
    program = """
    base = Box("base", text="x", place="{place}")
    low = Box("low", kind=base.shade, opts=Opts(protect=True))
    Box("high", kind=low.shade)
    """
    house.up(program.format(place="here"))
    before = house.state_file.read_bytes()
    why = house.why(house.up(program.format(place="there"), ok=False))
    assert "would have to be replaced with it, and is protected" in why
    assert house.journal("delete") == [] and house.state_file.read_bytes() == before


def test_a_rename_that_fails_leaves_the_old_name(house: Any) -> None:
    house.up('Box("old", text="a", size=1)')
    before = house.state_file.read_bytes()
    house.up('Box("new", text="a", size=-1, opts=Opts(aliases=[Alias(name="old")]))', ok=False)
    assert house.state_file.read_bytes() == before
    assert house.up('Box("old", text="a", size=1)').changes == {"same": 2}, "the program that was taken back finds it"


def test_an_import_file_whose_entries_cannot_be_read_writes_nothing(house: Any) -> None:
    assert house.call("stack", "init", "dev")[0] == 0
    file = house.folder / "import.json"
    file.write_text(json.dumps({"resources": [{"type": "shelf:index:Box", "name": "b", "id": "nobody-1"}]}))
    code, out, err = house.call("import", "--file", str(file), "--yes", "-s", "dev")
    assert code == 255 and "nothing to import" in out + err
    assert {r["type"] for r in house.state().get("resources", [])} <= {"pulumi:providers:shelf"}


BOX = 'Box("{name}", text="app", size=1)'


def _hold_twice(house: Any) -> None:
    """What an import of a renamed resource has left in a state: two names for one object."""
    house.up(BOX.format(name="app"))
    raw = json.loads(house.state_file.read_text())
    resources = raw["checkpoint"]["latest"]["resources"]
    (live,) = [r for r in resources if r["urn"].endswith("::app")]
    resources.append(live | {"urn": live["urn"].replace("::app", "::eng-app")})
    house.state_file.write_text(json.dumps(raw))


def test_of_an_object_that_the_state_holds_twice_one_name_goes_and_nothing_is_deleted(house: Any) -> None:
    _hold_twice(house)
    program = BOX.format(name="eng-app")
    for result in (house.preview(program), house.up()):
        assert result.ok and result.changes == {"same": 2, "discard": 1}, result.changes
        (said,) = [m.text for m in result.messages if m.urn.endswith("::app")]
        assert "nothing is deleted" in said and "::eng-app holds the same object, 'app-1'" in said
    assert house.journal("delete") == [] and (house.shelf / "app-1.json").exists()
    assert house.resource("eng-app")["id"] == "app-1"


def test_destroying_a_target_keeps_what_another_name_holds_and_destroying_all_deletes_it_once(house: Any) -> None:
    _hold_twice(house)
    assert house.destroy(targets=["**::app"]).changes == {"discard": 1}
    assert (house.shelf / "app-1.json").exists()
    house.destroy()
    _hold_twice(house)
    house.journal()
    result = house.destroy()
    assert result.ok and result.changes == {"discard": 1, "delete": 2}, result.changes
    assert house.journal("delete") == ["delete app"] or house.journal("delete") == ["delete eng-app"]
    assert not (house.shelf / "app-1.json").exists()


@pytest.mark.parametrize("by", ["file", "option"])
def test_what_the_state_holds_under_one_name_is_not_imported_under_another(house: Any, by: str) -> None:
    house.up(BOX.format(name="app"))
    before = house.state_file.read_bytes()
    if by == "file":
        file = house.folder / "import.json"
        file.write_text(json.dumps({"resources": [{"type": "shelf:index:Box", "name": "eng-app", "id": "app-1"}]}))
        code, out, err = house.call("import", "--file", str(file), "--yes", "-s", "dev")
        assert code == 255
        said = " ".join((out + err).split())
    else:
        program = BOX.format(name="app") + '\nBox("eng-app", text="app", size=1, opts=Opts(import_="app-1"))'
        assert "holds 'app-1' already" in house.why(house.preview(program))
        said = house.why(house.up(ok=False))
    assert "::app; one object cannot be two resources" in said and 'aliases=[Alias(name="app")]' in said, said
    assert [r for r in json.loads(before)["checkpoint"]["latest"]["resources"] if "Box" in r["type"]] == [
        r for r in house.state()["resources"] if "Box" in r["type"]
    ]
