"""Reading what is in an archive of pg_dump's, and comparing two of them."""

from __future__ import annotations

import pytest

from spg99.errors import BadRequest
from spg99.postgres.archive_contents import Entry, read_contents
from spg99.postgres.schema_differences import OWNER, Schema, differences

LIKE_AN_ENTRY = "select 1\n--\n-- Name: x; Type: TABLE; Schema: public; Owner: acme\n--\n"
ENTRIES = [
    Entry("ENCODING", "", "ENCODING", "SET client_encoding = 'UTF8';\n", ""),
    Entry("FUNCTION", "public", "f()", f"CREATE FUNCTION public.f() AS $${LIKE_AN_ENTRY}$$;\n", "acme"),
    Entry("TABLE", "public", "straße", "CREATE TABLE public.straße (\n    id integer\n);\n", "acme"),
]


def integer(value: int) -> bytes:
    return bytes([value < 0]) + abs(value).to_bytes(4, "little")


def text(value: str | None) -> bytes:
    return integer(-1) if value is None else integer(len(value.encode())) + value.encode()


def archive(entries: list[Entry], *, version: tuple[int, int] = (1, 16), kind: int = 1) -> bytes:
    """As pg_dump writes it."""
    number = version[0] << 8 | version[1]
    head = b"PGDMP" + bytes([*version, 0, 4, 8, kind])
    head += bytes([1]) if number >= 0x010F else integer(-1)
    head += b"".join(map(integer, (1, 2, 3, 4, 11, 126, 0))) + text("app") + text("18.4") + text("18.4")
    body = b""
    for count, one in enumerate(entries):
        body += integer(count + 1) + integer(0) + text("1259") + text("16384") + text(one.name) + text(one.kind)
        body += integer(2) + text(one.sql) + text("DROP x;\n") + text(None) + text(one.schema or None) + text(None)
        body += (text("heap") if number >= 0x010E else b"") + (integer(114) if number >= 0x0110 else b"")
        body += text(one.owner or None) + text("false") + text("7") + text("8") + text(None) + bytes([3]) + bytes(8)
    return head + integer(len(entries)) + body


@pytest.mark.parametrize("version", [(1, 12), (1, 14), (1, 15), (1, 16)])
def test_contents_are_read_whatever_stands_in_them(version: tuple[int, int]) -> None:
    assert read_contents(archive(ENTRIES, version=version) + b"rows") == ENTRIES


def test_what_is_no_archive_or_is_cut_is_refused() -> None:
    whole = archive(ENTRIES)
    for length in range(len(whole)):
        with pytest.raises(BadRequest):
            read_contents(whole[:length])
    for other in (archive(ENTRIES, version=(1, 17)), archive(ENTRIES, kind=3), b"CREATE TABLE x ();"):
        with pytest.raises(BadRequest):
            read_contents(other)


def schema(*entries: tuple[str, str, str, str], user: str = "acme", owner: str | None = None) -> Schema:
    return Schema.of((Entry(*entry, owner or user) for entry in entries), user=user)


TABLE = ("TABLE", "public", "t", "CREATE TABLE public.t (id integer);\n")
INDEX = ("INDEX", "public", "t_id", "CREATE INDEX t_id ON public.t (id);\n")


def test_each_object_is_compared_by_itself() -> None:
    other = ("TABLE", "public", "t", "CREATE TABLE public.t (id bigint);\n")
    found = differences(schema(TABLE, INDEX), schema(other, ("VIEW", "public", "v", "CREATE VIEW public.v;\n")))
    assert [(str(one.object), one.kind) for one in found] == [
        ("INDEX public.t_id", "removed"),
        ("TABLE public.t", "changed"),
        ("VIEW public.v", "added"),
    ]
    assert (found[1].before, found[1].after) == (TABLE[3].strip(), other[3].strip())


def test_order_and_the_name_of_the_database_are_no_difference() -> None:
    of_database = ("COMMENT", "", "DATABASE app", "COMMENT ON DATABASE app IS 'x';\n")
    setting = ("DATABASE PROPERTIES", "", "app", "ALTER DATABASE app SET work_mem TO '1MB';\n")
    assert differences(schema(TABLE, INDEX), schema(of_database, setting, INDEX, TABLE)) == []


def test_objects_that_share_a_name_are_all_compared() -> None:
    one, two = (("OPERATOR", "public", "===", f"CREATE OPERATOR {kind};\n") for kind in ("int", "text"))
    assert differences(schema(one, two), schema(two, one)) == []
    (found,) = differences(schema(one, two), schema(one))
    assert found.kind == "changed"


def test_the_tenants_own_user_is_no_difference_and_another_role_is() -> None:
    def all_of(user: str, role: str) -> Schema:
        return schema(
            ("ACL", "public", "TABLE t", f"REVOKE ALL ON TABLE public.t FROM {role};\nGRANT SELECT TO {role};\n"),
            ("DEFAULT ACL", "", "TABLES", f"ALTER DEFAULT PRIVILEGES FOR ROLE {role} GRANT SELECT TO PUBLIC;\n"),
            ("POLICY", "public", "t p", f"CREATE POLICY p ON public.t TO {role} USING (true);\n"),
            user=user,
        )

    assert differences(all_of("acme", "acme"), all_of("a-b", '"a-b"')) == []
    assert OWNER in next(iter(all_of("acme", "acme").objects.values()))
    assert len(differences(all_of("acme", "acme"), all_of("acme", "acme2"))) == 3
    assert len(differences(schema(TABLE), schema(TABLE, owner="pg_database_owner"))) == 1


def test_passwords_are_compared_and_not_shown() -> None:
    def server(password: str) -> Schema:
        return schema(("USER MAPPING", "", "m", f"CREATE USER MAPPING OPTIONS (password '{password}');\n"))

    (found,) = differences(server("it''s one"), server("two"))
    assert found.before == found.after == "CREATE USER MAPPING OPTIONS (password '[secret]');"
