"""Transactions on the catalogue.

Here: one pool, one `async with store.transaction()`, named queries in, typed rows out, notifications. Not here: how statements travel (pipeline.py), SQL (each
domain's queries.sql).
"""

from __future__ import annotations

import contextlib
import select
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import Query
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from spg99.control_plane.store import pipeline
from spg99.control_plane.store.pipeline import Connection, Row, Statement
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


class UniqueViolation(Exception):
    """Another row has the same key; `constraint` names the index."""

    def __init__(self, constraint: str) -> None:
        self.constraint = constraint
        super().__init__(constraint)


class ReferenceViolation(Exception):
    """A row it refers to is not there, or rows still refer to it."""


class RuleViolation(Exception):
    """A check, a trigger or a grant of the catalogue refused the change: a programmer's error, or bad policy input."""


class Deferred:
    """The answer to a statement that travels with the next one that somebody waits for, at the latest with who asks for it here."""

    def __init__(self, transaction: Transaction, connection: Connection, statement: Statement) -> None:
        self._transaction = transaction
        self._connection = connection
        self._statement = statement

    async def value(self) -> Any:
        """The first column of its first row, or None."""
        return (await self._answered()).value(self._connection)

    async def rows(self, kind: type[Row]) -> list[Row]:
        """Its rows, each a `kind` (a dataclass)."""
        return (await self._answered()).rows(self._connection, kind)

    async def count(self) -> int:
        """How many rows it has touched."""
        return (await self._answered()).touched()

    async def _answered(self) -> Statement:
        if not self._statement.is_answered:
            await self._transaction.flush()
        return self._statement


