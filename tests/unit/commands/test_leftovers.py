"""Whose processes a dev that starts takes for those of the one before it. Here: real processes with these command lines, executed
and as if forked. Not here: ending them (tests/integration/commands/test_dev_forked.py)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spg99.commands.leftovers import children
from spg99.commands.preforked import title
from spg99.commands.supervisor import STOP_ORDER
from spg99.processes import title as title_module

WAITS = "print('here', flush=True); sys.stdin.read()"
TITLED = (
    f"import runpy, sys; its = runpy.run_path({title_module.__file__!r}); its['set_title'](sys.argv.pop()); {WAITS}"
)
"""Without the package around it, which takes longer to load than the rest of a test."""
FILLED = TITLED.replace("pop()", "pop() + 'x' * its['bytes_max']()")
"""As long as there is room: then psutil takes it apart at its spaces."""

Started = Callable[[list[str]], int]


@pytest.fixture(params=["executed", "forked", "forked and long"])
def started(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Started]:
    """Starts a process that `ps` shows as `python -m spg99 <arguments>`; answers its pid."""
    if request.param != "executed" and sys.platform != "linux":
        pytest.skip("forks are for Linux")
    processes: list[subprocess.Popen[bytes]] = []
    (program := tmp_path / "program" / "spg99").mkdir(parents=True)
    (program / "__init__.py").touch()
    (program / "__main__.py").write_text(f"import sys; {WAITS}")

    def start(arguments: list[str]) -> int:
        script = FILLED if request.param == "forked and long" else TITLED
        is_executed = request.param == "executed"
        command = ["-m", "spg99", *arguments] if is_executed else ["-c", script, title(arguments)]
        where = program.parent if is_executed else None
        process = subprocess.Popen([sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=where)
        processes.append(process)
        assert process.stdout is not None and process.stdout.readline() == b"here\n"
        return process.pid

    yield start
    for process in processes:
        process.communicate(timeout=30)


@pytest.mark.parametrize(
    "name", ["pg", "two words", "two  spaces", " begins and ends ", "a+b (c) [d]", "line\nline", "sn\u00f6"]
)
def test_a_process_of_this_folder_is_found_whatever_the_folder_is_called(
    started: Started, tmp_path: Path, name: str
) -> None:
    pid = started(["gateway", "--data-dir", str(tmp_path / name), "--log-level", "info", "--tls-names", "a b"])
    assert [process.pid for process in children(tmp_path / name, STOP_ORDER)] == [pid]


@pytest.mark.parametrize("other", ["pg copy", "pg  copy", "pg -copy", "pg/copy", "pgcopy", "p", "pg "])
def test_one_of_another_folder_whose_name_begins_alike_is_let_be(started: Started, tmp_path: Path, other: str) -> None:
    started(["gateway", "--data-dir", str(tmp_path / other), "--log-level", "info"])
    assert children(tmp_path / "pg", STOP_ORDER) == []


@pytest.mark.parametrize(
    ("beginning", "end"),
    [(["dev"], []), (["gateways"], []), (["gateway", "--host", "x"], []), ([], ["gateway"]), (["x", "gateway"], [])],
)
def test_another_command_is_let_be(started: Started, tmp_path: Path, beginning: list[str], end: list[str]) -> None:
    started([*beginning, "--data-dir", str(tmp_path), *end, "--log-level", "info"])
    assert children(tmp_path, STOP_ORDER) == []
