"""Rules of a declaration that look at several fields, as pure functions over JSON values. Not here: rules of one field (its type's bounds).

A rule takes the values that are known, defaults filled in, and answers None or `field: sentence`. It raises KeyError for a
field that is not known yet: then it is asked again later. Only cheap modules may be imported: bridges load this file at start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from spg99 import cron
from spg99.patterns import LSN_PATTERN, NAME_PATTERN
from spg99.saslprep import saslprepped

Rule = Callable[[Mapping[str, Any]], str | None]

RESERVED_DATABASE_NAMES = frozenset({"template0", "template1", "spg99_blank"})
"""PostgreSQL, and the template that timelines are copied from, keep these for themselves in every cluster."""


def database_name_is_free(values: Mapping[str, Any]) -> str | None:
    """A database cannot take a name that every cluster has already."""
    name = values["name"]
    return f"name: '{name}' is reserved by PostgreSQL or by us" if name in RESERVED_DATABASE_NAMES else None


def sizes_in_order(values: Mapping[str, Any]) -> str | None:
    """The size lies within the autoscaler's bounds; a bound that is not set equals the size."""
    size = values["size"]
    low, high = values["min_size"] or size, values["max_size"] or size
    if low <= size <= high:
        return None
    return f"size: must lie between min_size ({low}) and max_size ({high})"


def source_is_one_point(values: Mapping[str, Any]) -> str | None:
    """A branch begins in another database, at one point of it at most."""
    source, given = values["source_database"], [name for name in _POINTS if values[name] is not None]
    if values["source_snapshot"] is not None and (given or source is not None):
        return "source_snapshot: is a moment of a database already, and stands without the other fields of a source"
    if len(given) > 1:
        return f"{given[1]}: a branch begins at one point, and {given[0]} is given too"
    if source is None:
        return f"{given[0]}: is a point of source_database, which is not given" if given else None
    return "source_database: a database cannot begin in itself" if source == values["name"] else None


def schema_is_of_a_source(values: Mapping[str, Any]) -> str | None:
    """Only a branch has a schema to begin with."""
    if not values["schema_only"] or values["source_database"] is not None or values["source_snapshot"] is not None:
        return None
    return "schema_only: is of a branch, and neither source_database nor source_snapshot is given"


def restore_has_a_moment(values: Mapping[str, Any]) -> str | None:
    """A trigger says when to go back, `restore_to` where to: a time with its zone, a place in the WAL, or a snapshot."""
    text = values["restore_to"]
    if text is None:
        is_triggered = values["restore_trigger"] is not None
        return "restore_to: says to which moment, and must be given with restore_trigger" if is_triggered else None
    if any(re.fullmatch(pattern, text) for pattern in (LSN_PATTERN, NAME_PATTERN)) or _is_moment(text):
        return None
    return (
        "restore_to: must be a time with its zone, such as 2026-11-26T10:00:00Z, a place in the WAL, such as 0/1A2B3C8, or the "
        "name of a snapshot"
    )


def snapshot_is_one_moment(values: Mapping[str, Any]) -> str | None:
    """A snapshot keeps one moment."""
    both = values["time"] is not None and values["lsn"] is not None
    return "lsn: a snapshot keeps one moment, and time is given too" if both else None


def cron_is_right(values: Mapping[str, Any]) -> str | None:
    """A schedule is an expression that cron knows."""
    wrong = cron.complaint(values["cron"])
    return f"cron: {wrong}" if wrong is not None else None


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


_POINTS = ("source_time", "source_lsn")


def tenant_fits_scope(values: Mapping[str, Any]) -> str | None:
    """A key of scope `tenant` names its tenant, and no other key does."""
    if (values["scope"] == "tenant") == (values["tenant"] is not None):
        return None
    return "tenant: must be given exactly when scope is 'tenant'"


def password_is_sent_alike(values: Mapping[str, Any]) -> str | None:
    """A password is one that every client sends in the same bytes.

    Clients prepare a password with SASLprep (RFC 5802, 4013) or not at all (node-postgres), and those that do fall back to
    the bare text when it is prohibited, or refuse it. Only a text that SASLprep leaves as it is works with all of them.
    """
    password = values["pg_password"]
    if password is None:
        return None
    prepared = saslprepped(password)
    if prepared is None:
        return (
            "pg_password: has characters that SASLprep (RFC 4013) prohibits (control and private ones, emoji, mixed writing "
            "directions), so that clients send it in different ways"
        )
    if prepared != password:
        return (
            "pg_password: has characters that SASLprep (RFC 4013) changes (soft hyphens, wide or combined forms, spaces other "
            "than the plain one), so that clients send it in different ways: give it in its prepared form (NFKC)"
        )
    return None
