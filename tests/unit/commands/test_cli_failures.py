"""Errors on the command line: a sentence on stderr, the right exit code, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner, Result

from spg99.commands.app import Root
from spg99.commands.failures import lines
from spg99.errors import BadRequest, TooManyRequests, Unavailable


def ending_with(raise_it: Callable[[], object]) -> Result:
    """What a user sees of a command that ends so."""
    root = Root("spg99")

    @root.command("fail")
    def fail() -> None:
        raise_it()

    root.get_command = lambda _context, name: fail if name == "fail" else None  # type: ignore[method-assign]
    root.resolve_command = lambda _context, args: (args[0], fail, args[1:])  # type: ignore[method-assign]
    return CliRunner().invoke(root, ["fail"])


def throw(error: BaseException) -> Callable[[], object]:
    def act() -> object:
        raise error

    return act


def test_an_error_of_ours_is_a_sentence_its_fields_and_the_request_id() -> None:
    error = BadRequest("That will not do.", fields={"idle_timeout_seconds": "must be at least 0"}, request_id="req_1")
    result = ending_with(throw(error))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "error: That will not do.",
        "  idle-timeout-seconds: must be at least 0",
        "  request id: req_1",
    ]


def test_when_to_retry_is_told() -> None:
    assert "  retry in 7 s" in lines(TooManyRequests(retry_after_seconds=7))


def test_an_unexpected_error_is_a_sentence_and_a_way_to_see_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPG99_DEBUG", raising=False)
    result = ending_with(throw(ZeroDivisionError("by zero")))
    assert result.exit_code == 1
    assert "ZeroDivisionError in test_cli_failures.py" in result.stderr
    assert "SPG99_DEBUG=1" in result.stderr
    assert "Traceback" not in result.stderr


def test_debug_shows_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPG99_DEBUG", "1")
    assert "Traceback" in ending_with(throw(ZeroDivisionError("by zero"))).stderr


def test_a_group_of_errors_tells_each() -> None:
    group = BaseExceptionGroup("two", [Unavailable("The first."), Unavailable("The second.")])
    assert lines(group) == ["error: The first.", "error: The second."]


def test_an_error_of_the_system_names_the_file() -> None:
    assert lines(PermissionError(13, "Permission denied", "secrets/admin.key")) == [
        "error: Permission denied: secrets/admin.key"
    ]


def test_interrupting_ends_with_130() -> None:
    assert ending_with(throw(KeyboardInterrupt())).exit_code == 130


def test_a_question_not_answered_with_yes_ends_with_1_and_says_so() -> None:
    result = ending_with(throw(click.Abort()))
    assert (result.exit_code, result.stderr) == (1, "Nothing was done.\n")


def test_wrong_usage_ends_with_2() -> None:
    result = ending_with(throw(click.UsageError("Not like this.")))
    assert result.exit_code == 2
    assert "Not like this." in result.stderr


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    script = f"{sys.executable} -m spg99 --help | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("Usage: spg99")
    assert done.stderr == ""
