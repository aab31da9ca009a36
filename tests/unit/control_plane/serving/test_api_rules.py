"""Rules of the API that need no database: rates, cursors, ETags, filters of events, DSNs, secrets, policies."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from spg99.control_plane.records import policies
from spg99.control_plane.records.outbox import Event
from spg99.control_plane.records.policies import Definition
from spg99.control_plane.records.secret_box import SecretBox, secret_box
from spg99.control_plane.serving import pages, preconditions
from spg99.control_plane.serving.events import Filter
from spg99.control_plane.serving.rates import Bucket
from spg99.control_plane.store.window import end_of_prefix
from spg99.control_plane.tenants.passwords import dsn
from spg99.errors import BadRequest, Internal, PreconditionFailed


def test_a_bucket_gives_a_minute_at_once_and_then_evenly() -> None:
    bucket = Bucket(60, now=0.0)
    assert [bucket.take(60, 0.0) for _ in range(60)] == [None] * 60
    assert bucket.take(60, 0.0) == 1
    assert bucket.take(60, 0.5) == 1
    assert bucket.take(60, 1.0) is None
    assert bucket.take(60, 1.0) == 1
    assert [bucket.take(60, 1000.0) for _ in range(61)] == [None] * 60 + [1]


def test_a_slow_bucket_says_how_long_to_wait() -> None:
    bucket = Bucket(1, now=0.0)
    assert bucket.take(1, 0.0) is None
    assert bucket.take(1, 0.0) == 60
    assert bucket.take(1, 45.0) == 15
    assert bucket.take(1, 60.0) is None


def test_a_raised_rate_helps_at_once() -> None:
    bucket = Bucket(1, now=0.0)
    assert bucket.take(1, 0.0) is None
    assert bucket.take(100, 0.0) is None


def test_a_cursor_goes_on_only_in_its_list() -> None:
    cursor = pages.encode("list-a", "app", "db_1")
    assert pages.decode(cursor, "list-a") == ("app", "db_1")
    with pytest.raises(BadRequest, match="cursor"):
        pages.decode(cursor, "list-b")


@pytest.mark.parametrize(
    "cursor", ["", "x", "%%%", "äöü", "bnVsbA", "W10", base64.b64encode(b'["a", 1, 2]').decode(), "A" * 999]
)
def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(BadRequest):
        pages.decode(cursor, "a")


def test_if_match() -> None:
    current = preconditions.etag("db_1", 3)
    for header in (None, "*", current, f'"x", {current}'):
        preconditions.check(header, current)
    for header in ("", "x" * 201):
        with pytest.raises(BadRequest):
            preconditions.check(header, current)
    for header in ('"db_1.2"', '"db_2.3"', f"W/{current}", "db_1.3"):
        with pytest.raises(PreconditionFailed):
            preconditions.check(header, current)


def _event(event_type: str = "database.ready", org_id: str = "org_a", tenant_id: str = "ten_a") -> Event:
    return Event(1, "evt_1", event_type, "db_1", org_id, tenant_id, {})


def test_a_stream_shows_only_what_its_key_may_see() -> None:
    everything = Filter("org_a", None, frozenset())
    assert everything.shows(_event())
    assert not everything.shows(_event(org_id="org_b"))
    one_tenant = Filter("org_a", "ten_a", frozenset())
    assert one_tenant.shows(_event())
    assert not one_tenant.shows(_event(tenant_id="ten_b"))
    by_type = Filter("org_a", None, frozenset({"database.*", "tenant.created"}))
    assert by_type.shows(_event())
    assert by_type.shows(_event("tenant.created"))
    assert not by_type.shows(_event("tenant.deleted"))


def test_a_dsn_is_encoded_and_comes_back_whole() -> None:
    text = dsn(host="db.example", port=6543, pg_user="tnt_a", password="p/w:@ %#?ä", database="a$b")
    parts = urlsplit(text)
    assert unquote(parts.password or "") == "p/w:@ %#?ä"
    assert unquote(parts.path) == "/a$b"
    assert (parts.username, parts.hostname, parts.port, parts.query) == ("tnt_a", "db.example", 6543, "sslmode=require")


def test_a_dsn_without_password_or_database() -> None:
    assert (
        dsn(host="::1", port=5432, pg_user="u", password=None, database=None)
        == "postgres://u@[::1]:5432/<db-name>?sslmode=require"
    )


def test_a_secret_opens_only_with_its_key_and_its_row() -> None:
    box = SecretBox(os.urandom(32))
    sealed = box.encrypt(b"hunter2", "ten_1")
    assert b"hunter2" not in sealed
    assert box.decrypt(sealed, "ten_1") == b"hunter2"
    assert box.encrypt(b"hunter2", "ten_1") != sealed
    for other, row, text in (
        (box, "ten_2", sealed),
        (SecretBox(os.urandom(32)), "ten_1", sealed),
        (box, "ten_1", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (box, "ten_1", b""),
    ):
        with pytest.raises(Internal, match="SPG99_SECRET_KEY_FILE"):
            other.decrypt(text, row)


def test_the_key_file_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "catalogue.key"
    sealed = secret_box(path).encrypt(b"x", "a")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret_box(path).decrypt(sealed, "a") == b"x"
    assert [p.name for p in path.parent.iterdir()] == ["catalogue.key"]


@pytest.mark.parametrize("text", ["", "abc", "!!!!", base64.b64encode(b"short").decode()])
def test_a_damaged_key_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "catalogue.key"
    path.write_text(text)
    with pytest.raises(BadRequest, match=r"catalogue\.key"):
        secret_box(path)


INTEGER = Definition("k", "integer", 1, 0, 10, None, "")


@pytest.mark.parametrize("value", [-1, 11, "5", True, 1.5])
def test_a_policy_outside_its_bounds_is_refused(value: int) -> None:
    with pytest.raises(BadRequest, match="k"):
        policies.check(INTEGER, value)


def test_a_policy_within_its_bounds_is_taken() -> None:
    policies.check(INTEGER, 0)
    policies.check(INTEGER, 10)
    policies.check(Definition("b", "boolean", True, None, None, None, ""), False)
    policies.check(Definition("t", "text", "a", None, None, ["a", "b"], ""), "b")
    with pytest.raises(BadRequest):
        policies.check(Definition("t", "text", "a", None, None, ["a", "b"], ""), "c")
    with pytest.raises(BadRequest):
        policies.check(Definition("b", "boolean", True, None, None, None, ""), 1)


@pytest.mark.parametrize("prefix", ["a", "Z", "_", "$", "ab9", "z"])
def test_the_end_of_a_prefix_is_after_everything_that_begins_so(prefix: str) -> None:
    end = end_of_prefix(prefix)
    assert end is not None
    assert prefix < end
    assert prefix + "z" * 63 < end
    assert not end.startswith(prefix)
