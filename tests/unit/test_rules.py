"""Rules across fields of a database: where a branch begins, to which moment a restore goes."""

from __future__ import annotations

from typing import Any

import pytest

from spg99.rules import restore_has_a_moment, schema_is_of_a_source, source_is_one_point

EMPTY: dict[str, Any] = dict.fromkeys(
    ("source_database", "source_time", "source_lsn", "source_snapshot", "restore_trigger", "restore_to")
)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, None),
        ({"source_database": "app"}, None),
        ({"source_database": "app", "source_lsn": "0/1"}, None),
        ({"source_database": "app", "source_time": "2026-01-01T00:00:00Z"}, None),
        ({"source_lsn": "0/1"}, "source_lsn"),
        ({"source_time": "2026-01-01T00:00:00Z"}, "source_time"),
        ({"source_database": "app", "source_lsn": "0/1", "source_time": "2026-01-01T00:00:00Z"}, "source_lsn"),
        ({"source_database": "me"}, "source_database"),
        ({"source_snapshot": "s"}, None),
        ({"source_snapshot": "s", "source_database": "app"}, "source_snapshot"),
        ({"source_snapshot": "s", "source_lsn": "0/1"}, "source_snapshot"),
    ],
)
def test_a_branch_begins_in_another_database_at_one_point(values: dict[str, Any], field: str | None) -> None:
    said = source_is_one_point(EMPTY | {"name": "me"} | values)
    assert (said or "").partition(":")[0] == (field or "")


@pytest.mark.parametrize(
    ("values", "is_right"),
    [
        ({"schema_only": False}, True),
        ({"schema_only": True}, False),
        ({"schema_only": True, "source_database": "app"}, True),
        ({"schema_only": True, "source_snapshot": "s"}, True),
    ],
)
def test_only_a_branch_has_a_schema_to_begin_with(values: dict[str, Any], is_right: bool) -> None:
    said = schema_is_of_a_source(EMPTY | values)
    assert (said is None) == is_right and (said or "schema_only: ").startswith("schema_only: ")


@pytest.mark.parametrize(
    ("values", "is_right"),
    [
        ({}, True),
        ({"restore_trigger": "1", "restore_to": "2026-11-26T10:00:00Z"}, True),
        ({"restore_trigger": "1", "restore_to": "2026-11-26 10:00:00+02:00"}, True),
        ({"restore_trigger": "1", "restore_to": "16/B374D848"}, True),
        ({"restore_to": "0/1"}, True),
        ({"restore_trigger": "1"}, False),
        ({"restore_trigger": "1", "restore_to": "2026-11-26T10:00:00"}, False),
        ({"restore_trigger": "1", "restore_to": "before_upgrade"}, True),
        ({"restore_trigger": "1", "restore_to": "the day before"}, False),
        ({"restore_to": "16/B374D848/1"}, False),
    ],
)
def test_a_restore_goes_to_a_time_with_its_zone_or_a_place(values: dict[str, Any], is_right: bool) -> None:
    said = restore_has_a_moment(EMPTY | values)
    assert (said is None) == is_right and (said or "restore_to: ").startswith("restore_to: ")
