"""Options of the Pulumi CLI that the engine lacks are refused by their name, with what to do instead."""

from __future__ import annotations

import re
import subprocess

import click
import pytest
from click.testing import CliRunner, Result

from kit.pulumi_cli import pulumi
from spg99.commands.app import app
from spg99.engine.cli import destroy, import_command, preview, refresh, up
from spg99.engine.cli_refusals import INSTEAD, REFUSALS

COMMANDS = {"up": up, "preview": preview, "refresh": refresh, "destroy": destroy, "import": import_command}


def options_of(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def refused(*arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert "Did you mean" not in result.stderr, "another option does another thing"
    return result


@pytest.mark.parametrize("command", COMMANDS)
def test_each_is_refused_by_its_name_with_what_to_do(command: str) -> None:
    for option in INSTEAD.keys() - options_of(COMMANDS[command]):
        instead = INSTEAD[option]
        said = refused(command, option, "x").stderr
        assert f"The embedded engine has no {option}. {instead.format(command=command, option=option)}" in said
        assert "{" not in said


def test_an_option_is_named_once_and_some_command_lacks_it() -> None:
    assert INSTEAD.keys() & set.intersection(*map(options_of, COMMANDS.values())) == set()
    assert len(INSTEAD) == sum(len(names) for names in REFUSALS.values())


def test_with_a_value_joined_to_it_and_of_a_family() -> None:
    assert "has no --refresh. Run `spg99 refresh` first." in refused("up", "--refresh=true").stderr
    assert "has no --remote-git-url. It runs on this machine only" in refused("up", "--remote-git-url=x").stderr
    assert "`pulumi destroy --exclude`" in refused("destroy", "--exclude=urn").stderr


def test_what_nobody_knows_is_answered_as_ever() -> None:
    result = CliRunner().invoke(app, ["up", "--targte", "x"])
    assert result.exit_code == 2 and "No such option" in result.stderr and "--target" in result.stderr


@pytest.mark.slow  # built
@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_pulumis_cli_is_had_or_refused(command: str) -> None:
    done = subprocess.run([pulumi(), command, "--help"], capture_output=True, text=True, timeout=60, check=True)
    theirs = set(re.findall(r"^ {2,6}(?:(-\w), )?(--[\w-]+)", done.stdout, re.MULTILINE))
    named = {name for pair in theirs for name in pair if name}
    assert len(named) > 15, done.stdout
    assert named - options_of(COMMANDS[command]) - INSTEAD.keys() - {"--help", "-h"} == set()
