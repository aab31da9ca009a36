"""`spg99 psql`: libpq's variables from a connection string."""

from __future__ import annotations

from pathlib import Path

import pytest

from spg99.commands.psql import variables
from spg99.errors import Forbidden

DSN = "postgres://tnt_1:p%40ss@db.example.org:6432/app?sslmode=require"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)


def test_a_local_gateway_is_verified_against_its_ca() -> None:
    assert variables(DSN, ca_file=Path("ca.crt")) == {
        "PGHOST": "db.example.org",
        "PGPORT": "6432",
        "PGUSER": "tnt_1",
        "PGPASSWORD": "p@ss",
        "PGDATABASE": "app",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "ca.crt",
    }


def test_a_moment_stands_behind_the_name() -> None:
    assert variables(DSN, ca_file=None, moment="@2026-11-26T10:00:00Z")["PGDATABASE"] == "app@2026-11-26T10:00:00Z"


def test_without_a_ca_the_connection_string_decides() -> None:
    assert variables(DSN, ca_file=None)["PGSSLMODE"] == "require"


def test_the_users_own_ca_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLROOTCERT", "own.crt")
    assert variables(DSN, ca_file=None)["PGSSLMODE"] == "verify-full"


def test_a_key_that_may_not_read_credentials_is_told_so() -> None:
    with pytest.raises(Forbidden, match="can_read_credentials"):
        variables("postgres://tnt_1@localhost:5432/app", ca_file=None)
