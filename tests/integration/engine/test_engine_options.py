"""Resource options, one by one, as a program gives them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kit.tiers import others_slow


def test_protect_refuses_deletion_replacement_and_destroy(project: Any) -> None:
    project.up('Box("kept", text="a", opts=Opts(protect=True))')
    why = project.why(project.up("", ok=False))
    assert "kept: It is protected" in why
    why = project.why(project.preview('Box("kept", text="a", kind="b", opts=Opts(protect=True))'))
    assert "kept: It would have to be replaced (because of kind), and it is protected" in why
    before = project.state_file.read_bytes()
    result = project.destroy()
    assert not result.ok and result.steps == [] and project.state_file.read_bytes() == before, (
        "nothing at all is deleted"
    )
    assert project.up('Box("kept", text="a")').changes == {"same": 2}
    assert project.destroy().ok


def test_retain_on_delete_and_deleted_with_make_no_calls(project: Any) -> None:
    project.up("""
    shell = Box("shell", text="a")
    Box("inside", text="b", opts=Opts(deleted_with=shell))
    Box("forever", text="c", opts=Opts(retain_on_delete=True))
    """)
    project.journal()
    assert project.destroy().changes == {"delete": 4}
    assert project.journal("delete") == ["delete shell"]
    assert (project.shelf / "forever-1.json").exists() and project.names() == []


def test_ignore_changes_and_replace_on_changes_with_paths(project: Any) -> None:
    program = """
    Box("b", text="{text}", labels={{"keep": "{keep}", "watch": "{watch}", "a.b": "{dotted}"}}, parts=["{first}", "{second}"],
        opts=Opts(ignore_changes=["text", "labels.keep", 'labels["a.b"]', "parts[0]"], replace_on_changes=["labels.watch"]))
    """
    first = {"text": "t", "keep": "k", "watch": "w", "dotted": "d", "first": "1", "second": "2"}
    project.up(program.format(**first))
    ignored = first | {"text": "T", "keep": "K", "dotted": "D", "first": "11"}
    assert project.up(program.format(**ignored)).changes == {"same": 2}
    assert project.resource("b")["inputs"]["labels"]["keep"] == "k"
    seen = ignored | {"second": "22"}
    assert project.up(program.format(**seen)).changes == {"same": 1, "update": 1}
    assert json.loads((project.shelf / "b-1.json").read_text())["parts"] == ["1", "22"]
    result = project.up(program.format(**(seen | {"watch": "W"})))
    assert result.changes == {"same": 1, "replace": 1}


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    others_slow(
        [
            ('Box("old", text="a")', 'Box("new", text="a", opts=Opts(aliases=[Alias(name="old")]))', {"new"}),
            (
                'Box("box", text="a")',
                'r = Rack("r", 0)\nBox("box", text="a", opts=Opts(parent=r, aliases=[Alias(parent=pulumi.ROOT_STACK_RESOURCE)]))',
                {"box"},
            ),
            (
                'Rack("old", 2)',
                'Rack("new", 2, opts=Opts(aliases=[Alias(name="old")]))',
                {"new-0", "new-1"},
            ),
            (
                'Box("old", text="a")\nBox("other", opts=Opts(depends_on=[]))',
                'Box("new", text="a", opts=Opts(aliases=["urn:pulumi:dev::project::shelf:index:Box::old"]))\nBox("other")',
                {"new"},
            ),
        ]
    ),
    ids=["name", "parent", "children of a renamed parent", "urn"],
)
def test_aliases_move_without_touching(project: Any, before: str, after: str, moved: set[str]) -> None:
    project.up(before)
    project.journal()
    result = project.up(after)
    assert "update" not in result.changes and "delete" not in result.changes and "replace" not in result.changes
    assert project.journal("create", "update", "delete") == []
    assert moved <= set(project.names()) and "old" not in project.names()
    assert project.up().changes.keys() == {"same"}


@pytest.mark.slow  # again
def test_alias_while_another_resource_still_needs_the_old_name(project: Any) -> None:
    project.up('a = Box("old", text="a")\nBox("child", text=a.path, opts=Opts(depends_on=[a]))')
    project.behave(create__breaks={"fail": "no"})
    # the run fails before `child` is settled: its reference in the state must follow the new name
    project.up(
        """
    a = Box("new", text="a", opts=Opts(aliases=[Alias(name="old")]))
    x = Box("breaks", text=a.path)
    Box("child", text=x.path.apply(lambda _: "never"), opts=Opts(depends_on=[a, x]))
    """,
        ok=False,
    )
    urns = {r["urn"] for r in project.state()["resources"]}
    needed = project.resource("child")["dependencies"]
    assert needed and set(needed) <= urns


def test_custom_timeouts_reach_the_provider_and_the_state(project: Any) -> None:
    timeouts = 'opts=Opts(custom_timeouts=pulumi.CustomTimeouts(create="7m", update="1h30m", delete="90s"))'
    project.up(f'Box("slow", text="a", {timeouts})')
    project.up(f'Box("slow", text="b", {timeouts})')
    assert project.resource("slow")["customTimeouts"] == {"create": 420, "update": 5400, "delete": 90}
    project.destroy()
    seen = {e["op"]: e["timeout"] for e in project.entries() if "timeout" in e}
    assert seen == {"create": 420, "update": 5400, "delete": 90}


def test_additional_secret_outputs_and_secrets_anywhere(project: Any) -> None:
    project.up("""
    box = Box("box", text="plain", labels={"deep": ["a", Output.secret("buried")]}, opts=Opts(additional_secret_outputs=["shade"]))
    pulumi.export("shade", box.shade)
    """)
    text = project.state_file.read_text()
    assert "buried" not in text and "shade of box-1" not in text
    assert project.up().changes == {"same": 2}
    code, out, _ = project.call("stack", "output", "-s", "dev")
    assert code == 0 and "shade  [secret]" in out and "shade of" not in out
    assert "shade of box-1" in project.call("stack", "output", "shade", "--show-secrets", "-s", "dev")[1]
    assert project.resource("box")["additionalSecretOutputs"] == ["shade"]


@pytest.mark.slow  # again
def test_explicit_providers_have_their_own_configuration(project: Any) -> None:
    program = """
    south = Provider("south", zone="{zone}", token=Output.secret("{token}"))
    Box("a", opts=Opts(provider=south))
    Box("b")
    """
    assert project.preview(program.format(zone="south", token="first-token-of-south")).changes == {"create": 4}
    project.up(program.format(zone="south", token="first-token-of-south"))
    zones = {e["name"]: e["zone"] for e in project.entries() if e["op"] == "create"}
    assert zones == {"a": "south", "b": "north"}
    assert "first-token-of-south" not in project.state_file.read_text()
    project.journal()
    assert project.up(program.format(zone="south", token="t2")).changes == {"same": 3, "update": 1}
    assert project.journal("create", "delete") == [], "credentials of a provider replace nothing"
    result = project.up(program.format(zone="west", token="t2"))
    assert result.changes == {"same": 2, "replace": 2}, "its identity replaces it and what it serves"
    why = project.why(project.up(program.format(zone="nowhere", token="t2"), ok=False))
    assert "south: zone: there is no such zone" in why
    project.up("")
    assert project.names() == [] and not list(project.shelf.glob("*-*.json"))


@pytest.mark.slow  # again
def test_a_provider_that_is_renamed_or_configured_by_another_resource(project: Any) -> None:
    program = """
    base = Box("base", text="a")
    late = Provider("{name}", zone=base.shade, opts=Opts(aliases=[Alias(name="early")]))
    box = Box("box", text="b", opts=Opts(provider=late))
    pulumi.export("shade", box.shade)
    """
    # nothing of the provider's configuration is known yet: it is not even asked
    assert project.preview(program.format(name="early")).changes == {"create": 4}
    project.up()
    assert {e["name"]: e["zone"] for e in project.entries() if e["op"] == "create"}["box"] == "shade of base-1"
    project.journal()
    assert project.up(program.format(name="late")).changes == {"same": 4}, "a renamed provider replaces nothing"
    assert project.journal("create", "delete", "update") == []
    assert project.resource("box")["provider"].split("::")[3] == "late"


def test_import_option_takes_over_what_is_there(project: Any) -> None:
    (project.shelf / "found-7.json").write_text(json.dumps({"text": "a", "size": 1}))
    why = project.why(project.up('Box("mine", text="a", opts=Opts(import_="missing-1"))', ok=False))
    assert "mine: There is nothing to import with the id 'missing-1'" in why
    program = 'Box("mine", text="a", size=1, opts=Opts(import_="found-7"))'
    assert project.preview(program).changes == {"same": 1, "import": 1}
    assert project.up(program).changes == {"same": 1, "import": 1}
    assert project.resource("mine")["id"] == "found-7" and project.resource("mine")["importID"] == "found-7"
    assert project.up(program).changes == {"same": 2}
    assert project.up('Box("mine", text="b")').changes == {"same": 1, "update": 1}
    (project.shelf / "letter.note").write_text("dear")
    assert project.up('Note("letter", "dear", opts=Opts(import_="letter"))').changes["import"] == 1


@pytest.mark.slow  # again
def test_get_reads_and_never_owns(project: Any) -> None:
    (project.shelf / "theirs-1.json").write_text(json.dumps({"text": "a", "size": 1}))
    program = 'box = Box.get("look", "theirs-1")\npulumi.export("shade", box.shade)'
    result = project.up(program)
    assert result.changes == {"create": 1, "read": 1} and result.outputs["shade"] == "shade of theirs-1"
    assert project.resource("look")["external"] is True
    assert project.up(program).changes == {"same": 1, "read": 1}
    project.journal()
    assert project.up("").changes == {"same": 1, "discard": 1}
    assert project.journal("delete") == [] and (project.shelf / "theirs-1.json").exists()
    why = project.why(project.up('Box.get("look", "nobody-1")', ok=False))
    assert "look: There is no such resource: nothing has the id 'nobody-1'" in why


@pytest.mark.slow  # again
def test_replacement_trigger(project: Any) -> None:
    program = 'Box("b", text="a", opts=Opts(replacement_trigger="{}"))'
    project.up(program.format(1))
    assert project.up(program.format(1)).changes == {"same": 2}
    assert project.up(program.format(2)).changes == {"same": 1, "replace": 1}


def test_targets(project: Any) -> None:
    program = 'a = Box("a", text="{0}")\nb = Box("b", text=a.shade.apply(lambda s: s + "{0}"))\nBox("c", text="{0}")'
    project.up(program.format(1))
    result = project.up(program.format(2), targets=["**::c"])
    assert result.changes["update"] == 1
    assert [project.resource(n)["inputs"]["text"][-1] for n in "abc"] == ["1", "1", "2"]
    # a new resource that is no target stays away; what needs it cannot be made either
    more = program.format(2) + '\nd = Box("d")\nBox("e", text=d.path)'
    assert "e: It needs" in project.why(project.up(more, ok=False, targets=["**::e"]))
    assert "d" not in project.names()
    # deleting a target that others need is refused, unless they are meant too
    why = project.why(project.destroy(targets=["**::a"]))
    assert "b: It needs a target that is to be deleted" in why and "a" in project.names()
    assert project.destroy(targets=["**::a"], target_dependents=True).changes == {"delete": 2}
    assert project.names() == ["c"]


@pytest.mark.parametrize(
    ("program", "named"),
    [
        ("pulumi.runtime.register_resource_transform(lambda a: None)", "resource transforms"),
        ('Box("b", opts=Opts(transforms=[lambda a: None]))', "resource transforms"),
        ('pulumi.StackReference("organization/other/dev")', "stack references"),
        ('pulumi.ComponentResource("a:b:C", "c", {}, remote=True)', "components written in another language"),
        (
            'Box("b", opts=Opts(hooks=pulumi.ResourceHookBinding(before_create=[lambda a: None])))',
            "hooks",
        ),
    ],
)
def test_what_it_does_not_do_it_refuses_by_name(project: Any, program: str, named: str) -> None:
    why = project.why(project.up(program, ok=False))
    assert "The embedded engine does not do" in why and named in why and "Use the Pulumi CLI" in why
