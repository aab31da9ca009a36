"""The table of contents: what is listed, that it is there, and that listing it loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from spg99.commands.app import app
from spg99.commands.contents import CONTENTS, entries

HEAVY = ("pydantic", "pulumi", "grpc", "psycopg", "fastapi", "httpx", "rich", "cryptography")


def loaded_by(*arguments: str) -> set[str]:
    """The heavy packages that a run of `spg99` has loaded when it ends."""
    script = (
        "import sys, json, contextlib, io\n"
        "from spg99.commands.app import app\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    try: app.main(sys.argv[1:], prog_name='spg99')\n"
        "    except SystemExit: pass\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_help_lists_every_command_under_its_section() -> None:
    text = CliRunner().invoke(app, ["--help"]).output
    position = 0
    for section in CONTENTS:
        position = text.index(f"{section.title}:", position)
        for entry in section.entries:
            position = text.index(f"  {entry.name} ", position)
            assert entry.line in text
    assert "catalogue " not in text.split("Run:")[1].split("Declare:")[0].replace("The catalogue's", "")


@pytest.mark.parametrize("name", entries())
def test_every_command_is_there_and_explains_itself(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: spg99 {name}")


def test_every_nested_command_explains_itself() -> None:
    def undocumented(command: click.Command, path: str) -> list[str]:
        found = [] if command.help else [path]
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                member = command.get_command(context, name)
                assert member is not None
                found += undocumented(member, f"{path} {name}")
        return found

    names = [name for name in entries() if ".engine." not in entries()[name].where]
    context = click.Context(app)
    commands = {name: app.get_command(context, name) for name in names}
    assert [bad for name, command in commands.items() if command for bad in undocumented(command, name)] == []


def test_help_loads_nothing_heavy() -> None:
    assert loaded_by("--help") == set()


@pytest.mark.parametrize("name", ["gateway", "agent", "control-plane", "catalogue"])
def test_a_process_does_not_load_pulumi(name: str) -> None:
    assert not loaded_by(name, "--help") & {"pulumi", "grpc", "fastapi", "psycopg"}


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    result = CliRunner().invoke(app, ["tenant"])
    assert result.exit_code == 2
    assert "There is no command 'tenant'. Did you mean tenants" in result.output


def test_a_name_near_to_nothing_is_sent_to_the_help() -> None:
    result = CliRunner().invoke(app, ["xyzzy"])
    assert result.exit_code == 2
    assert "`spg99 --help` lists all commands" in result.output


def test_a_command_on_nouns_loads_no_settings_of_servers() -> None:
    code = "import sys, spg99.commands.nouns; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'spg99.resources'" in loaded
    assert not [name for name in ("spg99.config", "rich", "psycopg", "spg99.control_plane") if f"'{name}'" in loaded]
