"""What the commands of nouns say: their own options, and no default where nothing is set. Not here: what they do (integration)."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from spg99.commands.app import app
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
    assert result.stderr == f"error: It is in use. Close it first, or delete with --{flag}.\n"


@pytest.mark.parametrize("command", UPDATES)
def test_the_help_of_an_update_does_not_read_as_if_it_reset_what_is_left_out(command: str) -> None:
    text = " ".join(CliRunner().invoke(app, [command, "update", "--help"]).output.split())
    assert "[default:" not in text


def test_the_help_of_a_create_tells_defaults() -> None:
    assert "[default: L1]" in " ".join(CliRunner().invoke(app, ["dbs", "create", "--help"]).output.split())
