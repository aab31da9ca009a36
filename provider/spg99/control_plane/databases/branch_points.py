"""Where a branch may begin (pure): what is known of its source decides, or says what has to be asked. Here: the rules and their refusals.

"Now" is all that was acknowledged in the source before the request, whatever clocks say. A source without a compute has a last term: its end. One that runs is
asked for a place in its WAL behind everything acknowledged by then. One that is being started has let nobody in yet: the end of the term before.

Not here: asking (branching.py), what a node does with it (node/branching.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from spg99.errors import BadRequest, Conflict
from spg99.protocol.tasks import Origin, Point
from spg99.resources import DatabaseState as State
from spg99.wal.lsn import format_lsn, parse_lsn

NO_HISTORY = (
    "'{name}' has no safekeepers, so its history is kept nowhere and nothing can begin in it. A database has some when the policy "
    "storage.safekeepers (spg99 dev --safekeeper) is set before it is made."
)
NO_ARCHIVE = (
    "there is no pageserver, so history is kept only until the next image, and '{name}' might be gone from there before somebody begins in it. Start one "
    "(spg99 pageserver; spg99 dev --safekeeper runs one)"
)


@dataclass(frozen=True)
class Source:
    """What a branch is to begin in."""

    db_id: str
    name: str
    name_in_files: str
    state: State
    timeline_id: str
    was_started: bool
    is_kept: bool
    """It has safekeepers, or will have some at its first start."""
    is_archived: bool
    """A pageserver keeps what is pinned; without one each image lets go of the WAL before it."""
    has_writer: bool
    writer_term: int
    begins_in: Origin | None = None
    """Of a branch: where it begins itself."""


@dataclass(frozen=True)
class Wanted:
    """The point that was asked for; neither: now."""

    time: datetime | None = None
    lsn: int | None = None
    time_field: str = "source_time"
    lsn_field: str = "source_lsn"
    source_field: str = "source_database"
    """What the request calls them, for its errors."""

    @classmethod
    def of(cls, time: datetime | None, lsn: str | None) -> Wanted:
        """From a branch's fields."""
        return cls(time, parse_lsn(lsn) if lsn is not None else None)

    @classmethod
    def to_restore(cls, time: datetime | None, lsn: str | None) -> Wanted:
        """From a request to go back."""
        field = "time" if time is not None else "lsn"
        return cls(time, parse_lsn(lsn) if lsn is not None else None, "time", "lsn", field)

    @classmethod
    def parsed(cls, text: str) -> Wanted:
        """From the text of `restore_to`, which is right (rules.py)."""
        fields = ("restore_to",) * 3
        return cls(None, parse_lsn(text), *fields) if "/" in text else cls(datetime.fromisoformat(text), None, *fields)


@dataclass(frozen=True)
class Ask:
    """The node has to be asked where the source's WAL ends (and begins)."""


@dataclass(frozen=True)
class Beginning:
    """Where the branch begins. Without an origin in nothing: its source was never started, and is as empty as a new one."""

    origin: Origin | None

    def without_rows(self) -> Beginning:
        """The same of a branch that has the schema only."""
        if self.origin is None:
            return self
        return Beginning(self.origin.model_copy(update={"schema_only": True}))

    @property
    def lsn(self) -> int | None:
        """The place, if it is known by now."""
        return self.origin.point.lsn if self.origin is not None else None


@dataclass(frozen=True)
class Window:
    """From where to where the source's history is kept."""

    from_lsn: int
    from_time: datetime
    end_lsn: int


def beginning(source: Source, wanted: Wanted, now: datetime) -> Beginning | Ask:
    """Where a branch of this source begins, or that it has to be asked. Raises Conflict, BadRequest."""
    if source.state in (State.DELETING, State.DELETED):
        raise Conflict(f"Database '{source.name}' is being deleted: no branch can begin in it.")
    require_history(source, wanted.source_field)
    if wanted.time is not None and wanted.time > now:
        raise refused(wanted.time_field, f"lies in the future: it is {_text(now)} by the Control Plane's clock")
    if not source.was_started:
        if wanted.time is not None or wanted.lsn is not None:
            field = wanted.time_field if wanted.time is not None else wanted.lsn_field
            raise refused(field, f"'{source.name}' was never started, so it has no history yet")
        return Beginning(source.begins_in)
    if wanted.time is not None or wanted.lsn is not None or source.has_writer:
        return Ask()
    term = source.writer_term - 1 if source.state is State.BOOTING else source.writer_term
    return _at(source, Point(end_of_term=term))


def require_history(source: Source, field: str) -> None:
    """Raises BadRequest where nobody keeps a source's history, or nobody would for long."""
    if not source.is_kept:
        raise refused(field, NO_HISTORY.format(name=source.name))
    if not source.is_archived:
        raise refused(field, NO_ARCHIVE.format(name=source.name))


def last_moment(source: Source) -> Beginning:
    """All that was ever acknowledged in a database of which nothing runs any more."""
    return _at(source, Point(end_of_term=source.writer_term)) if source.was_started else Beginning(source.begins_in)


def located(source: Source, wanted: Wanted, window: Window) -> Beginning:
    """The same, once the source's node has answered. Raises BadRequest that names the window."""
    if wanted.time is not None:
        if wanted.time < window.from_time:
            raise refused(
                wanted.time_field,
                f"is before the history that is kept of '{source.name}', from {_text(window.from_time)} to now",
            )
        return _at(source, Point(time=wanted.time))
    if wanted.lsn is not None:
        if not window.from_lsn <= wanted.lsn <= window.end_lsn:
            raise refused(
                wanted.lsn_field,
                f"is outside of the history that is kept of '{source.name}', from {format_lsn(window.from_lsn)} to "
                f"{format_lsn(window.end_lsn)}",
            )
        return _at(source, Point(lsn=wanted.lsn))
    return _at(source, Point(lsn=window.end_lsn))


def _at(source: Source, point: Point) -> Beginning:
    return Beginning(Origin(timeline_id=source.timeline_id, database_name=source.name_in_files, point=point))


def _text(moment: datetime) -> str:
    return moment.isoformat(" ", "seconds")


def refused(field: str, sentence: str) -> BadRequest:
    """What is wrong with a field of the request."""
    return BadRequest("A field has a value that is not allowed.", fields={field: sentence})
