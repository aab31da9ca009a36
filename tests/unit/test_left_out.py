"""Packages that are left out while a library is loaded. Here: what can be imported then and afterwards, and what is left out."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from spg99.left_out import left_out


def test_what_is_left_out_cannot_be_imported_and_can_be_afterwards() -> None:
    sys.modules.pop("colorsys", None)
    with left_out("colorsys"), pytest.raises(ImportError):
        importlib.import_module("colorsys")
    assert importlib.import_module("colorsys").rgb_to_hsv


def test_what_is_loaded_already_stays() -> None:
    loaded = importlib.import_module("colorsys")
    with left_out("colorsys"):
        assert importlib.import_module("colorsys") is loaded
    assert sys.modules["colorsys"] is loaded


@pytest.mark.parametrize(
    ("program", "expected"), [("import spg99.commands, spg99.log", "False"), ("import spg99.log", "True")]
)
def test_our_own_processes_load_no_pretty_tracebacks_and_somebody_elses_program_keeps_them(
    program: str, expected: str
) -> None:
    said = "import sys; print('rich' in sys.modules); import rich.console"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; {said}"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == expected


@pytest.mark.parametrize(
    "program",
    [
        "import spg99.client.over_httpx",
        "from spg99.client.safekeeper import SafekeeperClient; SafekeeperClient('/nowhere')",
    ],
)
def test_httpx_brings_no_command_line_along(program: str) -> None:
    said = "print('httpx' in sys.modules, {'httpx._main', 'rich', 'pygments'} & {*sys.modules}); import httpx._main"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {program}; {said}"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "True set()"
