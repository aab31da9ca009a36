"""Any data folder works: longer than a socket's path may be, with blanks, commas, quotes and letters of any language."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from kit.platform import BIN, Platform
from spg99.node.template import TENANT_RULES
from spg99.postgres.socket_folder import runtime_folder

ODD = "a folder, with \"quotes\" and 'such' ünd"


@pytest.fixture
def odd(data_dir: Path) -> Iterator[Platform]:
    folder = data_dir / ODD / ("long" * 30)
    folder.mkdir(parents=True)
    platform = Platform(folder)
    yield platform
    if platform.process is not None and platform.process.poll() is None:
        platform.process.kill()
        platform.process.wait()
    for process in platform.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    shutil.rmtree(runtime_folder(folder), ignore_errors=True)


@pytest.mark.slow  # again
@pytest.mark.timeout(480)  # two starts of a whole platform on a busy machine
def test_the_whole_platform_works_in_an_odd_folder_and_leaves_no_socket(odd: Platform) -> None:
    odd.start(seconds=120)
    sockets = runtime_folder(odd.data_dir)
    assert (sockets / "catalogue" / ".s.PGSQL.5432").is_socket()
    odd.create_database()
    for _ in range(2):  # the second time in a data folder that has lain
        with odd.connect(connect_timeout=60) as db:
            db.execute("create extension if not exists vector")
            assert db.execute("select current_database()").fetchone() == ("app",)
            if TENANT_RULES.exists():
                with pytest.raises(psycopg.errors.FeatureNotSupported):  # the library is there, whatever its path
                    db.execute("alter role current_user password 'x'")
                db.rollback()
        odd.stop()
        assert not sockets.exists() and not odd.processes()
        odd.start(seconds=120)
    odd.stop()


@pytest.mark.parametrize("command", [["dev"], ["agent", "--enrolment-token", "x"]], ids=["dev", "agent"])
def test_a_new_folder_with_a_colon_is_refused_before_anything_is_written(data_dir: Path, command: list[str]) -> None:
    """PostgreSQL parts the folders of extensions at colons, and there is no way to quote one."""
    folder = data_dir / "a:b" / "data"
    done = subprocess.run(
        [BIN / "spg99", *command, "--data-dir", folder], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 1
    assert "has a colon in it" in done.stderr and "--data-dir" in done.stderr and "Traceback" not in done.stderr
    assert not folder.parent.exists()
