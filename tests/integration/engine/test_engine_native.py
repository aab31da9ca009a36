"""What a native provider and its SDK need of the engine: the handshake, names, functions, attaching, taking over from a dynamic one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from integration.engine.conftest import PROGRAMS
from spg99.engine.values import UNKNOWN, is_secret, reveal


def test_the_handshake_tells_who_asks(project: Any) -> None:
    project.up('Box("box", text="a")')
    told = next(e for e in project.entries() if e["op"] == "handshake")
    assert told == {
        "op": "handshake",
        "root_directory": str(project.folder),
        "program_directory": str(project.folder),
        "configure_with_urn": True,
        "invoke_with_preview": True,
    }


@pytest.fixture
def attached(project: Any) -> Iterator[Any]:
    """A provider that runs already, as a debugger would have started it."""
    script = [sys.executable, "-u", str(PROGRAMS / "shelf_provider.py"), "127.0.0.1:1"]
    with subprocess.Popen(script, env=os.environ | project.env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        project.env["PULUMI_DEBUG_PROVIDERS"] = f"other:1,shelf:{process.stdout.readline().strip()}"
        yield process
        process.kill()


def test_a_provider_that_runs_already_is_attached_to(project: Any, attached: Any) -> None:
    project.behave(create__box={"wait": "yes"})
    (project.shelf / "go").touch()
    (project.folder / "bin/pulumi-resource-shelf").unlink()
    result = project.up('Box("box", text="a")')
    assert result.changes == {"create": 2}
    assert "waiting for go" in [e.text for e in project.events if hasattr(e, "text")], "its log reaches this run"
    told = {e["op"]: e for e in project.entries()}
    assert told["handshake"]["root_directory"] == "" and ":" in told["attach"]["address"]
    assert project.up().changes == {"same": 2} and project.destroy().ok
    assert attached.poll() is None, "whoever started it ends it"


FUNCTION = """
box = Box("box", text="a")
def find(text):
    return pulumi.runtime.invoke_output("shelf:index:find", {"text": text})
now = find("there")
late = find(box.path)
pulumi.export("names", now["names"])
pulumi.export("key", now["key"])
pulumi.export("late", late["names"])
"""


def test_functions_answer_secrets_and_wait_for_what_is_unknown(project: Any) -> None:
    (project.shelf / "old-1.json").write_text('{"text": "there"}')
    shown = project.preview(FUNCTION)
    assert reveal(shown.outputs["names"]) == ["old-1"] and reveal(shown.outputs["late"]) == UNKNOWN
    assert [(e["preview"], e["text"]) for e in project.entries() if e["op"] == "invoke"] == [(True, "there")]
    project.journal()
    made = project.up()
    assert reveal(made.outputs) == {"names": ["old-1"], "late": [], "key": "key of the shelf"}
    assert is_secret(made.outputs["key"])  # with Pulumi's SDK the whole answer is secret when any of it is
    assert "key of the shelf" not in project.state_file.read_text()
    assert {e["preview"] for e in project.entries() if e["op"] == "invoke"} == {False}


@pytest.mark.slow  # again
def test_a_native_type_takes_over_from_a_dynamic_one_without_a_change(project: Any) -> None:
    project.up('Note("letter", "dear")')
    before = project.resource("letter")
    assert before["type"].startswith("pulumi-python:dynamic")
    (project.shelf / "letter.json").write_text("{}")
    alias = f'Alias(type_="{before["type"]}")'
    native = f"""
    class Letter(pulumi.CustomResource):
        def __init__(self, name, text, opts):
            super().__init__("shelf:index:Box", name, {{"title": name, "text": text, "where": None}}, opts)
    letter = Letter("letter", "dear", Opts(aliases=[{alias}]))
    pulumi.export("where", letter.where)
    """
    project.journal()
    shown = project.preview(native)
    assert shown.ok and shown.changes.keys() == {"same"}, project.why(shown)
    result = project.up()
    assert result.changes.keys() == {"same"} and project.journal("create", "update", "delete") == []
    after = project.resource("letter")
    assert after["type"] == "shelf:index:Box" and after["id"] == before["id"] and "shelf" in after["provider"]
    assert result.outputs["where"] == before["outputs"]["where"], "its outputs stay those of before"
    assert (project.shelf / "letter.note").exists() and project.up().changes.keys() == {"same"}
    project.up("")
    assert not (project.shelf / "letter.json").exists(), "the native provider deletes it"


def test_names_are_proposed_as_the_configuration_says(project: Any) -> None:
    (project.folder / "Pulumi.yaml").write_text(
        "name: project\nruntime: python\nconfig:\n  pulumi:autonaming:\n    value: {pattern: '${name}-${num(4)}'}\n"
    )
    project.up('Box("box", text="a")')
    told = next(e for e in project.entries() if e["op"] == "check")
    assert told["mode"] == 0 and told["proposed"].startswith("box-") and told["proposed"][4:].isdigit()
    assert told["seed"] == 32
    (project.folder / "Pulumi.dev.yaml").write_text("config:\n  pulumi:autonaming:\n    mode: verbatm\n")
    assert "has no mode `verbatm`" in project.why(project.up(ok=False))


@pytest.mark.slow  # again
def test_the_read_timeout_reaches_the_provider(project: Any) -> None:
    project.up('Box("box", text="a", opts=Opts(custom_timeouts={"read": "90s"}))')
    project.journal()
    assert project.refresh().changes == {"same": 1}
    assert [e["timeout"] for e in project.entries() if e["op"] == "read"] == [90]


@pytest.mark.slow  # again
def test_two_versions_have_two_default_providers(project: Any) -> None:
    plugin = (project.folder / "bin/pulumi-resource-shelf").read_text()
    (project.folder / "bin/pulumi-resource-shelf").unlink()
    for version in ("1.2.3", "2.0.0"):
        folder = project.folder.parent / f"pulumi-home/plugins/resource-shelf-v{version}"
        folder.mkdir(parents=True)
        (folder / "pulumi-resource-shelf").write_text(plugin.replace("exec", f"SHELF_VERSION={version} exec"))
        (folder / "pulumi-resource-shelf").chmod(0o755)
    project.up(
        'Box("a", text="a", opts=Opts(version="1.2.3"))\nBox("b", text="a", opts=Opts(version="2.0.0"))\nBox("c", text="a")'
    )
    made = {e["name"]: e["version"] for e in project.entries() if e["op"] == "create"}
    assert made == {"a": "1.2.3", "b": "2.0.0", "c": "2.0.0"}
    assert json.dumps(project.state()).count('"type": "pulumi:providers:shelf"') == 3
    why = project.why(project.up('Box("d", text="a", opts=Opts(version="3.0.0"))', ok=False))
    assert "There is no provider for 'shelf' 3.0.0" in why and "resource-shelf-v3.0.0" in why
