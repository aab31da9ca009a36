"""The data folder of dev: one dev at a time, a state that is whole, `env` that a shell can read."""

from __future__ import annotations

import errno
import json
import os
import shlex
import socket
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from spg99.commands import checks_remote
from spg99.commands.app import app
from spg99.commands.child import HEALTHY_SECONDS, pause_seconds
from spg99.commands.dev_folder import DevFolder, DevState
from spg99.commands.options import unusable
from spg99.control_plane.bootstrap import admin_token
from spg99.errors import Conflict, Unavailable
from spg99.processes.health import PAUSE_SECONDS_MAX

NEEDED = {
    "gateway": ("--cp-url", "http://127.0.0.1:1/v2"),
    "agent": ("--cp-url", "http://127.0.0.1:1/v2"),
    "control-plane": ("--catalogue-url", "postgresql://127.0.0.1:1/x"),
}
"""What a server wants to be told before it looks at its folder."""


@pytest.fixture
def folder(tmp_path: Path) -> DevFolder:
    made = DevFolder(tmp_path / "it's here")
    made.prepare()
    return made


def test_a_second_dev_is_refused_with_the_pid_of_the_first(folder: DevFolder) -> None:
    folder.lock()
    with pytest.raises(Conflict, match=f"pid {os.getpid()}"):
        DevFolder(folder.data_dir).lock()
    folder.unlock()
    DevFolder(folder.data_dir).lock()


def test_what_runs_is_told_only_while_it_runs(folder: DevFolder) -> None:
    folder.write(DevState(pid=1, cp_url="http://x/v2"))
    with pytest.raises(Unavailable, match="No `spg99 dev` runs"):
        folder.running()
    folder.lock()
    assert folder.running().cp_url == "http://x/v2"
    folder.write(DevState())
    with pytest.raises(Unavailable, match="still starting"):
        folder.running()


def test_a_damaged_state_counts_as_none(folder: DevFolder) -> None:
    folder.state_file.write_text("{")
    assert folder.read() == DevState()


