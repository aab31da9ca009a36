"""What differs between two schemas, object by object (pure). Here: the comparison of what pg_dump says of both. Not here: reading that (archive_contents.py), how
differences look (commands/diff.py).

The order of objects says nothing and is not compared. Neither is what a database is called and what was set for all of it, and who owns an object, as long as that is
the user whose database it is: databases of two tenants may have the same schema.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from spg99.postgres.archive_contents import Entry

Kind = Literal["added", "removed", "changed"]

_OF_THE_SESSION: Final = frozenset({"ENCODING", "STDSTRINGS", "SEARCHPATH"})
_OF_THE_DATABASE: Final = frozenset({"DATABASE", "DATABASE PROPERTIES"})
_SAID_OF_OTHERS: Final = frozenset({"ACL", "COMMENT", "SECURITY LABEL"})
_NAMES_ROLES: Final = frozenset({"ACL", "DEFAULT ACL", "POLICY"})
_HOLDS_SECRETS: Final = frozenset({"USER MAPPING", "SERVER", "FOREIGN DATA WRAPPER", "SUBSCRIPTION"})
"""Options of these may be passwords."""
_LITERAL: Final = re.compile(r"'(?:[^']|'')*'")
OWNER: Final = "its_owner"
"""Stands for the user whose database it is, where two of them are compared."""


@dataclass(frozen=True, order=True)
class ObjectName:
    """What an object is called; in this order they are shown."""

    schema: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.schema}.{self.name}" if self.schema else f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Difference:
    """One object that is not the same in both."""

    object: ObjectName
    before: str | None
    """Its SQL in the first schema; None: it is not there."""
    after: str | None

    @property
    def kind(self) -> Kind:
        """What has to be done to the first schema to have the second."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"


@dataclass(frozen=True)
class Schema:
    """The objects of one database: the SQL that makes each."""

    objects: Mapping[ObjectName, str]

    @classmethod
    def of(cls, entries: Iterable[Entry], *, user: str) -> Schema:
        """From pg_dump's entries; `user`: whose database it is."""
        found: dict[ObjectName, list[str]] = defaultdict(list)
        for entry in entries:
            if not _is_of_no_object(entry):
                found[ObjectName(entry.schema, entry.kind, entry.name)].append(_text(entry, user))
        # Some share a name (operators of the same sign): all that is called so is one object.
        return cls({name: "\n".join(sorted(texts)) for name, texts in found.items()})


def differences(before: Schema, after: Schema) -> list[Difference]:
    """All objects that are not the same in both, ordered by schema, kind and name. Passwords that a schema may hold are not in them."""
    names = sorted(before.objects.keys() | after.objects.keys())
    return [
        Difference(name, _shown(name, before.objects.get(name)), _shown(name, after.objects.get(name)))
        for name in names
        if before.objects.get(name) != after.objects.get(name)
    ]


def _is_of_no_object(entry: Entry) -> bool:
    if entry.kind in _OF_THE_SESSION | _OF_THE_DATABASE or not entry.sql:
        return True
    return entry.kind in _SAID_OF_OTHERS and entry.name.startswith("DATABASE ")


def _text(entry: Entry, user: str) -> str:
    text = entry.sql.strip()
    if entry.kind in _NAMES_ROLES:
        quoted = re.escape('"' + user.replace('"', '""') + '"')
        text = re.sub(rf"\b(TO|FROM|ROLE|BY) (?:{quoted}|{re.escape(user)}(?![\w$]))", rf"\1 {OWNER}", text)
    return text if entry.owner in ("", user) else f"{text}\n-- Owner: {entry.owner}"


def _shown(name: ObjectName, sql: str | None) -> str | None:
    return _LITERAL.sub("'[secret]'", sql) if sql is not None and name.kind in _HOLDS_SECRETS else sql
