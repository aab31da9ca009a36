"""Transactions on the catalogue, and the only import of the database driver.

Here: one pool, one `async with store.transaction()`, named queries in, typed rows out, notifications. Not here: SQL (each domain's queries.sql).
"""

from __future__ import annotations

import contextlib
import dataclasses
import select
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar, cast

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.abc import Query
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from spg99.control_plane.store.queries import statement
from spg99.errors import Unavailable

SERVICE_ROLE = "spg99_service"
NOTICE_A_CUT_NETWORK: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""libpq's settings for a catalogue on another machine: a network cut without a word is an error after 15 s, not an hour."""

Row = TypeVar("Row")


class UniqueViolation(Exception):
    """Another row has the same key; `constraint` names the index."""

    def __init__(self, constraint: str) -> None:
        self.constraint = constraint
        super().__init__(constraint)


class ReferenceViolation(Exception):
    """A row it refers to is not there, or rows still refer to it."""


class RuleViolation(Exception):
    """A check, a trigger or a grant of the catalogue refused the change: a programmer's error, or bad policy input."""


def _row_factory(kind: type[Row]) -> Callable[[AsyncCursor[Any]], Callable[[Sequence[Any]], Row]]:
    """Rows as dataclasses; columns that this version does not know are left out, so old code runs on a newer schema."""

    def factory(cursor: AsyncCursor[Any]) -> Callable[[Sequence[Any]], Row]:
        found = cursor.pgresult  # its names are bytes; `cursor.description` would make an object of every column
        names = () if found is None else tuple(found.fname(index) or b"" for index in range(found.nfields))
        return cast("Callable[[Sequence[Any]], Row]", _maker(cast(Any, kind), names))

    return factory


@cache
def _maker(kind: type[Row], columns: tuple[bytes, ...]) -> Callable[[Sequence[Any]], Row]:
    """Makes a `kind` of the values of these columns. A row has dozens of fields and a page hundreds of rows, so the fields are
    put into the instance at once: a frozen dataclass would set one after the other."""
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


class Deferred:
    """The answer to a statement that travels with the next one: what it was is known once that has been answered."""

    def __init__(self, cursor: AsyncCursor[Any]) -> None:
        self._cursor = cursor

    async def value(self) -> Any:
        """The first column of its first row, or None."""
        row = await self._cursor.fetchone()
        return None if row is None else row[0]


class Transaction:
    """One transaction: all of it or none of it. Made by `Store.transaction`.

    What nobody waits for, the begin and the writes that are deferred, travels with the next statement that somebody does
    wait for, or with the commit (libpq's pipeline): a round trip costs more than most statements.
    """

    def __init__(self, connection: AsyncConnection[Any], *, begins: bool = True) -> None:
        self._connection = connection
        self._queued: list[_Statement] = [(connection.cursor(), b"begin", None)] if begins else []
        self._has_begun = False
        self.notices: dict[tuple[str, str], None] = {}
        self._after_commit: list[Callable[[], None]] = []

    async def many(self, kind: type[Row], query: str, /, **values: Any) -> list[Row]:
        """All rows of the named query, each a `kind` (a dataclass)."""
        async with self._connection.cursor(row_factory=cast(Any, _row_factory(kind))) as cursor:
            await self._run(cursor, query, values)
            return cast(list[Row], await cursor.fetchall())

    async def one_or_none(self, kind: type[Row], query: str, /, **values: Any) -> Row | None:
        """The first row of the named query, or None."""
        async with self._connection.cursor(row_factory=cast(Any, _row_factory(kind))) as cursor:
            await self._run(cursor, query, values)
            return cast("Row | None", await cursor.fetchone())

    async def one(self, kind: type[Row], query: str, /, **values: Any) -> Row:
        """The row of the named query. A missing row is a programmer's error (LookupError)."""
        row = await self.one_or_none(kind, query, **values)
        if row is None:
            raise LookupError(f"query {query} gave no row")
        return row

    async def value(self, query: str, /, **values: Any) -> Any:
        """The first column of the first row of the named query, or None."""
        async with self._connection.cursor() as cursor:
            await self._run(cursor, query, values)
            row = await cursor.fetchone()
            return None if row is None else row[0]

    async def execute(self, query: str, /, **values: Any) -> int:
        """Runs the named query; answers the number of rows it touched."""
        async with self._connection.cursor() as cursor:
            await self._run(cursor, query, values)
            return cursor.rowcount

    async def defer(self, query: str, /, **values: Any) -> Deferred:
        """Queues the named query. It runs in its place, before the next one; should it fail, that one, or the commit, raises why."""
        cursor = self._connection.cursor()
        self._queued.append(_bound(cursor, query, values))
        return Deferred(cursor)

    async def notify(self, channel: str, payload: str = "") -> None:
        """Wakes listeners of `channel` when this transaction commits."""
        self.notices[channel, payload] = None

    def after_commit(self, call: Callable[[], None]) -> None:
        """Calls this once the transaction is committed for certain; never when it is not, or nobody can tell."""
        self._after_commit.append(call)

    def committed(self) -> None:
        """It is. For `Store.transaction` alone."""
        for call in self._after_commit:
            call()

    async def commit(self) -> None:
        """Runs what is still queued, hands all notices to the catalogue, each once, and commits. For `Store.transaction` alone."""
        if self.notices:
            channels, payloads = zip(*self.notices, strict=True)
            self._queued.append((self._connection.cursor(), _NOTIFY, (list(channels), list(payloads))))
        if self._has_begun or len(self._queued) > 1:
            self._queued.append((self._connection.cursor(), b"commit", None))
            await self._flush()

    async def roll_back(self) -> None:
        """Undoes all of it. For `Store.transaction` alone."""
        self._queued.clear()
        with contextlib.suppress(
            psycopg.Error
        ):  # a broken connection has nothing to undo, and why it came to this is being raised
            await self._connection.rollback()

    async def _run(self, cursor: AsyncCursor[Any], query: str, values: dict[str, Any]) -> None:
        self._queued.append(_bound(cursor, query, values))
        await self._flush()

    async def _flush(self) -> None:
        """Sends all that is queued, and waits for the last answer."""
        queued, self._queued = self._queued, []
        self._has_begun = self._has_begun or bool(queued)
        try:
            if len(queued) == 1:
                ((cursor, text, parameters),) = queued
                await cursor.execute(text, parameters)
            elif queued:
                async with self._connection.pipeline():
                    for cursor, text, parameters in queued:
                        await cursor.execute(text, parameters)
        except psycopg.errors.UniqueViolation as error:
            raise UniqueViolation(error.diag.constraint_name or "") from error
        except psycopg.errors.ForeignKeyViolation as error:
            raise ReferenceViolation(error.diag.constraint_name or "") from error
        except (psycopg.errors.CheckViolation, psycopg.errors.InsufficientPrivilege) as error:
            raise RuleViolation(error.diag.message_primary or str(error)) from error


