"""The table of contents of an archive of pg_dump's (custom format): which objects there are, and the SQL that makes each of them.

It is read rather than the SQL of `--format=plain`, because there nothing says where an object ends: a function's text may hold what looks like the next one.
The format is that of pg_backup_archiver.c; versions 1.12 (PostgreSQL 9.0) to 1.16 (18) are read.

Here: bytes to values. Not here: rows, running pg_dump, comparing (schema_differences.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from spg99.errors import BadRequest

ARCHIVE_BEGINS: Final = b"PGDMP"
"""So does every archive of the custom format."""
_CUSTOM: Final = 1
_VERSIONS: Final = range(0x010C, 0x0111)
_HAS_COMPRESSION_NAME: Final = 0x010F
_HAS_ACCESS_METHOD: Final = 0x010E
_HAS_RELKIND: Final = 0x0110
_TIME_INTEGERS: Final = 7


@dataclass(frozen=True)
class Entry:
    """One object, or something that is said of one."""

    kind: str
    """`TABLE`, `INDEX`, `ACL`, `COMMENT`: pg_dump's word for it."""
    schema: str
    """Empty for what stands in none."""
    name: str
    """Unique among those of its kind and schema but for a few (operators)."""
    sql: str
    """What makes it; empty for what has no SQL (rows)."""
    owner: str


def read_contents(archive: bytes) -> list[Entry]:
    """The entries in the order in which they are restored. Raises BadRequest for what is no such archive, or is cut."""
    try:
        return _entries(_Reader(archive))
    except (IndexError, UnicodeDecodeError):
        raise BadRequest("The archive of pg_dump's is damaged: it ends in its table of contents.") from None


def _entries(reader: _Reader) -> list[Entry]:
    if reader.take(len(ARCHIVE_BEGINS)) != ARCHIVE_BEGINS:
        raise BadRequest("That is no archive of pg_dump's custom format.")
    version = reader.byte() << 8 | reader.byte()
    reader.byte()
    reader.integer_bytes = reader.byte()
    offset_bytes, archive_format = reader.byte(), reader.byte()
    if version not in _VERSIONS or archive_format != _CUSTOM:
        raise BadRequest(f"The archive of pg_dump's has format {version >> 8}.{version & 255}, which is not known.")
    if version >= _HAS_COMPRESSION_NAME:
        reader.byte()
    else:
        reader.integer()
    for _ in range(_TIME_INTEGERS):
        reader.integer()
    for _ in ("database", "version of the server", "version of pg_dump"):
        reader.text()
    return [_entry(reader, version, offset_bytes) for _ in range(reader.integer())]


def _entry(reader: _Reader, version: int, offset_bytes: int) -> Entry:
    reader.integer()  # its id
    reader.integer()  # whether it has rows
    reader.text(), reader.text()  # in which catalogue, under which oid
    name, kind = reader.text(), reader.text()
    reader.integer()  # section
    sql = reader.text()
    reader.text(), reader.text()  # DROP, COPY
    schema = reader.text()
    reader.text()  # tablespace
    if version >= _HAS_ACCESS_METHOD:
        reader.text()
    if version >= _HAS_RELKIND:
        reader.integer()
    owner = reader.text()
    reader.text()  # WITH OIDS
    while reader.text_or_none() is not None:
        pass  # what it depends on
    reader.take(1 + offset_bytes)  # where its rows are
    return Entry(kind, schema, name, sql, owner)


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0
        self.integer_bytes = 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if count < 0 or end > len(self._content):
            raise IndexError
        taken = self._content[self._at : end]
        self._at = end
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def integer(self) -> int:
        is_negative = self.byte() != 0
        value = int.from_bytes(self.take(self.integer_bytes), "little")
        return -value if is_negative else value

    def text_or_none(self) -> str | None:
        length = self.integer()
        return None if length < 0 else self.take(length).decode()

    def text(self) -> str:
        return self.text_or_none() or ""
