"""A PostgreSQL named by a URL: what is asked of its TLS is what libpq would ask."""

from __future__ import annotations

import ssl

import pytest

from spg99.commands.source import server_of, source_variables
from spg99.errors import BadRequest


def test_a_url_is_read_as_libpq_reads_it() -> None:
    said = source_variables("postgres://u%40x:p%3Aw@h.example:6543/d%2Fb?sslmode=require&options=-c%20x%3D1", {})
    assert said == {
        "PGHOST": "h.example", "PGPORT": "6543", "PGUSER": "u@x", "PGPASSWORD": "p:w", "PGDATABASE": "d/b",
        "PGSSLMODE": "require", "PGOPTIONS": "-c x=1",
    }  # fmt: skip
    assert source_variables("postgresql://u@h", {"PGPASSWORD": "w"})["PGPASSWORD"] == "w"
    assert source_variables("postgresql://u@h", {})["PGDATABASE"] == "u"
    assert "PGSSLROOTCERT" not in source_variables("postgresql://u@h?sslmode=require", {"PGSSLROOTCERT": "/ours"})


@pytest.mark.parametrize("url", ["postgresql:///db", "postgresql://u@h:none/db", "postgresql://@h/db"])
def test_what_names_no_server_is_refused(url: str) -> None:
    with pytest.raises(BadRequest):
        source_variables(url, {})


@pytest.mark.parametrize(
    ("mode", "verify", "checks_name", "optional"),
    [
        ("prefer", ssl.CERT_NONE, False, True),
        ("require", ssl.CERT_NONE, False, False),
        ("verify-ca", ssl.CERT_REQUIRED, False, False),
        ("verify-full", ssl.CERT_REQUIRED, True, False),
    ],
)
def test_tls_is_asked_for_as_the_mode_says(mode: str, verify: int, checks_name: bool, optional: bool) -> None:
    server = server_of({"PGHOST": "h", "PGPORT": "1", "PGSSLMODE": mode})
    assert server.context is not None and server.context.verify_mode == verify
    assert (server.context.check_hostname, server.is_tls_optional) == (checks_name, optional)


def test_none_and_unknown() -> None:
    assert server_of({"PGHOST": "h", "PGPORT": "1", "PGSSLMODE": "disable"}).context is None
    with pytest.raises(BadRequest, match="sslmode"):
        server_of({"PGHOST": "h", "PGPORT": "1", "PGSSLMODE": "on"})
    with pytest.raises(BadRequest, match="CA certificates"):
        server_of({"PGHOST": "h", "PGPORT": "1", "PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/none"})


def test_system_roots_check_the_name() -> None:
    server = server_of({"PGHOST": "h", "PGPORT": "1", "PGSSLMODE": "require", "PGSSLROOTCERT": "system"})
    assert server.context is not None and server.context.check_hostname
