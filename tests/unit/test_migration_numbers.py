"""Migrations have numbers without gap or repeat. Here, among the rules about all files: two rooms that land at the same time may take the same one."""

from __future__ import annotations

from spg99.control_plane.store import migrate


def test_no_two_migrations_have_one_number() -> None:
    found = migrate.known()
    assert [step.version for step in found] == list(range(1, len(found) + 1))
