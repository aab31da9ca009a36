"""Statements on their way to the catalogue and back: any number in one round trip, each prepared once it is used again and again.

Here: parameters to bytes, one write, one wait, rows from the answer. It stands on the driver's libpq and its conversions and goes
around its cursors: they are made for one statement, and in a pipeline each of them wakes the loop on its own. Not here:
transactions (transaction.py), SQL (each domain's queries.sql).
"""

from __future__ import annotations

import dataclasses
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Final, TypeVar, cast

from psycopg import AsyncConnection, abc, pq
from psycopg.abc import PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.generators import fetch_many, send
from psycopg.pq.abc import PGresult
from psycopg.types.json import Jsonb

Row = TypeVar("Row")

PREPARED_AFTER: Final = 5
"""A statement is prepared when a connection runs it for this time: what runs once or twice is not worth a plan that is kept."""
PREPARED_MAX: Final = 150
"""Statements that a connection keeps prepared; the one that was used longest ago makes room."""
_PARAMETER = re.compile(r"%\((\w+)\)s")


@cache
def numbered(text: str) -> tuple[bytes, tuple[str, ...]]:
    """SQL as PostgreSQL takes it, `$1` in the place of `%(name)s`, and the names in the order of the numbers."""
    names = tuple(dict.fromkeys(_PARAMETER.findall(text)))
    return _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", text).encode(), names


