"""What goes wrong, and what is left afterwards: of resources, programs, providers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from kit.tiers import others_slow

FAMILY = """
    box = Box("box", text="{}")
    Box("sibling", text="s")
    Box("child", text=box.path)
"""


def test_a_failed_create_leaves_nothing_and_spares_its_siblings(project: Any) -> None:
    project.behave(create__box={"fail": "the shelf is full"})
    result = project.up(FAMILY.format("a"), ok=False)
    assert project.why(result) == "box: the shelf is full", (
        "one message, on the resource; what needs it is only skipped"
    )
    assert "child" not in project.names() and "box" not in project.names()
    assert "pending_operations" not in project.state()
    project.behave()
    project.up()
    assert set(project.names()) == {"box", "sibling", "child"}


@pytest.mark.slow  # broken
def test_a_half_made_resource_is_kept_and_continued(project: Any) -> None:
    project.behave(create__box={"partial": "made, but not ready"})
    result = project.up(FAMILY.format("a"), ok=False)
    assert project.why(result) == "box: made, but not ready"
    assert project.resource("box")["initErrors"] == ["made, but not ready"] and project.resource("box")["id"] == "box-1"
    project.behave(update__box={"partial": "still not ready"})
    assert "box: still not ready" in project.why(project.up(ok=False))
    project.behave()
    project.journal()
    result = project.up()
    assert result.changes["update"] == 1, "nothing differs, and yet it is updated: to finish it"
    assert "update box" in project.journal() and "initErrors" not in project.resource("box")
    assert set(project.names()) == {"box", "sibling", "child"}
    assert project.up().changes == {"same": 4}


@pytest.mark.slow  # broken
def test_a_replaced_resource_whose_deletion_failed_is_deleted_later(project: Any) -> None:
    project.up('Box("box", text="a")')
    project.behave(delete__box={"fail": "it is nailed down"})
    result = project.up('Box("box", text="a", kind="k")', ok=False)
    assert "box: it is nailed down" in project.why(result)
    states = [r for r in project.state()["resources"] if r["urn"].endswith("::box")]
    assert {(r["id"], r.get("delete", False)) for r in states} == {("box-2", False), ("box-1", True)}
    project.behave()
    assert project.up().ok and not (project.shelf / "box-1.json").exists()
    assert project.resource("box")["id"] == "box-2"


@pytest.mark.slow  # broken
def test_delete_before_replace_that_failed_in_the_middle_is_finished(project: Any) -> None:
    project.up('Box("box", text="a", place="x")')
    project.behave(create__box={"fail": "no"})
    project.up('Box("box", text="a", place="y")', ok=False)
    assert project.resource("box")["pendingReplacement"] is True
    project.behave()
    project.journal()
    assert project.up().changes == {"same": 1, "replace": 1}
    assert project.journal("create", "delete") == ["create box"], "it was deleted already"
    project.behave(create__box={"fail": "no"})
    project.up('Box("box", text="a", place="z")', ok=False)
    assert project.up("").ok and project.names() == [], "nobody wants it any more: forgotten without a call"


def test_a_provider_of_dynamic_resources_that_raises_is_quoted_without_its_traceback(project: Any) -> None:
    result = project.up('Note("memo", "explode")', ok=False)
    assert project.why(result) == "memo: the pen broke:\nno ink"


def test_a_provider_that_dies_or_is_missing(project: Any) -> None:
    project.behave(create__box={"die": "now"})
    why = project.why(project.up('Box("box", text="a")', ok=False))
    assert "The provider 'shelf' ended unexpectedly (exit code 3): the shelf fell down" in why
    # whether the box was made, nobody can say: the note stays until it is known
    assert [op["type"] for op in project.state()["pending_operations"]] == ["creating"]
    why = project.why(project.destroy())
    assert "box: An earlier run was interrupted while creating it, so it may exist" in why
    project.behave()
    result = project.up()
    assert any("interrupted while creating" in m.text for m in result.messages)
    assert "pending_operations" not in project.state() and project.destroy().ok
    why = project.why(project.up('pulumi.CustomResource("nosuch:a:B", "c", {})', ok=False))
    assert "There is no provider for 'nosuch': neither `pulumi-resource-nosuch` on PATH" in why


@pytest.mark.parametrize(
    ("program", "said"),
    others_slow(
        [
            (
                "def deep():\n    return {}['key']\ndeep()",
                ["__main__.py:7 in <module>: deep()", "__main__.py:6 in deep", "KeyError: 'key'"],
            ),
            ("x = = 1", ["SyntaxError", "__main__.py"]),
            ("import nothing_like_this", ["No module named 'nothing_like_this'"]),
            ("import sys; sys.exit(3)", ["sys.exit(3)"]),
            ("import os; os._exit(7)", ["exit code 7", "nothing that it did not register was deleted"]),
            (
                "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
                ["ended by SIGTERM", "nothing that it did not register was deleted"],
            ),
            ("raise pulumi.RunError('please set the size')", ["please set the size"]),
            ("pulumi.Config().require('size')", ["Missing required configuration variable 'project:size'"]),
            ("Box('a', text=Output.from_input(1).apply(lambda v: v / 0))", ["division by zero"]),
            ("pulumi.log.error('not like this')", ["not like this"]),
        ],
        first=2,
    ),
)
def test_a_broken_program_is_shown_in_the_users_own_lines(project: Any, program: str, said: list[str]) -> None:
    project.program("")
    with (project.folder / "__main__.py").open("a") as file:
        file.write(program + "\n")
    code, out, err = project.call("preview", "-s", "dev") if (project.folder / "state").exists() else _first(project)
    assert code == 255
    for text in said:
        assert text in out, out + err
    assert "site-packages" not in out + err and "Traceback" not in out + err and "spg99/engine" not in out + err


def _first(project: Any) -> tuple[int, str, str]:
    assert project.call("stack", "init", "dev")[0] == 0
    return project.call("preview", "-s", "dev")  # type: ignore[no-any-return]


@pytest.mark.slow  # broken
def test_outputs_survive_a_failed_run(project: Any) -> None:
    program = """
    a = Box("a", text="{}")
    pulumi.ComponentResource("a:b:C", "part").register_outputs({{"text": a.text}})
    pulumi.export("text", a.text)
    pulumi.export("fixed", "{}")
    """
    project.up(program.format("one", "one"))
    project.behave(update__a={"fail": "no"})
    result = project.up(program.format("two", "two"), ok=False)
    assert result.outputs == {"text": "one", "fixed": "two"}
    assert project.resource("part")["outputs"] == {"text": "one"}
    assert json.dumps(project.state()).count("04da6b54") == 0, "nothing unknown is ever written"


@pytest.mark.slow  # broken
def test_a_program_that_is_killed_deletes_nothing_and_the_signal_is_named(project: Any) -> None:
    project.up('Box("first", text="a")\nBox("second", text="b")')
    kill = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    why = project.why(project.up(f'Box("first", text="a")\n{kill}\nBox("second", text="b")', ok=False))
    assert (
        "ended by SIGKILL" in why and "out of memory" in why and "nothing that it did not register was deleted" in why
    )
    assert "second" in project.names() and project.journal("delete") == []


ENDINGS = {
    "sys.exit(0)": "import sys\nsys.exit(0)",
    "os._exit(0)": "import os\nos._exit(0)",
}


@pytest.mark.slow  # broken
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_a_program_that_ends_itself_deletes_nothing(project: Any, ending: str) -> None:
    project.up('Box("first", text="a")\nBox("second", text="b")')
    why = project.why(project.up(f'Box("first", text="changed")\n{ending}\nBox("second", text="b")', ok=False))
    assert "The program ended itself before its end" in why
    # `os._exit` ends the program before even `first` may have come to be registered.
    assert re.search(r"It did not register (second|first, second|second, first), which the state has", why), why
    assert "second" in project.names() and project.journal("delete") == []
    if ending.startswith("import sys"):
        assert project.resource("first")["inputs"]["text"] == "changed", "what it registered is done"
        result = project.up(f'Box("first", text="changed")\nBox("second", text="b")\n{ending}')
        assert any("What it registered is done" in m.text for m in result.messages)


@pytest.mark.slow  # broken
def test_an_exception_in_the_middle_deletes_nothing(project: Any) -> None:
    project.up('Box("first", text="a")\nBox("second", text="b")')
    why = project.why(project.up('Box("first", text="a")\nraise LookupError("no such name")', ok=False))
    assert "no such name" in why and "second" in project.names() and project.journal("delete") == []


@pytest.mark.slow  # broken
def test_errors_chained_to_a_ring_are_told(project: Any) -> None:
    why = project.why(
        project.up(
            """
    import json
    one, two = ValueError("the first of the ring"), ValueError("the second")
    one.__cause__, two.__cause__ = two, one
    def fail():
        raise one
    fail()
    """,
            ok=False,
        )
    )
    assert "the first of the ring" in why and "RecursionError" not in why


@pytest.mark.slow  # broken
def test_a_program_that_waits_for_ever_is_said_to(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spg99.engine.program.QUIET_SECONDS", 0.5)
    project.up('Box("first", text="a")\nBox("second", text="b")')
    go = project.folder / "go"
    program = f"""
    import asyncio, pathlib, pulumi
    Box("first", text="a")
    async def for_ever():
        while not pathlib.Path({str(go)!r}).exists():
            await asyncio.sleep(0.02)
    pulumi.export("never", pulumi.Output.from_input(for_ever()))
    """

    class Watch(list):  # type: ignore[type-arg]
        def append(self, event: Any) -> None:
            super().append(event)
            if "waiting for something of its own" in getattr(event, "text", ""):
                go.touch()

    project.events = Watch()
    result = project.up(program)
    assert any("Ctrl-C ends it" in m.text for m in result.messages)
