"""Stacks, state files and the command line: what is written, read, refused and printed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def test_stack_and_config_commands(house: Any) -> None:
    house.program('pulumi.export("size", pulumi.Config().get_int("size"))')
    assert house.call("up", "--yes")[0] == 255
    code, out, _ = house.call("stack", "init", "dev")
    assert code == 0 and "Made the stack 'dev'" in out
    assert (house.folder / "state/.pulumi/meta.yaml").read_text() == "version: 1\n"
    assert house.call("stack", "init", "dev")[0] == 255
    assert "No stack named 'prod'" in house.call("stack", "select", "prod")[2]
    assert house.call("stack", "select", "prod", "--create")[0] == 0
    assert house.call("stack", "ls")[1].split() == ["dev", "prod*"]
    assert house.call("stack", "select", "organization/house/dev")[0] == 0
    assert house.call("config", "set", "size", "7")[0] == 0
    assert house.call("config", "get", "size")[1] == "7\n"
    assert house.call("up", "--yes")[0] == 0
    assert house.call("stack", "output", "size")[1] == "7\n"
    assert json.loads(house.call("stack", "output", "--json")[1]) == {"size": 7}
    assert "no output 'nose'" in house.call("stack", "output", "nose")[2]
    assert house.call("config", "rm", "size")[0] == 0
    code, _, err = house.call("stack", "rm", "--yes")
    assert code == 255 and "still has 1 resources" in err
    assert house.call("destroy", "--yes")[0] == 0 and house.call("stack", "rm", "--yes")[0] == 0
    assert house.call("stack", "ls")[1].split() == ["prod"]


def test_what_up_prints_and_answers(house: Any) -> None:
    house.call("stack", "init", "dev")
    house.program("""
    Box("box", text="a", code=Output.secret("hush"), size=3)
    pulumi.export("word", "x")
    pulumi.export("code", Output.secret("hush"))
    """)
    code, out, err = house.call("up")
    assert code == 255 and "add --yes" in err, "nobody to ask"
    assert house.names() == []
    code, out, err = house.call("up", "--yes", "--diff")
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
    code, out, _ = house.call("up", "--yes", "--expect-no-changes")
    assert code == 0 and "    2 unchanged" in out
    house.program('Box("box", text="b", kind="k")\nBox("more")')
    code, out, _ = house.call("preview", "--diff", "--expect-no-changes")
    assert code == 255 and "No changes were expected" in out
    assert '      ~ text: "a" => "b"' in out and '      + kind: "k"  (forces replacement)' in out
    assert "    + 1 to create" in out and "    +-1 to replace" in out and "    2 changes. 1 unchanged" in out
    assert '  - word: "x"' in out
    code, out, _ = house.call("preview", "--json")
    told = json.loads(out)
    assert told["changes"] == {"create": 1, "replace": 1, "same": 1} and told["errors"] == []
    code, out, _ = house.call("refresh", "--yes")
    assert code == 0 and "    1 unchanged" in out


def test_progress_lines_of_a_provider_are_shown_on_the_resource(house: Any) -> None:
    house.call("stack", "init", "dev")
    house.program('Box("slow")')
    house.behave(create__slow={"wait": "yes"})
    (house.shelf / "go").touch()
    _, out, _ = house.call("up", "--yes")
    assert "+  shelf:index:Box slow waiting for go" in out


def test_export_and_import_carry_a_stack_over(house: Any) -> None:
    house.up('Box("box", text="a", code=Output.secret("hush"))')
    code, sealed, _ = house.call("stack", "export", "-s", "dev")
    assert code == 0 and "hush" not in sealed
    _, opened, _ = house.call("stack", "export", "--show-secrets", "-s", "dev")
    assert '"plaintext": "\\"hush\\""' in opened and json.loads(opened)["version"] == 3
    house.state_file.unlink()
    for text in (sealed, opened):
        house.state_file.unlink(missing_ok=True)
        assert house.call("stack", "init", "dev")[0] == 0
        file = house.folder / "export.json"
        file.write_text(text)
        code, out, err = house.call("stack", "import", "--file", str(file), "-s", "dev")
        assert code == 0 and "3 resources" in out, err
        assert "hush" not in house.state_file.read_text()
        assert house.up().changes == {"same": 2}
    file.write_text(sealed.replace("urn:pulumi:dev", "urn:pulumi:other"))
    assert "is another one" in house.call("stack", "import", "--file", str(file), "-s", "dev")[2]


def test_a_state_as_pulumi_writes_it_is_taken_over_and_unknown_fields_kept(house: Any) -> None:
    house.up('Box("box", text="a")\nNote("memo", "hello")')
    raw = json.loads(house.state_file.read_text())
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
    house.state_file.write_text(json.dumps(raw, indent=4))
    assert house.up().changes == {"same": 3}
    assert house.up('Box("box", text="b")\nNote("memo", "hello")').changes == {"same": 2, "update": 1}
    for r in house.state()["resources"]:
        assert r["someday"] == {"new": True}, r["urn"]


def test_the_salt_stands_in_the_settings_file_too_as_pulumi_expects(house: Any) -> None:
    house.up('Box("box")')
    settings = house.folder / "Pulumi.dev.yaml"
    salt = house.state()["secrets_providers"]["state"]["salt"]
    assert f"encryptionsalt: {salt}" in settings.read_text()
    house.destroy()
    assert house.call("stack", "rm", "--yes", "-s", "dev")[0] == 0 and not settings.exists()
    assert house.call("stack", "init", "dev")[0] == 0
    assert "encryptionsalt: v1:" in settings.read_text() and salt not in settings.read_text()


def test_ciphertexts_stay_when_secrets_do(house: Any) -> None:
    program = 'Box("box", code=Output.secret("hush"), text="{}")'
    house.up(program.format("a"))
    before = house.resource("box")["inputs"]["code"]["ciphertext"]
    house.up(program.format("b"))
    assert house.resource("box")["inputs"]["code"]["ciphertext"] == before


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda raw: raw | {"version": 5}, "written by a newer Pulumi (state version 5"),
        (lambda raw: raw | {"version": 4, "features": ["hooks"]}, "uses hooks, which the embedded engine does not do"),
        (lambda raw: raw | {"version": 2}, "state version 2"),
        (lambda raw: None, "is damaged"),
    ],
)
def test_a_state_it_cannot_use_is_refused_and_left_alone(house: Any, damage: Any, said: str) -> None:
    house.up('Box("box")')
    raw = damage(json.loads(house.state_file.read_text()))
    house.state_file.write_text(json.dumps(raw) if raw else '{"version":3,"check')
    kept = house.state_file.read_bytes()
    code, _out, err = house.call("up", "--yes", "-s", "dev")
    assert code == 255 and said in err and "Traceback" not in err
    assert house.state_file.read_bytes() == kept


def test_passphrases_and_backends(house: Any) -> None:
    house.up('Box("box", code=Output.secret("hush"))')
    kept = house.state_file.read_bytes()
    code, _, err = house.call("up", "--yes", "-s", "dev", PULUMI_CONFIG_PASSPHRASE="wrong")
    assert code == 255 and "passphrase" in err and house.state_file.read_bytes() == kept
    house.env.pop("PULUMI_CONFIG_PASSPHRASE")
    code, _, err = house.call("preview", "-s", "dev")
    assert code == 255 and "PULUMI_CONFIG_PASSPHRASE_FILE" in err
    secret = house.folder / "passphrase"
    secret.write_text("correct horse\n")
    assert house.call("preview", "-s", "dev", "--passphrase-file", str(secret))[0] == 0
    assert house.call("preview", "-s", "dev", PULUMI_CONFIG_PASSPHRASE_FILE=str(secret))[0] == 0
    code, _, err = house.call("preview", "-s", "dev", "--backend", "s3://bucket")
    assert code == 255 and "keeps state in files only" in err
    (house.folder / "Pulumi.yaml").write_text("name: house\nruntime: dotnet\n")
    assert "runs Python, Node.js and YAML programs only" in house.call("preview", "-s", "dev")[2]


def test_import_files(house: Any) -> None:
    (house.shelf / "found-1.json").write_text(json.dumps({"text": "a", "size": 1}))
    (house.shelf / "letter.note").write_text("dear")
    house.program('Rack("rack", 0)\nBox("found", text="a")\nNote("letter", "dear")')
    assert house.call("stack", "init", "dev")[0] == 0
    provider = house.preview().ok and _provider_text(house)
    note = {"title": "letter", "text": "dear", "__provider": provider}
    entries = [
        {"type": "shelf:index:Box", "name": "found", "id": "found-1"},
        {
            "type": "pulumi-python:dynamic/notes:Note",
            "name": "letter",
            "id": "letter",
            "inputs": note,
            "outputs": note | {"where": str(house.shelf / "letter.note")},
        },
    ]
    file = house.folder / "import.json"
    file.write_text(json.dumps({"resources": entries}))
    code, out, err = house.call("import", "--file", str(file), "--yes")
    assert code == 0 and "= 2 imported" in out, out + err
    house.check_integrity()
    result = house.up()
    assert result.changes == {"same": 3, "create": 1}, "the program adopts them without a change"
    code, out, _ = house.call("import", "shelf:index:Box", "lost", "lost-1", "--yes")
    assert code == 255 and "nothing to import with the id 'lost-1'" in out
    file.write_text('{"resources": [{"type": "x"}]}')
    assert "Entry 0 of the import file" in house.call("import", "--file", str(file), "--yes")[2]


def _provider_text(house: Any) -> str:
    """What the SDK puts into `__provider` of a Note."""
    import subprocess
    import sys

    code = "from note import NoteProvider; from pulumi.dynamic.dynamic import serialize_provider; print(serialize_provider(NoteProvider()))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=house.folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def pulumi_cli() -> str:
    found = shutil.which("pulumi") or shutil.which("pulumi", path=str(Path(__file__).parents[3] / ".tools/bin"))
    if found is None:
        pytest.skip("the Pulumi CLI is not built (`make cli-tools`)")
    return found


@pytest.mark.parametrize("url", ["file://./state", "file://{folder}/state"], ids=["relative", "absolute"])
def test_pulumis_cli_and_ours_see_the_stack_that_the_other_chose(house: Any, url: str) -> None:
    (house.folder / "state").mkdir()
    backend = {"PULUMI_BACKEND_URL": url.format(folder=house.folder)}
    environment = os.environ | house.env | backend | {"PULUMI_SKIP_UPDATE_CHECK": "true"}

    def theirs(*arguments: str) -> str:
        command = [pulumi_cli(), *arguments]
        done = subprocess.run(command, cwd=house.folder, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    theirs("stack", "init", "prod")
    assert "prod*" in house.call("stack", "ls", **backend)[1]
    assert house.call("stack", "init", "dev", **backend)[0] == 0
    assert "dev*" in theirs("stack", "ls") and "dev*" in house.call("stack", "ls", **backend)[1]
    theirs("stack", "select", "prod")
    assert "prod*" in house.call("stack", "ls", **backend)[1]
    assert house.call("stack", "select", "dev", **backend)[0] == 0
    assert "dev*" in theirs("stack", "ls")
    # what older versions of both wrote holds for every backend
    (selection,) = (Path(house.env["PULUMI_HOME"]) / "workspaces").glob("*-workspace.json")
    selection.write_text('{"stack": "prod"}')
    assert "prod*" in theirs("stack", "ls") and "prod*" in house.call("stack", "ls", **backend)[1]


def test_the_side_file_of_a_lock_is_no_lock(house: Any) -> None:
    assert house.call("stack", "init", "dev")[0] == 0
    lock = house.folder / "state/.pulumi/locks/organization/house/dev/11.json"
    lock.parent.mkdir(parents=True)
    lock.write_text('{"pid":1,"username":"ada","hostname":"elsewhere","timestamp":"2026-01-02T03:04:05.123456789Z"}')
    side = lock.with_name("11.json.attrs")
    side.write_text('{"user.content_type":"application/json"}')
    code, _, err = house.call("destroy", "--yes", "-s", "dev")
    assert code == 255 and "ada@elsewhere (pid 1)" in err and "?@?" not in err
    assert house.call("cancel", "--yes", "-s", "dev")[0] == 0 and not side.exists()


@pytest.mark.parametrize("content", ["", '{"user.content_type":'])
def test_attributes_that_were_half_written_go_with_cancel_and_with_the_next_write(house: Any, content: str) -> None:
    assert house.call("stack", "init", "dev")[0] == 0
    state = house.folder / "state/.pulumi/stacks/house/dev.json"
    torn, whole = state.with_name("dev.json.attrs"), state.with_name("dev.json.bak.attrs")
    before = state.read_bytes()
    torn.write_text(content)
    whole.write_text('{"user.content_type":"application/json"}')
    code, _, err = house.call("cancel", "--yes", "-s", "dev")
    assert code == 0 and f"Removed {torn}" in err
    assert not torn.exists() and whole.exists() and state.read_bytes() == before
    torn.write_text(content)
    house.program("")
    assert house.call("up", "--yes", "-s", "dev")[0] == 0
    assert not torn.exists() and whole.exists()
    assert house.call("destroy", "--yes", "-s", "dev")[0] == 0
    assert house.call("stack", "rm", "--yes", "dev")[0] == 0
    assert not list(state.parent.glob("dev.json*")), "the attributes go with the stack"


def test_the_pulumi_cli_cannot_load_such_a_stack_and_can_again(house: Any) -> None:
    export = [pulumi_cli(), "stack", "export", "--stack", "dev"]
    assert house.call("stack", "init", "dev")[0] == 0
    (house.folder / "state/.pulumi/stacks/house/dev.json.attrs").write_text("")
    backend = {"PULUMI_BACKEND_URL": f"file://{house.folder}/state", "PULUMI_SKIP_UPDATE_CHECK": "true"}
    theirs: dict[str, Any] = {"cwd": house.folder, "env": os.environ | house.env | backend, "capture_output": True}
    done = subprocess.run(export, **theirs, check=False)
    assert done.returncode != 0 and b"EOF" in done.stderr, "if it can now, `torn_attributes` is needed no more"
    assert house.call("cancel", "--yes", "-s", "dev")[0] == 0
    subprocess.run(export, **theirs, check=True)
