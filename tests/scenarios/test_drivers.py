"""docs/guides/drivers.md: every program that the page calls run is run as it stands, with its certificate checked, against `spg99 dev`.

`long`: each installs its driver from its registry. What is not on this machine is skipped by name.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kit.platform import Platform

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "drivers.md"
SECONDS_MAX = 1500  # tokio-postgres compiles sixty crates
_SECTION = re.compile(
    r"^### (?P<name>[^\n]+)\n(?:(?!^### ).)*?^```shell\n(?P<install>[^\n]+)\n(?P<run>[^\n#]+?) *# (?P<file>[^\n]+):\n```\n\n"
    r"^```\w+\n(?P<program>.*?)^```",
    re.DOTALL | re.MULTILINE,
)
SECTIONS = [found.groupdict() for found in _SECTION.finditer(PAGE.read_text())]
NAMES = {
    "psycopg", "asyncpg", "SQLAlchemy", "Django", "pg (node-postgres)", "postgres.js", "pgx", "lib/pq", "JDBC", "tokio-postgres",
}  # fmt: skip


def test_no_driver_is_lost_from_the_page() -> None:
    assert {section["name"] for section in SECTIONS} == NAMES
    assert {"Prisma", "Npgsql"} <= set(re.findall(r"^### (.+)$", PAGE.read_text(), re.MULTILINE))


@pytest.mark.long
@pytest.mark.timeout(SECONDS_MAX)
@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section["name"])
def test_a_program_connects_and_verifies(section: dict[str, str], platform: Platform, tmp_path: Path) -> None:
    install, run = section["install"], section["run"].strip()
    for line in (install, run):
        if shutil.which(line.split()[0]) is None:
            pytest.skip(f"{line.split()[0]} is not on the PATH")
    path = os.environ["PATH"]
    if install.startswith("pip "):
        subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
        path = f"{tmp_path / 'venv' / 'bin'}{os.pathsep}{path}"
    work = tmp_path / "work"
    work.mkdir()
    if platform.api("GET", "/tenants/drivers/dbs/app").status_code == 404:
        platform.create_database("drivers")
    url = platform.database("drivers")["connection_string"].replace("sslmode=require", "sslmode=verify-full")
    environment = {**os.environ, **platform.env, "PATH": path, "DATABASE_URL": url}

    def shell(command: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-ec", command],
            cwd=work, env=environment | more, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS_MAX,
        )  # fmt: skip

    installed = shell(install)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    program = work / section["file"]
    program.write_text(section["program"])
    done = shell(run)
    assert (done.returncode, done.stdout.strip()) == (0, "42"), done.stderr
    # The same without our CA is refused: what was shown above is verification, not luck.
    blind = shell(run, PGSSLROOTCERT="/etc/ssl/certs/ca-certificates.crt", NODE_EXTRA_CA_CERTS="")
    assert blind.returncode != 0 and "42" not in blind.stdout, blind.stdout
    assert re.search(r"certif|unknown authority|PKIX", blind.stdout + blind.stderr, re.IGNORECASE), blind.stderr