def test_the_secrets_folder_is_closed(folder: DevFolder) -> None:
    assert stat.S_IMODE(folder.admin_key_file.parent.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as another user")
def test_root_opens_its_own_data_folder_for_walking_and_nothing_else(tmp_path: Path) -> None:
    parent = tmp_path / "closed"
    parent.mkdir(mode=0o700)
    (parent / "data").mkdir(mode=0o700)
    DevFolder(parent / "data").prepare()
    assert stat.S_IMODE((parent / "data").stat().st_mode) == 0o701
    assert stat.S_IMODE(parent.stat().st_mode) == 0o700


def test_env_is_what_a_shell_can_read(folder: DevFolder) -> None:
    folder.admin_key_file.write_text("spg99_key_1\n")
    folder.write(DevState(pid=1, cp_url="http://127.0.0.1:1/v2", gateway_port=2, ca_file=folder.ca_file))
    folder.lock()
    lines = CliRunner().invoke(app, ["env", "--data-dir", str(folder.data_dir)]).output.splitlines()
    words = [shlex.split(line) for line in lines]
    assert all(word[0] == "export" for word in words)
    assert dict(word[1].split("=", 1) for word in words) == {
        "SPG99_CP_URL": "http://127.0.0.1:1/v2",
        "SPG99_API_KEY": "spg99_key_1",
        "SPG99_GATEWAY": "localhost:2",
        "PGSSLROOTCERT": str(folder.ca_file),
    }
    as_json = CliRunner().invoke(app, ["env", "--data-dir", str(folder.data_dir), "--json"]).output
    assert json.loads(as_json)["SPG99_API_KEY"] == "spg99_key_1"


@pytest.mark.parametrize("content", [b"", b"\n", bytes(40), b"\xff\xfe\xff"])
def test_a_key_that_is_none_is_said_with_the_way_out(folder: DevFolder, content: bytes) -> None:
    folder.admin_key_file.write_bytes(content)
    folder.write(DevState(pid=1, cp_url="http://127.0.0.1:1/v2", gateway_port=2))
    folder.lock()
    result = CliRunner().invoke(app, ["env", "--data-dir", str(folder.data_dir)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert str(folder.admin_key_file) in result.stderr and "spg99 keys recover --data-dir" in result.stderr
    finding = checks_remote.control_plane(folder.data_dir)
    assert finding.verdict == "fail" and "spg99 keys recover" in finding.advice


def test_a_start_makes_a_key_where_a_power_cut_has_emptied_its_file(folder: DevFolder) -> None:
    made, is_new = admin_token(folder.data_dir)
    assert made and is_new and admin_token(folder.data_dir) == (made, False)
    folder.admin_key_file.write_bytes(b"")
    again, is_new = admin_token(folder.data_dir)
    assert again and is_new and again != made and folder.admin_key() == again


def test_doctor_takes_a_start_for_no_failure(folder: DevFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SPG99_CP_URL", "CP_URL", "SPG99_API_KEY", "SPG99_TOKEN", "SPG99_GATEWAY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    folder.write(DevState(api_port=port, gateway_port=port))
    folder.lock()
    found = list(checks_remote.remote_checks(folder.data_dir))
    assert [finding for finding in found if finding.verdict == "fail"] == []
    assert [finding.subject for finding in found if "still starting" in finding.observed + finding.advice] == [
        "Dev",
        "Control Plane",
        "Gateway",
    ]


SERVERS = ["dev", "control-plane", "gateway", "agent", "catalogue"]


@pytest.mark.parametrize("command", SERVERS)
def test_a_data_folder_that_is_a_file_is_said_with_what_to_do(tmp_path: Path, command: str) -> None:
    (file := tmp_path / "file").write_text("")
    for data_dir in (file, file / "below"):
        result = CliRunner().invoke(app, [command, "--data-dir", str(data_dir), *NEEDED.get(command, ())])
        assert result.exit_code == 1
        assert f"{file} is a file where a folder is needed. Give another --data-dir" in result.stderr


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_a_data_folder_of_another_user_is_said_with_what_to_do(tmp_path: Path, number: int) -> None:
    error = OSError(number, os.strerror(number), str(tmp_path / "secrets"))
    refusal = unusable(tmp_path, error)
    assert refusal is not None and str(tmp_path / "secrets") in refusal.message and "--data-dir" in refusal.message
    assert unusable(tmp_path, OSError(number, "x", "/elsewhere")) is None, "another trouble keeps its own words"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a place where nobody can make a folder, not even root")
@pytest.mark.parametrize("command", ["dev", "catalogue"])
def test_a_data_folder_that_cannot_be_made_is_said_with_what_to_do(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--data-dir", "/proc/nope/below"])
    assert result.exit_code == 1
    assert "The data folder /proc/nope/below cannot be made or used (" in result.stderr
    assert "Give another --data-dir" in result.stderr


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP])
def test_what_the_system_says_of_the_folder_itself_has_a_next_step(tmp_path: Path, number: int) -> None:
    for place in (tmp_path / "data", tmp_path):
        refusal = unusable(tmp_path / "data", OSError(number, os.strerror(number), str(place)))
        assert refusal is not None and os.strerror(number) in refusal.message and "--data-dir" in refusal.message
    within = OSError(number, os.strerror(number), str(tmp_path / "data" / "node" / "x"))
    assert unusable(tmp_path / "data", within) is None, "not the folder: the system's own words"


def test_env_without_a_dev_says_what_to_do(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["env", "--data-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "No `spg99 dev` runs" in result.stderr


def test_quick_deaths_are_answered_ever_slower_and_a_long_life_forgives() -> None:
    deaths, pauses = 0, []
    for _ in range(10):
        deaths, pause = pause_seconds(deaths, lived_seconds=0.5)
        pauses.append(pause)
    assert pauses[0] < 0.5
    assert pauses == sorted(pauses)
    assert pauses[-1] == PAUSE_SECONDS_MAX
    assert pause_seconds(deaths, lived_seconds=HEALTHY_SECONDS) == pause_seconds(0, lived_seconds=0.5)
