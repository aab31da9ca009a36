"""One question to a cluster over its unix socket: log in where no password is asked, one query, its rows as text.

Here: a session that lives for one answer. Not here: what is asked (callers), sessions of clients (gateway/).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from spg99.errors import ProtocolViolation
from spg99.wire import messages
from spg99.wire.messages import FrameScanner
from spg99.wire.startup import startup_message

_ANSWER_BYTES_MAX: Final = 1 << 20

_OURS: Final = {
    # What is loaded at log-in: a library that is not there lets nobody in.
    "local_preload_libraries": "",
    # What the words of the question mean, and who asks.
    "search_path": "pg_catalog",
    "role": "none",
    "row_security": "on",
    "restrict_nonsystem_relation_kind": "",
    # How it is carried out: one transaction like any other, by this one process.
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "exit_on_error": "off",
    "debug_parallel_query": "off",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    # How long it may take: as long as we wait (`ask`), no shorter.
    "transaction_timeout": "0",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    # What is said beside the answer.
    "client_min_messages": "error",
}
"""What a tenant may set for his role or his database (ALTER ROLE ... SET, ALTER DATABASE ... SET) and must not decide here: what
comes with the log-in counts for more. A test ranges over all that he may set."""

Row = tuple[str | None, ...]


class NoAnswer(Exception):
    """The question was not answered. `sqlstate` is PostgreSQL's own when it refused, None when it said nothing."""

    def __init__(self, reason: str, sqlstate: str | None = None) -> None:
        self.reason = reason
        self.sqlstate = sqlstate
        super().__init__(reason)


async def ask(socket: Path, query: str, *, user: str, database: str, timeout_seconds: float) -> list[Row]:
    """The rows of a query, with nothing but pg_catalog on the search path. Raises NoAnswer.

    What role and database have been set to does not matter to it: see `_OURS`.
    """
    parameters = {
        b"user": user.encode(),
        b"database": database.encode(),
        b"application_name": b"spg99",
        b"client_encoding": b"UTF8",
        b"options": options(_OURS | {"statement_timeout": str(round(timeout_seconds * 1000))}).encode(),
    }
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(startup_message(parameters))
                await _answer(reader)
                writer.write(messages.frame(messages.QUERY, query.encode() + b"\0"))
                rows = await _answer(reader)
                writer.write(messages.TERMINATE)
                return rows
            finally:
                writer.close()
    except TimeoutError:
        raise NoAnswer(f"PostgreSQL did not answer within {timeout_seconds:.0f} s") from None
    except (OSError, ProtocolViolation) as error:
        raise NoAnswer(f"PostgreSQL does not answer ({error})") from error


def options(settings: Mapping[str, str]) -> str:
    """Settings as the startup packet's `options` has them: words between spaces, `\\` before a space that belongs to a word."""
    words = (f"{name}={value}".replace("\\", "\\\\").replace(" ", "\\ ") for name, value in settings.items())
    return " ".join(f"-c {word}" for word in words)


async def _answer(reader: asyncio.StreamReader) -> list[Row]:
    """What is said until the session is ready for the next query."""
    scanner = FrameScanner(bytes_max=_ANSWER_BYTES_MAX)
    rows: list[Row] = []
    while data := await reader.read(65536):
        scanner.feed(data)
        for kind, body in scanner:
            if kind == messages.ERROR_RESPONSE:
                fields = messages.error_fields(body)
                raise NoAnswer(fields.get("M", "PostgreSQL refused"), fields.get("C"))
            if kind == messages.DATA_ROW:
                rows.append(messages.data_row(body))
            elif kind == messages.READY_FOR_QUERY:
                return rows
    raise NoAnswer("PostgreSQL closed the connection")
