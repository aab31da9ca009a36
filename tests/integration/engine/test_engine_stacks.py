"""Stacks, state files and the command line: what is written, read, refused and printed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def test_stack_and_config_commands(project: Any) -> None:
    project.program('pulumi.export("size", pulumi.Config().get_int("size"))')
    assert project.call("up", "--yes")[0] == 255
    code, out, _ = project.call("stack", "init", "dev")
    assert code == 0 and "Made the stack 'dev'" in out
    assert (project.folder / "state/.pulumi/meta.yaml").read_text() == "version: 1\n"
    assert project.call("stack", "init", "dev")[0] == 255
    assert "No stack named 'prod'" in project.call("stack", "select", "prod")[2]
    assert project.call("stack", "select", "prod", "--create")[0] == 0
    assert project.call("stack", "ls")[1].split() == ["dev", "prod*"]
    assert project.call("stack", "select", "organization/project/dev")[0] == 0
    assert project.call("config", "set", "size", "7")[0] == 0
    assert project.call("config", "get", "size")[1] == "7\n"
    assert project.call("up", "--yes")[0] == 0
    assert project.call("stack", "output", "size")[1] == "7\n"
    assert json.loads(project.call("stack", "output", "--json")[1]) == {"size": 7}
    assert "no output 'nose'" in project.call("stack", "output", "nose")[2]
    assert project.call("config", "rm", "size")[0] == 0
    code, _, err = project.call("stack", "rm", "--yes")
    assert code == 255 and "still has 1 resources" in err
    assert project.call("destroy", "--yes")[0] == 0 and project.call("stack", "rm", "--yes")[0] == 0
    assert project.call("stack", "ls")[1].split() == ["prod"]


def test_what_up_prints_and_answers(project: Any) -> None:
    project.call("stack", "init", "dev")
    project.program("""
    Box("box", text="a", code=Output.secret("hush"), size=3)
    pulumi.export("word", "x")
    pulumi.export("code", Output.secret("hush"))
    """)
    code, out, err = project.call("up")
    assert code == 255 and "add --yes" in err, "nobody to ask"
    assert project.names() == []
    code, out, err = project.call("up", "--yes", "--diff")
    assert code == 0 and "Embedded engine" in err and "run `pulumi`" in err
    for line in (
        "Previewing update (dev):",
        " +  shelf:index:Box box create",
        "      + code: [secret]",
        "      + size: 3",
        "    + 2 to create",
        "Updating (dev):",
        " +  shelf:index:Box box creating (0s)",
        '  + word: "x"',
        "  + code: [secret]",
        "    + 2 created",
        "Duration: ",
    ):
        assert line in out, out
    assert "hush" not in out + err
    code, out, _ = project.call("up", "--yes", "--expect-no-changes")
    assert code == 0 and "    2 unchanged" in out
    project.program('Box("box", text="b", kind="k")\nBox("more")')
    code, out, _ = project.call("preview", "--diff", "--expect-no-changes")
    assert code == 255 and "No changes were expected" in out
    assert '      ~ text: "a" => "b"' in out and '      + kind: "k"  (forces replacement)' in out
    assert "    + 1 to create" in out and "    +-1 to replace" in out and "    2 changes. 1 unchanged" in out
    assert '  - word: "x"' in out
    code, out, _ = project.call("preview", "--json")
    told = json.loads(out)
    assert told["changes"] == {"create": 1, "replace": 1, "same": 1} and told["errors"] == []
    code, out, _ = project.call("refresh", "--yes")
    assert code == 0 and "    1 unchanged" in out


@pytest.mark.slow  # again
def test_progress_lines_of_a_provider_are_shown_on_the_resource(project: Any) -> None:
    project.call("stack", "init", "dev")
    project.program('Box("slow")')
    project.behave(create__slow={"wait": "yes"})
    (project.shelf / "go").touch()
    _, out, _ = project.call("up", "--yes")
    assert "+  shelf:index:Box slow waiting for go" in out


def test_export_and_import_carry_a_stack_over(project: Any) -> None:
    project.up('Box("box", text="a", code=Output.secret("hush"))')
    code, sealed, _ = project.call("stack", "export", "-s", "dev")
    assert code == 0 and "hush" not in sealed
    _, opened, _ = project.call("stack", "export", "--show-secrets", "-s", "dev")
    assert '"plaintext": "\\"hush\\""' in opened and json.loads(opened)["version"] == 3
    project.state_file.unlink()
    for text in (sealed, opened):
        project.state_file.unlink(missing_ok=True)
        assert project.call("stack", "init", "dev")[0] == 0
        file = project.folder / "export.json"
        file.write_text(text)
        code, out, err = project.call("stack", "import", "--file", str(file), "-s", "dev")
        assert code == 0 and "3 resources" in out, err
        assert "hush" not in project.state_file.read_text()
        assert project.up().changes == {"same": 2}
    file.write_text(sealed.replace("urn:pulumi:dev", "urn:pulumi:other"))
    assert "is another one" in project.call("stack", "import", "--file", str(file), "-s", "dev")[2]


def test_a_state_as_pulumi_writes_it_is_taken_over_and_unknown_fields_kept(project: Any) -> None:
    project.up('Box("box", text="a")\nNote("memo", "hello")')
    raw = json.loads(project.state_file.read_text())
    latest = raw["checkpoint"]["latest"]
    latest["manifest"] = {
        "time": "2026-01-02T03:04:05.6Z",
        "magic": latest["manifest"]["magic"],
        "version": latest["manifest"]["version"],
    }
    latest["pending_operations"] = None
    for r in latest["resources"]:
        r["sourcePosition"] = "project:///__main__.py#3,0"
        r["someday"] = {"new": True}
        for optional in ("created", "modified", "propertyDependencies"):
            r.pop(optional, None)
        r["initErrors"] = None
    project.state_file.write_text(json.dumps(raw, indent=4))
    assert project.up().changes == {"same": 3}
    assert project.up('Box("box", text="b")\nNote("memo", "hello")').changes == {"same": 2, "update": 1}
    for r in project.state()["resources"]:
        assert r["someday"] == {"new": True}, r["urn"]


@pytest.mark.slow  # again
def test_the_salt_stands_in_the_settings_file_too_as_pulumi_expects(project: Any) -> None:
    project.up('Box("box")')
    settings = project.folder / "Pulumi.dev.yaml"
    salt = project.state()["secrets_providers"]["state"]["salt"]
    assert f"encryptionsalt: {salt}" in settings.read_text()
    project.destroy()
    assert project.call("stack", "rm", "--yes", "-s", "dev")[0] == 0 and not settings.exists()
    assert project.call("stack", "init", "dev")[0] == 0
    assert "encryptionsalt: v1:" in settings.read_text() and salt not in settings.read_text()


@pytest.mark.slow  # again
def test_ciphertexts_stay_when_secrets_do(project: Any) -> None:
    program = 'Box("box", code=Output.secret("hush"), text="{}")'
    project.up(program.format("a"))
    before = project.resource("box")["inputs"]["code"]["ciphertext"]
    project.up(program.format("b"))
    assert project.resource("box")["inputs"]["code"]["ciphertext"] == before


@pytest.mark.slow  # broken
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda raw: raw | {"version": 5}, "written by a newer Pulumi (state version 5"),
        (lambda raw: raw | {"version": 4, "features": ["hooks"]}, "uses hooks, which the embedded engine does not do"),
        (lambda raw: raw | {"version": 2}, "state version 2"),
        (lambda raw: None, "copy it over dev.json and run `spg99 up`"),
        (lambda raw: raw | {"checkpoint": {"latest": {"resources": [{}]}}}, "copy it over dev.json and run `spg99 up`"),
    ],
)
def test_a_state_it_cannot_use_is_refused_and_left_alone(project: Any, damage: Any, said: str) -> None:
    project.up('Box("box")')
    project.up('Box("box")')
    raw = damage(json.loads(project.state_file.read_text()))
    project.state_file.write_text(json.dumps(raw) if raw else '{"version":3,"check')
    kept = project.state_file.read_bytes()
    code, _out, err = project.call("up", "--yes", "-s", "dev")
    assert code == 255 and said in err and "Traceback" not in err
    assert project.state_file.read_bytes() == kept


def test_passphrases_and_backends(project: Any) -> None:
    project.up('Box("box", code=Output.secret("hush"))')
    kept = project.state_file.read_bytes()
    code, _, err = project.call("up", "--yes", "-s", "dev", PULUMI_CONFIG_PASSPHRASE="wrong")
    assert code == 255 and "passphrase" in err and project.state_file.read_bytes() == kept
    project.env.pop("PULUMI_CONFIG_PASSPHRASE")
    code, _, err = project.call("preview", "-s", "dev")
    assert code == 255 and "PULUMI_CONFIG_PASSPHRASE_FILE" in err
    secret = project.folder / "passphrase"
    secret.write_text("correct horse\n")
    assert project.call("preview", "-s", "dev", "--passphrase-file", str(secret))[0] == 0
    assert project.call("preview", "-s", "dev", PULUMI_CONFIG_PASSPHRASE_FILE=str(secret))[0] == 0
    code, _, err = project.call("preview", "-s", "dev", "--backend", "s3://bucket")
    assert code == 255 and "keeps state in files only" in err
    (project.folder / "Pulumi.yaml").write_text("name: project\nruntime: dotnet\n")
    assert "runs Python, Node.js and YAML programs only" in project.call("preview", "-s", "dev")[2]


@pytest.mark.slow  # again
def test_import_files(project: Any) -> None:
    (project.shelf / "found-1.json").write_text(json.dumps({"text": "a", "size": 1}))
    (project.shelf / "letter.note").write_text("dear")
    project.program('Rack("rack", 0)\nBox("found", text="a")\nNote("letter", "dear")')
    assert project.call("stack", "init", "dev")[0] == 0
    provider = project.preview().ok and _provider_text(project)
    note = {"title": "letter", "text": "dear", "__provider": provider}
    entries = [
        {"type": "shelf:index:Box", "name": "found", "id": "found-1"},
        {
            "type": "pulumi-python:dynamic/notes:Note",
            "name": "letter",
            "id": "letter",
            "inputs": note,
            "outputs": note | {"where": str(project.shelf / "letter.note")},
        },
    ]
    file = project.folder / "import.json"
    file.write_text(json.dumps({"resources": entries}))
    code, out, err = project.call("import", "--file", str(file), "--yes")
    assert code == 0 and "= 2 imported" in out, out + err
    project.check_integrity()
    result = project.up()
    assert result.changes == {"same": 3, "create": 1}, "the program adopts them without a change"
    code, out, _ = project.call("import", "shelf:index:Box", "lost", "lost-1", "--yes")
    assert code == 255 and "nothing to import with the id 'lost-1'" in out
    file.write_text('{"resources": [{"type": "x"}]}')
    assert "Entry 0 of the import file" in project.call("import", "--file", str(file), "--yes")[2]


def _provider_text(project: Any) -> str:
    """What the SDK puts into `__provider` of a Note."""
    import subprocess
    import sys

    code = "from note import NoteProvider; from pulumi.dynamic.dynamic import serialize_provider; print(serialize_provider(NoteProvider()))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=project.folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def pulumi_cli() -> str:
    found = shutil.which("pulumi") or shutil.which("pulumi", path=str(Path(__file__).parents[3] / ".tools/bin"))
    if found is None:
        pytest.skip("the Pulumi CLI is not built (`make cli-tools`)")
    return found


@pytest.mark.slow  # again
@pytest.mark.parametrize("url", ["file://./state", "file://{folder}/state"], ids=["relative", "absolute"])
def test_pulumis_cli_and_ours_see_the_stack_that_the_other_chose(project: Any, url: str) -> None:
    (project.folder / "state").mkdir()
    backend = {"PULUMI_BACKEND_URL": url.format(folder=project.folder)}
    environment = os.environ | project.env | backend | {"PULUMI_SKIP_UPDATE_CHECK": "true"}

    def theirs(*arguments: str) -> str:
        command = [pulumi_cli(), *arguments]
        done = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    theirs("stack", "init", "prod")
    assert "prod*" in project.call("stack", "ls", **backend)[1]
    assert project.call("stack", "init", "dev", **backend)[0] == 0
    assert "dev*" in theirs("stack", "ls") and "dev*" in project.call("stack", "ls", **backend)[1]
    theirs("stack", "select", "prod")
    assert "prod*" in project.call("stack", "ls", **backend)[1]
    assert project.call("stack", "select", "dev", **backend)[0] == 0
    assert "dev*" in theirs("stack", "ls")
    # what older versions of both wrote holds for every backend
    (selection,) = (Path(project.env["PULUMI_HOME"]) / "workspaces").glob("*-workspace.json")
    selection.write_text('{"stack": "prod"}')
    assert "prod*" in theirs("stack", "ls") and "prod*" in project.call("stack", "ls", **backend)[1]


@pytest.mark.slow  # broken
def test_the_side_file_of_a_lock_is_no_lock(project: Any) -> None:
    assert project.call("stack", "init", "dev")[0] == 0
    lock = project.folder / "state/.pulumi/locks/organization/project/dev/11.json"
    lock.parent.mkdir(parents=True)
    lock.write_text('{"pid":1,"username":"ada","hostname":"elsewhere","timestamp":"2026-01-02T03:04:05.123456789Z"}')
    side = lock.with_name("11.json.attrs")
    side.write_text('{"user.content_type":"application/json"}')
    code, _, err = project.call("destroy", "--yes", "-s", "dev")
    assert code == 255 and "ada@elsewhere (pid 1)" in err and "?@?" not in err
    assert project.call("cancel", "--yes", "-s", "dev")[0] == 0 and not side.exists()


@pytest.mark.slow  # broken
@pytest.mark.parametrize("content", ["", '{"user.content_type":'])
def test_attributes_that_were_half_written_go_with_cancel_and_with_the_next_write(project: Any, content: str) -> None:
    assert project.call("stack", "init", "dev")[0] == 0
    state = project.folder / "state/.pulumi/stacks/project/dev.json"
    torn, whole = state.with_name("dev.json.attrs"), state.with_name("dev.json.bak.attrs")
    before = state.read_bytes()
    torn.write_text(content)
    whole.write_text('{"user.content_type":"application/json"}')
    code, _, err = project.call("cancel", "--yes", "-s", "dev")
    assert code == 0 and f"Removed {torn}" in err
    assert not torn.exists() and whole.exists() and state.read_bytes() == before
    torn.write_text(content)
    project.program("")
    assert project.call("up", "--yes", "-s", "dev")[0] == 0
    assert not torn.exists() and whole.exists()
    assert project.call("destroy", "--yes", "-s", "dev")[0] == 0
    assert project.call("stack", "rm", "--yes", "dev")[0] == 0
    assert not list(state.parent.glob("dev.json*")), "the attributes go with the stack"


@pytest.mark.slow  # again
def test_the_pulumi_cli_cannot_load_such_a_stack_and_can_again(project: Any) -> None:
    export = [pulumi_cli(), "stack", "export", "--stack", "dev"]
    assert project.call("stack", "init", "dev")[0] == 0
    (project.folder / "state/.pulumi/stacks/project/dev.json.attrs").write_text("")
    backend = {"PULUMI_BACKEND_URL": f"file://{project.folder}/state", "PULUMI_SKIP_UPDATE_CHECK": "true"}
    theirs: dict[str, Any] = {"cwd": project.folder, "env": os.environ | project.env | backend, "capture_output": True}
    done = subprocess.run(export, **theirs, check=False)
    assert done.returncode != 0 and b"EOF" in done.stderr, "if it can now, `torn_attributes` is needed no more"
    assert project.call("cancel", "--yes", "-s", "dev")[0] == 0
    subprocess.run(export, **theirs, check=True)
