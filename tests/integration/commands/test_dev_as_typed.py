"""`spg99 dev` as a person uses it: the lines it prints, pasted into a shell; PostgreSQL's programs from a folder of one's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from kit.platform import BIN, Platform, wait_for
from spg99.postgres import find_binaries, prepare_account


@pytest.fixture(scope="module")
def pg_bin(session_data_dir: Path) -> Path:
    """PostgreSQL's programs, moved elsewhere as an operator's own build would be."""
    prefix = find_binaries(None, copy_to=session_data_dir / "unused").bin_dir.parent
    home = session_data_dir / "own build" / "of mine"
    ignored = shutil.ignore_patterns("include", "pkgconfig", "pgxs", "*.a")
    shutil.copytree(prefix, home / "pg", symlinks=True, ignore=ignored)
    libraries = prefix.parent.parent / f"{prefix.parent.name}.libs"
    if libraries.is_dir():  # found by a path relative to the programs
        shutil.copytree(libraries, home.parent / libraries.name, symlinks=True)
    for folder in (home.parent, home):
        folder.chmod(0o755)
    return home / "pg" / "bin"


@pytest.fixture(scope="module")
def platform(session_data_dir: Path, pg_bin: Path) -> Iterator[Platform]:
    """A dev with its own programs in a folder that a shell must quote."""
    data_dir = session_data_dir / "it's data"
    data_dir.mkdir(mode=0o711)
    made = Platform(data_dir, arguments=("--pg-bin", str(pg_bin)))
    try:
        yield made.start()
        made.stop()
        wait_for("no process is left", lambda: not made.processes(), seconds=10)
    finally:
        for process in made.processes():
            process.kill()


def printed(platform: Platform, word: str) -> str:
    """What stands behind this word of the greeting, which is printed after the ready file is there."""
    (line,) = wait_for(
        f"{word} in the greeting", lambda: re.findall(rf"^  {word} +(.*)$", platform.log(), flags=re.MULTILINE)
    )
    return str(line)


def shell(script: str) -> str:
    """What the script writes in a bash that knows nothing but the PATH and where `spg99` is."""
    environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-euo", "pipefail", "-c", script],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_printed_eval_line_gives_a_shell_in_which_curl_and_spg99_work(platform: Platform) -> None:
    line = printed(platform, "Shell")
    assert line.startswith('eval "$(spg99 env --data-dir ')
    call = 'curl -fsS -H "Authorization: Bearer $SPG99_API_KEY" -H "Content-Type: application/json"'
    script = f"""
        {line}
        {call} -d '{{"name": "shelly"}}' "$SPG99_CP_URL/tenants" >&2
        {call} -o /dev/null -w '%{{http_code}}\\n' "$SPG99_CP_URL/tenants/shelly"
        spg99 tenants get shelly --json | grep '"name"'
        env | grep -c '^SPG99_'
    """
    assert shell(script).split() == ["200", '"name":', '"shelly",', "3"]
    without = shell("spg99 env --data-dir /nowhere 2>&1 >&2 || true")
    assert without.startswith("error: ") and "/nowhere" in without


@pytest.mark.slow  # again
def test_the_printed_addresses_are_those_that_serve(platform: Platform) -> None:
    assert printed(platform, "API") == platform.env["SPG99_CP_URL"]
    gateway = re.fullmatch(r"(localhost):(\d+)  \(TLS; CA (.+)\)", printed(platform, "Gateway"))
    assert gateway is not None, printed(platform, "Gateway")
    host, port, ca_file = gateway.groups()
    assert f"{host}:{port}" == platform.env["SPG99_GATEWAY"] and ca_file == platform.env["PGSSLROOTCERT"]
    platform.create_database("typed", "app")
    tenant = platform.api("GET", "/tenants/typed").json()
    with psycopg.connect(
        host=host, port=port, dbname="app", user=tenant["pg_user"], password=tenant["pg_password"],
        sslmode="verify-full", sslrootcert=ca_file, connect_timeout=30,
    ) as connection:  # fmt: skip
        assert connection.execute("select 1").fetchone() == (1,)
    assert f"Data folder: {platform.data_dir}\n" in platform.log()


def test_every_postgresql_process_comes_from_the_named_folder(platform: Platform, pg_bin: Path) -> None:
    platform.create_database("own", "app", idle_timeout_seconds=300)
    with platform.connect("own", "app") as connection:
        connection.execute("create extension vector")
        postmasters = [p for p in platform.processes("-D") if p.info["name"] == "postgres"]
        programs = {Path(p.exe()) for p in postmasters}
        assert len(postmasters) >= 2, "the catalogue's and the database's"
        assert programs == {pg_bin / "postgres"}
        assert all(p.status() != psutil.STATUS_ZOMBIE for p in postmasters)


@pytest.mark.parametrize("older_or_closed", ["older", "closed"])
def test_programs_that_will_not_do_are_refused_before_anything_is_made(
    data_dir: Path, pg_bin: Path, older_or_closed: str
) -> None:
    if older_or_closed == "older":
        wrong = find_binaries(None, copy_to=data_dir / "unused", major=16).bin_dir
        sentence = f"The catalogue needs PostgreSQL 18 or newer; {wrong} holds 16.14. Leave out --pg-bin"
    else:
        if os.geteuid() != 0:
            pytest.skip("only root's PostgreSQL runs as another user")
        account = prepare_account(None)
        assert account is not None
        wrong = data_dir / "closed"
        wrong.mkdir(mode=0o700)
        (wrong / "postgres").symlink_to(pg_bin / "postgres")
        sentence = (
            f"The user '{account.name}', who runs PostgreSQL here, may not use {wrong}. "
            "Name programs that everybody may run"
        )
    home = data_dir / "home"
    done = subprocess.run(
        [BIN / "spg99", "dev", "--data-dir", home, "--api-port", "0", "--gateway-port", "0", "--pg-bin", wrong],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert sentence in done.stderr and "error: catalogue ended (exit code 1)" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "catalogue").exists(), "a cluster of the wrong version would hinder the next dev"