class Connection(AsyncConnection[Any]):
    """A connection that knows what it has prepared."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.transformer: abc.Transformer = Transformer(self)
        self.prepared: OrderedDict[_Key, bytes] = OrderedDict()
        self.uses: dict[_Key, int] = {}
        self._names = 0

    def new_name(self) -> bytes:
        """A name that no statement of this connection has had."""
        self._names += 1
        return b"spg99_%d" % self._names


class Statement:
    """One statement; its answer is there once it was run."""

    __slots__ = ("_names", "_sql", "_values", "result")

    def __init__(self, text: str, values: Mapping[str, Any]) -> None:
        self._sql, self._names = numbered(text)
        self._values = values
        self.result: PGresult | None = None

    def bound(self, transformer: abc.Transformer) -> _Bound:
        """The statement with its parameters as bytes."""
        names = self._names
        if not names:
            return _Bound(self, (self._sql, ()), None, None)
        values = [Jsonb(value) if isinstance(value := self._values[name], dict) else value for name in names]
        parameters = transformer.dump_sequence(values, [PyFormat.AUTO] * len(names))
        return _Bound(self, (self._sql, transformer.types or ()), parameters, transformer.formats)

    @property
    def is_answered(self) -> bool:
        """Whether it was run."""
        return self.result is not None

    def rows(self, connection: Connection, kind: type[Row]) -> list[Row]:
        """The rows of the answer, each a `kind`."""
        result = self._answered()
        names = tuple(result.fname(index) or b"" for index in range(result.nfields))
        connection.transformer.set_pgresult(result)
        return cast("list[Row]", connection.transformer.load_rows(0, result.ntuples, _maker(cast(Any, kind), names)))

    def value(self, connection: Connection) -> Any:
        """The first column of the first row, or None."""
        result = self._answered()
        if not result.ntuples:
            return None
        connection.transformer.set_pgresult(result)
        row = connection.transformer.load_row(0, tuple)
        return row[0] if row else None

    def touched(self) -> int:
        """How many rows it has touched."""
        return self._answered().command_tuples or 0

    def _answered(self) -> PGresult:
        assert self.result is not None, (
            "it travels with the next statement that somebody waits for, and is not back yet"
        )
        return self.result


async def run(connection: Connection, statements: Sequence[Statement]) -> None:
    """Runs them in order, in one round trip. Where one fails, those behind it do not run, and its error is raised."""
    bound = [statement.bound(connection.transformer) for statement in statements]
    async with connection.lock:
        await connection.wait(_round_trip(connection, bound))


_Key = tuple[bytes, tuple[int, ...]]
"""The text of a statement and the types of its parameters."""


@dataclasses.dataclass(slots=True)
class _Bound:
    statement: Statement
    key: _Key
    parameters: Sequence[Any] | None
    formats: Sequence[pq.Format] | None


def _round_trip(connection: Connection, bound: Sequence[_Bound]) -> PQGen[None]:
    """Ends, however it ends, with a connection that is not in the middle of anything, or is closed."""
    pgconn = connection.pgconn
    pgconn.enter_pipeline_mode()
    try:
        takers: list[Callable[[PGresult], None]] = []
        for one in bound:
            takers += _sent(connection, one)
        pgconn.pipeline_sync()
        yield from send(pgconn)
        results = []
        for _ in takers:
            results += yield from fetch_many(pgconn)
        yield from fetch_many(pgconn)
    finally:
        if pgconn.status != pq.ConnStatus.BAD:
            pgconn.exit_pipeline_mode()
    failed = None
    for take, result in zip(takers, results, strict=True):
        if result.status in _WELL:
            take(result)
        else:
            failed = failed or result  # those behind it were not run, which is no error of theirs
    if failed is not None:
        for one in bound:
            connection.prepared.pop(one.key, None)  # what fails may be its plan: the tables may be others by now
        raise error_from_result(failed, encoding=connection.info.encoding)


_WELL: Final = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


def _sent(connection: Connection, one: _Bound) -> list[Callable[[PGresult], None]]:
    """Puts a statement on its way; answers who takes each of the results that will come."""
    pgconn, prepared, takers = connection.pgconn, connection.prepared, list[Callable[[PGresult], None]]()
    name = prepared.get(one.key)
    if name is not None:
        prepared.move_to_end(one.key)
    else:
        uses = connection.uses[one.key] = connection.uses.get(one.key, 0) + 1
        if uses >= PREPARED_AFTER:
            if len(prepared) >= PREPARED_MAX:
                _, oldest = prepared.popitem(last=False)
                pgconn.send_query_params(b"deallocate " + oldest, None)
                takers.append(_nobody)
            name = connection.new_name()
            pgconn.send_prepare(name, one.key[0], param_types=one.key[1])
            takers.append(partial(_keep, prepared, one.key, name))
    if name is not None:
        pgconn.send_query_prepared(name, one.parameters, param_formats=one.formats)
    else:
        pgconn.send_query_params(one.key[0], one.parameters, param_types=one.key[1], param_formats=one.formats)
    return [*takers, partial(_answer, one.statement)]


def _nobody(_: PGresult) -> None:
    pass


def _keep(prepared: OrderedDict[_Key, bytes], key: _Key, name: bytes, _: PGresult) -> None:
    prepared[key] = name


def _answer(statement: Statement, result: PGresult) -> None:
    statement.result = result


@cache
def _maker(kind: type[Row], columns: tuple[bytes, ...]) -> Callable[[Sequence[Any]], Row]:
    """Makes a `kind` of the values of these columns; columns that this version does not know are left out, so old code runs on a
    newer schema. A row has dozens of fields and a page hundreds of rows, so the fields are put into the instance at once: a
    frozen dataclass would set one after the other."""
    fields = {field.name: field for field in dataclasses.fields(cast(Any, kind))}
    kept = [(index, name) for index, name in enumerate(column.decode() for column in columns) if name in fields]
    names = [name for _, name in kept]
    missing = [name for name in fields.keys() - set(names) if fields[name].default is dataclasses.MISSING]
    if missing:
        raise TypeError(
            f"{kind.__name__} needs the columns {', '.join(sorted(missing))}, which the query does not answer"
        )
    indexes = None if len(kept) == len(columns) else [index for index, _ in kept]

    def make(values: Sequence[Any]) -> Row:
        row = object.__new__(kind)
        row.__dict__.update(
            zip(names, values if indexes is None else [values[index] for index in indexes], strict=True)
        )
        return row

    return make
