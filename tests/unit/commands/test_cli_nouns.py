"""What the commands of nouns say: their own options, and no default where nothing is set. Not here: what they do (integration)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from click import Command, Context, Group, Option
from click.testing import CliRunner

from spg99.commands.app import app
from spg99.commands.click_types import Repeated
from spg99.commands.connection import Connection
from spg99.commands.nouns import NAMINGS
from spg99.errors import Conflict
from spg99.resources import Mark, Resource

DELETIONS = [(kind, naming.command, flag) for kind, naming in NAMINGS.items() for flag, _ in naming.deletions]
UPDATES = [naming.command for kind, naming in NAMINGS.items() if kind.inputs().keys() - kind.marked(Mark.IMMUTABLE)]


@pytest.mark.parametrize(("kind", "command", "flag"), DELETIONS)
def test_a_refused_deletion_names_the_option_and_not_the_query(
    monkeypatch: pytest.MonkeyPatch, kind: type[Resource], command: str, flag: str
) -> None:
    def refuse(self: Connection, work: Any) -> Any:
        raise Conflict(f"It is in use. Close it first, or delete with {flag}=true.")

    monkeypatch.setattr(Connection, "call", refuse)
    result = CliRunner().invoke(app, [command, "delete", "/".join("a" for _ in kind.id_fields()), "--yes"])
    assert result.exit_code == 1
    assert result.stderr == f"error: It is in use. Close it first, or delete with --{flag.replace('_', '-')}.\n"


@pytest.mark.parametrize("command", UPDATES)
def test_the_help_of_an_update_does_not_read_as_if_it_reset_what_is_left_out(command: str) -> None:
    text = " ".join(CliRunner().invoke(app, [command, "update", "--help"]).output.split())
    assert "[default:" not in text


REPEATED = [
    (("keys", "create", "--name", "x"), "--permissions", "can_scale,can_delete"),
    (("events", "watch"), "--type", "database.ready, database.idle"),
    (("plugin", "package"), "--platform", "linux-amd64,darwin-arm64"),
    (("plugin", "package"), "--python", "3.11,3.12"),
]


@pytest.mark.parametrize(("command", "flag", "given"), REPEATED)
def test_many_values_in_one_are_answered_with_how_to_write_them(
    command: tuple[str, ...], flag: str, given: str
) -> None:
    result = CliRunner().invoke(app, [*command, flag, given])
    first, second = (part.strip() for part in given.split(","))
    assert result.exit_code == 2
    assert f"repeat the option for each ({flag} {first} {flag} {second})" in result.stderr


def test_every_option_that_may_be_repeated_says_so() -> None:
    found = []
    for name in app.list_commands(Context(app)):
        for path, command in all_of(name, app.get_command(Context(app), name)):
            for parameter in command.params:
                if isinstance(parameter, Option) and parameter.multiple:
                    found.append(f"{path} {parameter.opts[0]}")
                    # `--config KEY=VALUE` and `--target URN` of the engine are Pulumi's: their values may hold commas.
                    assert isinstance(parameter, Repeated) or parameter.opts[0] in ("--config", "--target"), found[-1]
                    assert "epeat" in (parameter.help or ""), found[-1]
    assert {f"{' '.join(command[:2])} {flag}" for command, flag, _ in REPEATED} <= set(found)


def all_of(path: str, command: Command | None) -> Iterator[tuple[str, Command]]:
    assert command is not None
    yield path, command
    if isinstance(command, Group):
        for name, member in command.commands.items():
            yield from all_of(f"{path} {name}", member)


def test_the_help_of_a_create_tells_defaults() -> None:
    assert "[default: L1]" in " ".join(CliRunner().invoke(app, ["dbs", "create", "--help"]).output.split())