class Transaction:
    """One transaction: all of it or none of it. Made by `Store.transaction`.

    What nobody waits for, the begin and the writes that are deferred, travels with the next statement that somebody does
    wait for, or with the commit (libpq's pipeline): a round trip costs more than most statements.
    """

    def __init__(self, connection: Connection, *, begins: bool = True, is_heard_here: bool = False) -> None:
        self._connection = connection
        self._queued: list[Statement] = [Statement("begin", {})] if begins else []
        self._has_begun = False
        self._is_heard_here = is_heard_here
        self._own_work: set[str] = set()
        self.notices: dict[tuple[str, str], None] = {}
        self._when_known: list[Callable[[], Awaitable[None]]] = []
        self._after_commit: list[Callable[[], None]] = []
        self._refusals: dict[str, Exception] = {}

    async def many(self, kind: type[Row], query: str, /, **values: Any) -> list[Row]:
        """All rows of the named query, each a `kind` (a dataclass)."""
        return (await self._run(query, values)).rows(self._connection, kind)

    async def one_or_none(self, kind: type[Row], query: str, /, **values: Any) -> Row | None:
        """The first row of the named query, or None."""
        rows = (await self._run(query, values)).rows(self._connection, kind)
        return rows[0] if rows else None

    async def one(self, kind: type[Row], query: str, /, **values: Any) -> Row:
        """The row of the named query. A missing row is a programmer's error (LookupError)."""
        row = await self.one_or_none(kind, query, **values)
        if row is None:
            raise LookupError(f"query {query} gave no row")
        return row

    async def value(self, query: str, /, **values: Any) -> Any:
        """The first column of the first row of the named query, or None."""
        return (await self._run(query, values)).value(self._connection)

    async def execute(self, query: str, /, **values: Any) -> int:
        """Runs the named query; answers the number of rows it touched."""
        return (await self._run(query, values)).touched()

    async def defer(self, query: str, /, **values: Any) -> Deferred:
        """Queues the named query. It runs in its place, before the next one; should it fail, that one, or the commit, raises why."""
        queued = Statement(statement(query), values)
        self._queued.append(queued)
        return Deferred(self, self._connection, queued)

    async def moment(self) -> Deferred:
        """The catalogue's clock, asked with the next statement: for a row that is written without waiting for what it has become."""
        queued = Statement(_MOMENT, {})
        self._queued.append(queued)
        return Deferred(self, self._connection, queued)

    def refuse(self, constraint: str, error: Exception) -> None:
        """What is raised in place of UniqueViolation when a deferred write meets a row with the same key; `constraint` names the index."""
        self._refusals[constraint] = error

    def when_known(self, call: Callable[[], Awaitable[None]]) -> None:
        """Calls this once all that is queued by now has been answered, before the commit: for what follows from a deferred answer
        (a notice, another `after_commit`)."""
        self._when_known.append(call)

    async def notify(self, channel: str, payload: str = "", *, is_own_work: bool = False) -> None:
        """Wakes listeners of `channel` when this transaction commits. `is_own_work`: what follows is done by this process, if it
        listens at all, and the others need not hear of it: they look by themselves from time to time, should it have ended.
        Commits with a notice of the catalogue wait for each other, to the end of their write to disk."""
        self.notices[channel, payload] = None
        if is_own_work and self._is_heard_here:
            self._own_work.add(channel)

    def after_commit(self, call: Callable[[], None]) -> None:
        """Calls this once the transaction is committed for certain; never when it is not, or nobody can tell."""
        self._after_commit.append(call)

    def committed(self) -> None:
        """It is. For `Store.transaction` alone."""
        for call in self._after_commit:
            call()

    async def commit(self) -> None:
        """Runs what is still queued, hands all notices to the catalogue, each once, and commits. For `Store.transaction` alone."""
        if self._when_known:
            await self.flush()
        if for_others := [notice for notice in self.notices if notice[0] not in self._own_work]:
            channels, payloads = zip(*for_others, strict=True)
            self._queued.append(Statement(_NOTIFY, {"channels": list(channels), "payloads": list(payloads)}))
        if self._has_begun or len(self._queued) > 1:
            self._queued.append(Statement("commit", {}))
            await self.flush()

    async def roll_back(self) -> None:
        """Undoes all of it. For `Store.transaction` alone."""
        self._queued.clear()
        with contextlib.suppress(
            psycopg.Error
        ):  # a broken connection has nothing to undo, and why it came to this is being raised
            await self._connection.rollback()

    async def _run(self, query: str, values: dict[str, Any]) -> Statement:
        asked = Statement(statement(query), values)
        self._queued.append(asked)
        await self.flush()
        return asked

    async def flush(self) -> None:
        """Sends all that is queued, and waits for the last answer. For `Deferred` alone."""
        queued, self._queued = self._queued, []
        if queued:
            await self._send(queued)
        known, self._when_known = self._when_known, []
        for call in known:
            await call()

    async def _send(self, queued: list[Statement]) -> None:
        self._has_begun = True
        try:
            await pipeline.run(self._connection, queued)
        except psycopg.errors.UniqueViolation as error:
            constraint = error.diag.constraint_name or ""
            raise self._refusals.get(constraint) or UniqueViolation(constraint) from error
        except psycopg.errors.ForeignKeyViolation as error:
            raise ReferenceViolation(error.diag.constraint_name or "") from error
        except (psycopg.errors.CheckViolation, psycopg.errors.InsufficientPrivilege) as error:
            raise RuleViolation(error.diag.message_primary or str(error)) from error


_MOMENT = "select clock_timestamp()"
_NOTIFY = (
    "select pg_notify(channel, payload) from unnest(%(channels)s::text[], %(payloads)s::text[]) n(channel, payload)"
)


class Store:
    """The catalogue as this process sees it."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self._url = url
        self.listener: Callable[[str, str], None] | None = None
        """Hears at once of what this process notifies; who has set it gets none of that from `notifications`."""
        self._passed_on: dict[int, weakref.ref[AsyncConnection[Any]]] = {}
        """Connections whose notices are told to `listener`, by the pid that notifications name."""
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            connection_class=Connection,
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
                transaction = Transaction(connection, is_heard_here=self.listener is not None)
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
