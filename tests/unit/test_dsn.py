"""Connection strings: taken apart, put together and redacted as libpq understands them, and never a password in a complaint."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from kit.examples import examples
from spg99.dsn import build_dsn, parse_dsn, redact_dsn
from spg99.prepared import PACKAGE
from spg99.shapes import FunctionFault

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=12)
HOSTS = st.one_of(
    st.sampled_from(["localhost", "db.example.com", "10.0.0.1", "::1", "fe80::1%eth0", "/var/run/postgresql"]),
    st.none(),
)
PARAMETERS = st.dictionaries(
    st.sampled_from(["sslmode", "application_name", "options", "connect_timeout"]), st.just("require"), max_size=3
)


def test_a_whole_one() -> None:
    assert parse_dsn("postgres://tnt_1:p%40ss%2Fw@gw.example.com:6432/app?sslmode=require&application_name=a%20b") == {
        "scheme": "postgres",
        "host": "gw.example.com",
        "port": 6432,
        "user": "tnt_1",
        "password": "p@ss/w",
        "database": "app",
        "sslmode": "require",
        "parameters": {"sslmode": "require", "application_name": "a b"},
    }


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("postgresql://", {"host": None, "port": 5432, "user": None, "password": None, "database": None}),
        ("postgres://h", {"host": "h", "database": None}),
        ("postgres://h/", {"host": "h", "database": None}),
        ("postgres://u@h/<db-name>?sslmode=require", {"user": "u", "database": "<db-name>"}),
        ("postgres://u:@h/d", {"user": "u", "password": None}),
        ("postgres://u:a:b@h/d", {"password": "a:b"}),
        ("postgres://[::1]:6432/d", {"host": "::1", "port": 6432}),
        ("postgres://[fe80::1%25eth0]/d", {"host": "fe80::1%eth0", "port": 5432}),
        ("postgres://%2Fvar%2Frun/d", {"host": "/var/run"}),
        (
            "postgres:///d?host=/tmp&port=6000&user=u&password=p&dbname=e",
            {"host": "/tmp", "port": 6000, "user": "u", "password": "p", "database": "e"},
        ),
        ("postgres://h/d?options=-c+x", {"parameters": {"options": "-c+x"}}),
    ],
)
def test_parts_that_may_be_missing_or_odd(dsn: str, expected: dict[str, Any]) -> None:
    found = parse_dsn(dsn)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("dsn", "part"),
    [
        ("mysql://u:hunter2@h/d", "must begin with postgres://"),
        ("host=h password=hunter2", "must begin with postgres://"),
        ("postgres://u:hunter2/x@h/d", "percent-encoded"),
        ("postgres://u:pre@hunter2@h/d", "percent-encoded"),
        ("postgres://u:hunter2%@h/d", "two hexadecimal digits"),
        ("postgres://u:hunter2%ff@h/d", "UTF-8"),
        ("postgres://u:hunter2%00@h/d", "null character"),
        ("postgres://u:hunter2@h:99999/d", "between 1 and 65535"),
        ("postgres://u:hunter2@h:/d", None),
        ("postgres://u:hunter2@::1/d", "brackets"),
        ("postgres://u:hunter2@[::1/d", "brackets"),
        ("postgres://u:hunter2@a,b/d", "several hosts"),
        ("postgres://u:hunter2@h/d?sslmode=hunter2", "sslmode must be one of"),
        ("postgres://u@h/d?hunter2", "name=value"),
        ("postgres://hunter2:hunter2x/", "port must be"),
    ],
)
def test_what_is_wrong_is_told_without_the_password(dsn: str, part: str | None) -> None:
    if part is None:
        assert parse_dsn(dsn)["port"] == 5432
        return
    for function in (parse_dsn, redact_dsn):
        with pytest.raises(FunctionFault) as caught:
            function(dsn)
        assert caught.value.argument == 0 and part in caught.value.reason
        assert "hunter2" not in caught.value.reason and "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        (("", 1, None, None, None, None), 0),
        (("[::1]", 1, None, None, None, None), 0),
        (("h", 0, None, None, None, None), 1),
        (("h", 70000, None, None, None, None), 1),
        (("h", None, None, "hunter2", None, None), 2),
        (("h", None, "u", "hunter2\0", None, None), 3),
        (("h", None, "u", "hunter2", "d", {"password": "hunter2"}), 5),
        (("h", None, "u", "hunter2", "d", {"sslmode": "hunter2"}), 5),
        (("h", None, "u", "hunter2", "d", {"": "hunter2"}), 5),
    ],
)
def test_wrong_parts_name_the_argument(arguments: tuple[Any, ...], argument: int) -> None:
    with pytest.raises(FunctionFault) as caught:
        build_dsn(*arguments)
    assert caught.value.argument == argument and "hunter2" not in caught.value.reason


@settings(max_examples=examples(200), deadline=None, derandomize=True, database=None)
@given(HOSTS, st.none() | st.integers(1, 65535), TEXT, st.none() | TEXT, st.none() | TEXT, PARAMETERS)
def test_libpq_reads_what_we_build_and_so_do_we(
    host: str | None,
    port: int | None,
    user: str,
    password: str | None,
    database: str | None,
    parameters: dict[str, str],
) -> None:
    dsn = build_dsn(host or "h", port, user, password, database, parameters)
    theirs = conninfo_to_dict(dsn)
    ours = parse_dsn(dsn)
    names = {"host": "host", "user": "user", "password": "password", "database": "dbname"}
    assert {ours_name: theirs.get(name) for ours_name, name in names.items()} == {name: ours[name] for name in names}
    assert (ours["host"], ours["user"], ours["password"], ours["database"]) == (host or "h", user, password, database)
    assert ours["port"] == (port or 5432) and ours["parameters"] == parameters
    assert {name: theirs[name] for name in parameters} == parameters


@settings(max_examples=examples(200), deadline=None, derandomize=True, database=None)
@given(TEXT, TEXT)
def test_a_redacted_one_differs_in_the_password_only(user: str, password: str) -> None:
    dsn = build_dsn("::1", 6432, user, password, "app", {"sslmode": "require"})
    redacted = redact_dsn(dsn)
    assert parse_dsn(redacted) == parse_dsn(dsn) | {"password": "***"}
    assert redact_dsn(redacted) == redacted


def test_redaction_leaves_the_rest_as_written_and_finds_every_password() -> None:
    assert redact_dsn("postgresql://u@h/d") == "postgresql://u@h/d"
    assert redact_dsn("postgres://u%2e:hunter2@H:5432/d?x=%61") == "postgres://u%2e:***@H:5432/d?x=%61"
    found = redact_dsn("postgres://h/d?password=hunter2&pass%77ord=hunter2&sslpassword=hunter2&a=b")
    assert "hunter2" not in found and found.endswith("&a=b") and found.count("***") == 3


@pytest.mark.parametrize(
    "name",
    [
        "password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key", "access_token",
        "Api_Key", "scram%5Fclient_key", "PASSWD",
    ],
)  # fmt: skip
def test_redaction_knows_every_secret_parameter(name: str) -> None:
    assert redact_dsn(f"postgres://h/d?a=b&{name}=hunter2&c=d") == f"postgres://h/d?a=b&{name}=***&c=d"


@pytest.mark.parametrize("name", ["sslkey", "sslkeylogfile", "passfile", "application_name", "keepalives"])
def test_redaction_leaves_what_is_no_secret(name: str) -> None:
    dsn = f"postgres://h/d?{name}=%2Ftmp%2Fclient.key&"
    assert redact_dsn(dsn) == dsn


@pytest.mark.parametrize(
    "dsn",
    [
        "postgres://h/d?ssl=true", "postgres://h/d?%73sl=true", "postgres://h/d?sslmode=disable&ssl=true",
        "postgres://h/d?ssl=true&sslmode=disable", "postgres://h/d?sslmode=require&", "postgres://h:%35432/d",
        "postgres://h:0005432/d", "postgres://h/d?port=%35433", "postgres://u:p@h/a/b", "postgres://h/d%40e",
    ],
)  # fmt: skip
def test_what_libpq_reads_is_read_alike(dsn: str) -> None:
    theirs, ours = conninfo_to_dict(dsn), parse_dsn(dsn)
    assert (ours["host"], ours["database"], ours["sslmode"]) == (
        theirs["host"],
        theirs["dbname"],
        theirs.get("sslmode"),
    )
    assert ours["port"] == int(theirs.get("port") or 5432)
    assert ours["parameters"] == {name: theirs[name] for name in ("sslmode",) if name in theirs}


@pytest.mark.parametrize("dsn", ["postgres://h/d?&", "postgres://h/d?&a=b", "postgres://h/d?a=b&&", "postgres://h/d?a"])
def test_what_libpq_refuses_is_refused(dsn: str) -> None:
    with pytest.raises(ProgrammingError):
        conninfo_to_dict(dsn)
    with pytest.raises(FunctionFault, match="name=value"):
        parse_dsn(dsn)


@pytest.mark.parametrize("dsn", ["postgres://u:123/hunter2@h/d", "postgres://u:p@ss/hunter2@h/d", "postgres://h/a@b"])
def test_what_may_be_half_a_password_is_refused_though_libpq_takes_it_for_a_database(dsn: str) -> None:
    assert "@" in str(conninfo_to_dict(dsn)["dbname"])
    for function in (parse_dsn, redact_dsn):
        with pytest.raises(FunctionFault, match="percent-encoded") as caught:
            function(dsn)
        assert "hunter2" not in caught.value.reason


@pytest.mark.parametrize("digits", ["9" * 5000, "65536", "0", "-1", "٣"])
def test_a_port_is_a_port_however_long(digits: str) -> None:
    with pytest.raises(FunctionFault, match="between 1 and 65535"):
        parse_dsn(f"postgres://h:{digits}/d")
    with pytest.raises(FunctionFault, match="between 1 and 65535"):
        parse_dsn(f"postgres://h/d?port={digits}")


def test_a_port_is_a_port_in_what_is_built_too() -> None:
    with pytest.raises(FunctionFault, match="between 1 and 65535") as caught:
        build_dsn("h", 10**5000, None, None, None, None)
    assert caught.value.argument == 1


def test_what_the_package_offers_is_what_is_here() -> None:
    import spg99.dsn

    found = {function.name: function for function in PACKAGE.functions}
    assert set(found) == {"parse_dsn", "build_dsn", "redact_dsn"}
    for name, function in found.items():
        assert function.call == f"spg99.dsn:{name}" and callable(getattr(spg99.dsn, name))
    declared = {field.name for field in found["parse_dsn"].returns.fields}
    assert declared == set(parse_dsn("postgres://h/d"))
