"""How a server's process is made: the same bounds and the same user by our program, by setpriv and a shell, and by Python alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spg99.postgres import launch
from spg99.postgres.accounts import Account
from spg99.postgres.launch import PROGRAM, launched

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
needs_program = pytest.mark.skipif(not PROGRAM.is_file(), reason="no C compiler")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

SHOW = (
    "import os,resource as r; print(os.getresuid(), os.getresgid(), os.getgroups(), "
    "r.getrlimit(r.RLIMIT_DATA), r.getrlimit(r.RLIMIT_CORE)[1])"
)
DATA_BYTES = 256 << 20


def shown(account: Account | None, data_bytes_max: int | None = DATA_BYTES) -> str:
    """What a process is that was made so."""
    command, options = launched([sys.executable, "-ISc", SHOW], account, data_bytes_max=data_bytes_max)
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/", **options).stdout.strip()


@pytest.fixture(params=["program", "setpriv", "python"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How it is made; those before it are not there."""
    name = str(request.param)
    if name == "program" and not PROGRAM.is_file():
        pytest.skip("no C compiler")
    if name != "program":
        monkeypatch.setattr(launch, "PROGRAM", Path("/nowhere/spg99_launch"))
    if name == "python":
        monkeypatch.setattr(launch, "_setpriv", lambda uid, gid: None)
    return name


@needs_root
@pytest.mark.usefixtures("way")
def test_it_is_the_account_with_none_of_roots_groups_and_within_its_bounds() -> None:
    # A program of the checkout's may be out of that user's reach; what everybody may run is not.
    account = Account("nobody", 65534, 65534)
    command, options = launched(
        ["/bin/sh", "-c", "id -u; id -g; id -G; ulimit -d; ulimit -Hd; ulimit -Hc; grep CapEff /proc/self/status"],
        account,
        data_bytes_max=DATA_BYTES,
    )
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/", **options)
    kilobytes = str(DATA_BYTES >> 10)
    assert done.stdout.split() == ["65534", "65534", "65534", kilobytes, kilobytes, "0", "CapEff:", "0" * 16]


@pytest.mark.usefixtures("way")
def test_our_own_user_stays_and_is_bounded() -> None:
    user, group = os.getresuid(), os.getresgid()
    seen = shown(None)
    assert seen.startswith(f"{user} {group}")
    assert seen.endswith(f"({DATA_BYTES}, {DATA_BYTES}) 0")


def test_without_account_and_bounds_nothing_stands_before_it() -> None:
    assert launched(["postgres"], None) == (["postgres"], {})


@needs_program
@pytest.mark.parametrize(
    "words",
    [
        ["0:0", "-"],
        ["0:65534", "-"],
        ["65534", "-"],
        ["65534:", "-"],
        [":65534", "-"],
        ["nobody:65534", "-"],
        ["65534:65534x", "-"],
        ["4294967295:65534", "-"],
        ["65534:4294967295", "-"],
        ["-1:65534", "-"],
        ["-", "0"],
        ["-", "-5"],
        ["-", "12k"],
        ["-", ""],
        ["-"],
    ],
)
def test_words_that_are_none_run_nothing(words: list[str]) -> None:
    done = subprocess.run([PROGRAM, *words, "/bin/echo", "ran"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (126, "")
    assert done.stderr.startswith("spg99_launch: ")


@needs_program
def test_a_program_that_is_not_there_is_named() -> None:
    done = subprocess.run([PROGRAM, "-", "-", "/nowhere/postgres"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (126, "spg99_launch: /nowhere/postgres: No such file or directory\n")