_Statement = tuple[AsyncCursor[Any], bytes, "dict[str, Any] | tuple[Any, ...] | None"]
_NOTIFY = b"select pg_notify(channel, payload) from unnest(%s::text[], %s::text[]) n(channel, payload)"


def _bound(cursor: AsyncCursor[Any], query: str, values: dict[str, Any]) -> _Statement:
    parameters = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in values.items()}
    return cursor, statement(query).encode(), parameters


class Store:
    """The catalogue as this process sees it."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self._url = url
        self.listener: Callable[[str, str], None] | None = None
        """Hears at once of what this process notifies; who has set it gets none of that from `notifications`."""
        self._passed_on: dict[int, weakref.ref[AsyncConnection[Any]]] = {}
        """Connections whose notices are told to `listener`, by the pid that notifications name."""
        self._pool: AsyncConnectionPool[AsyncConnection[Any]] = AsyncConnectionPool(
            url,
            min_size=2,
            max_size=pool_size,
            open=False,
            timeout=5.0,
            kwargs={"autocommit": True, **NOTICE_A_CUT_NETWORK},
            configure=_as_service,
            check=_still_open,
        )

    async def open(self) -> None:
        """Opens the pool. Raises Unavailable when the catalogue does not answer within 10 s."""
        try:
            await self._pool.open(wait=True, timeout=10)
        except PoolTimeout as error:
            raise Unavailable("The catalogue cannot be reached. Check SPG99_CATALOGUE_URL and that it runs.") from error

    async def close(self) -> None:
        """Closes all connections."""
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction that commits when the block ends and rolls back when it raises.

        Raises Unavailable when the catalogue is away or ends the connection.
        """
        try:
            async with self._pool.connection() as connection:
                transaction = Transaction(connection)
                try:
                    yield transaction
                    await transaction.commit()
                except BaseException:
                    await transaction.roll_back()
                    raise
                finally:
                    self._pass_on(transaction, connection)
                transaction.committed()
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise Unavailable("The catalogue cannot be reached right now. Retry in a moment.") from error

    def _pass_on(self, transaction: Transaction, connection: AsyncConnection[Any]) -> None:
        # A round through the catalogue and back takes a millisecond or two, and a wake has several. Told of a transaction that
        # was rolled back, or that nobody knows of, too: a notice says "read again", never what is there.
        if self.listener is None or not transaction.notices:
            return
        if not connection.closed:
            self._passed_on[connection.info.backend_pid] = weakref.ref(connection)
        for channel, payload in transaction.notices:
            self.listener(channel, payload)

    def _was_passed_on(self, pid: int) -> bool:
        reference = self._passed_on.get(pid)
        if reference is None:
            return False
        connection = reference()
        if connection is None or connection.closed:  # by now the pid may be that of somebody else's
            del self._passed_on[pid]
            return False
        return True

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Transaction]:
        """Statements each by itself, each seeing what is committed when it begins: for reads that need no common moment. It
        saves the begin and the commit of `transaction`, half the time of a read. Raises Unavailable as `transaction` does.
        """
        try:
            async with self._pool.connection() as connection:
                yield Transaction(connection, begins=False)
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise Unavailable("The catalogue cannot be reached right now. Retry in a moment.") from error

    async def notifications(self, *channels: str) -> AsyncIterator[tuple[str, str]]:
        """Endless (channel, payload) pairs on a connection of its own. Yields ("", "") once listening.

        Raises Unavailable when the connection is lost; the caller starts again and looks at everything once.
        """
        try:
            async with await AsyncConnection.connect(self._url, autocommit=True, **NOTICE_A_CUT_NETWORK) as connection:
                await _as_service(connection)
                for channel in channels:
                    await connection.execute(cast(Query, f'listen "{channel}"'))
                yield "", ""
                async for notification in connection.notifies():
                    if not self._was_passed_on(notification.pid):
                        yield notification.channel, notification.payload
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise Unavailable("The connection to the catalogue was lost.") from error


async def _as_service(connection: AsyncConnection[Any]) -> None:
    # The URL may name the owner of the tables; from here on we are somebody who owns nothing.
    # Times are told in UTC, whatever the catalogue's own zone is.
    await connection.execute(cast(Query, f"set role {SERVICE_ROLE}; set time zone 'UTC'"))


async def _still_open(connection: AsyncConnection[Any]) -> None:
    """Raises when the server has closed the connection. A round trip for every transaction would cost a tenth of a
    wake-up, so it asks the server only when the idle socket has something to say (an error, an end)."""
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    if waiting.poll(0):
        await AsyncConnectionPool.check_connection(connection)
