"""Whether a compute is in use: asked where it is known, with its socket renamed meanwhile. Silence proves nothing: when nobody
answers, it is in use.

Here: the name of its socket, the kernel's table of connections, the question to PostgreSQL. Not here: stopping
it (computes.py), who wants to know (the Control Plane, for a database that looks idle).

Nobody is cut off: a new client finds no socket and asks again, whoever has come through is in the kernel's table before
PostgreSQL itself knows of it, and only then is PostgreSQL asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spg99.node.sessions import sessions
from spg99.postgres.question import NoAnswer, ask
from spg99.protocol.safekeeper import STANDBY_PREFIX

QUESTION_SECONDS_MAX: Final = 5.0
OWN_SESSION_ENDS_SECONDS: Final = 1.0
"""Until the session that has asked must be gone from the kernel's table."""

SOCKET_TABLE: Final = Path("/proc/net/unix")
_CONNECTING, _CONNECTED = "02", "03"
_NOT_NOW: Final = "57"
"""SQLSTATE class "operator intervention": starting, stopping, or too slow. Whatever else PostgreSQL refuses us with is an answer:
its owner has said CONNECTION LIMIT 0 or REVOKE CONNECT, say, and as it lets us in no more than others, the kernel knows all."""

USE: Final = f"""
select (select count(*) from pg_stat_activity
         where pid <> pg_backend_pid() and backend_type in ('client backend', 'walsender')),
       (select count(*) from pg_replication_slots where active and not starts_with(slot_name, '{STANDBY_PREFIX}')),
       (select count(*) from pg_prepared_xacts)
"""  # noqa: S608 - a word of ours


@dataclass(frozen=True)
class Use:
    """What keeps a compute running."""

    sessions: int
    reason: str


def connections_in(socket_table: str) -> dict[str, int]:
    """Clients per socket folder, from /proc/net/unix: each connection stands there with its socket's path from the moment
    a client has connected, also before PostgreSQL has taken it.

    Columns: Num RefCount Protocol Flags Type St Inode Path.
    """
    found: Counter[str] = Counter()
    for line in socket_table.splitlines():
        columns = line.split(maxsplit=7)
        if len(columns) == 8 and columns[5] in (_CONNECTING, _CONNECTED) and "/.s.PGSQL." in columns[7]:
            found[columns[7].rpartition("/")[0]] += 1
    return dict(found)


def connections_to(socket_dir: Path, postmaster_pid: int | None) -> int:
    """Clients of one compute, logged in or not."""
    if sys.platform == "linux":
        return connections_in(SOCKET_TABLE.read_text()).get(str(socket_dir), 0)
    return 0 if postmaster_pid is None else sum(1 for _ in sessions(postmaster_pid))


def open_socket(socket_dir: Path, port: int) -> None:
    """Gives a socket its name back that was left renamed. Nothing to do when it has it, or when no server is behind it."""
    with contextlib.suppress(FileNotFoundError):
        closed = _closed(socket_dir, port)
        if not _open(socket_dir, port).exists():
            closed.rename(_open(socket_dir, port))


@contextmanager
def closed_socket(socket_dir: Path, port: int) -> Iterator[Path]:
    """Takes the socket's name away while the block runs: nobody new comes in, sessions go on. Answers the name by which it
    can still be reached."""
    with contextlib.suppress(FileNotFoundError):
        _open(socket_dir, port).rename(_closed(socket_dir, port))
    try:
        yield _closed(socket_dir, port)
    finally:
        open_socket(socket_dir, port)


async def use_of(socket: Path, postmaster_pid: int | None, *, user: str, database: str) -> Use | None:
    """What keeps the compute behind this renamed socket in use; None when nothing does."""
    if count := connections_to(socket.parent, postmaster_pid):
        return _used_by(count)
    try:
        ((clients, slots, prepared),) = await ask(
            socket, USE, user=user, database=database, timeout_seconds=QUESTION_SECONDS_MAX
        )
    except NoAnswer as error:
        if error.sqlstate is None or error.sqlstate.startswith(_NOT_NOW) or sys.platform != "linux":
            return Use(0, f"Nobody can tell whether it is in use: {error.reason}.")
    else:
        if int(clients or 0):
            return _used_by(int(clients or 0))
        if int(slots or 0):
            return Use(0, "A replication slot is in use.")
        if int(prepared or 0):
            return Use(0, "A prepared transaction waits for its end (COMMIT PREPARED or ROLLBACK PREPARED).")
    # Once more: our own session has to be gone, and a client who was connecting when the socket was renamed is in the
    # table by now.
    try:
        async with asyncio.timeout(OWN_SESSION_ENDS_SECONDS):
            while count := connections_to(socket.parent, postmaster_pid):  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0.002)
    except TimeoutError:
        return _used_by(count)
    return None


def _used_by(sessions: int) -> Use:
    return Use(sessions, "One connection is open." if sessions == 1 else f"{sessions} connections are open.")


def _open(socket_dir: Path, port: int) -> Path:
    return socket_dir / f".s.PGSQL.{port}"


def _closed(socket_dir: Path, port: int) -> Path:
    return socket_dir / f".closed.{port}"
