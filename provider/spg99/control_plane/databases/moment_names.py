"""Names of moments, as clients write them in place of a database's name (pure): `app@2026-11-26T10:00:00Z`, `app@0/3A5B1C8`, `app@before_upgrade` (a snapshot).

No name of a database or a snapshot has an `@`, a `/` or a digit at its beginning, so each of them can be read in one way only.

Here: reading them, and the one form in which two of the same moment are equal. Not here: whether there is such a moment (branch_points.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from spg99.errors import NoSuchMoment
from spg99.patterns import LSN_PATTERN, NAME_PATTERN
from spg99.wal.lsn import format_lsn, parse_lsn

MARK: Final = "@"
_FORMS: Final = "a time with its zone (app@2026-11-26T10:00:00Z), a place in the WAL (app@0/1A2B3C8) or the name of a snapshot (app@before_upgrade)"


@dataclass(frozen=True)
class MomentName:
    """A moment of a database: one of the three is set."""

    database: str
    time: datetime | None = None
    """In UTC."""
    lsn: int | None = None
    snapshot: str | None = None

    @property
    def text(self) -> str:
        """The same for every way to write it."""
        if self.time is not None:
            at = self.time.isoformat().replace("+00:00", "Z")
        else:
            at = format_lsn(self.lsn) if self.lsn is not None else str(self.snapshot)
        return f"{self.database}{MARK}{at}"


def is_moment(database: str) -> bool:
    """Whether a client asks for a moment of a database, and not for a database."""
    return MARK in database


def parse(text: str) -> MomentName | None:
    """What a client asks for; None where what stands before the `@` can be no database's name. Raises NoSuchMoment for what is no moment."""
    database, _, at = text.partition(MARK)
    if not _matches(NAME_PATTERN, database):
        return None
    if _matches(LSN_PATTERN, at):
        return MomentName(database, lsn=parse_lsn(at))
    if _matches(NAME_PATTERN, at):
        return MomentName(database, snapshot=at)
    try:
        time = datetime.fromisoformat(at)
    except ValueError:
        raise NoSuchMoment(f'"{_shown(at)}" is no moment of a database: write {_FORMS}.') from None
    if time.tzinfo is None:
        raise NoSuchMoment(
            f'The time "{_shown(at)}" has no zone, so nobody can tell which moment it is: end it with Z for UTC, or with +02:00.'
        )
    try:
        return MomentName(database, time=time.astimezone(UTC))
    except OverflowError:
        raise NoSuchMoment(f'"{_shown(at)}" is no moment of a database: it lies outside of the calendar.') from None


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text) is not None and "\n" not in text


def _shown(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text[:60])
