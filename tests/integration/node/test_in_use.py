"""A stop for idleness is a question: whoever is there keeps the compute running, and nobody is cut off while it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from integration.node.conftest import Node, dsn
from spg99.node import in_use, profiles
from spg99.postgres.question import NoAnswer, ask
from spg99.protocol.tasks import ComputeStop, ComputeStopped, TimelineCreate

Started = dict[str, Any]


async def question(node: Node, started: Started, timeline: TimelineCreate) -> ComputeStopped:
    order = ComputeStop(compute_id=started["compute_id"], timeline_id=timeline.timeline_id, only_if_unused=True)
    result = await node.do("compute.stop", order)
    assert result.succeeded, result.error
    return ComputeStopped.model_validate(result.result)


def runs(started: Started) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(started["pid"], 0)
        return True
    return False


@contextmanager
def a_session(started: Started, timeline: TimelineCreate) -> Iterator[None]:
    with psycopg.connect(dsn(started, timeline), autocommit=True) as db:
        yield
        assert db.execute("select 1").fetchone() == (1,), "it was not cut off"


@contextmanager
def an_open_transaction(started: Started, timeline: TimelineCreate) -> Iterator[None]:
    with psycopg.connect(dsn(started, timeline)) as db:
        db.execute("create table half (a int)")
        yield
        db.rollback()


@contextmanager
def a_replication_connection(started: Started, timeline: TimelineCreate) -> Iterator[None]:
    with psycopg.connect(dsn(started, timeline, replication="true"), autocommit=True) as db:
        yield
        assert db.execute("IDENTIFY_SYSTEM").fetchone()


@contextmanager
def a_client_that_has_not_logged_in(started: Started, timeline: TimelineCreate) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{started['backend_addr']}/.s.PGSQL.{started['backend_port']}")
        yield


@contextmanager
def a_client_postgresql_has_not_seen(started: Started, timeline: TimelineCreate) -> Iterator[None]:
    os.kill(started["pid"], signal.SIGSTOP)
    try:
        with a_client_that_has_not_logged_in(started, timeline):
            yield
    finally:
        os.kill(started["pid"], signal.SIGCONT)


@pytest.mark.parametrize(
    "use",
    [
        a_session,
        an_open_transaction,
        a_replication_connection,
        a_client_that_has_not_logged_in,
        a_client_postgresql_has_not_seen,
    ],
)
async def test_whoever_is_there_keeps_it_running_and_when_he_has_gone_it_stops(
    node: Node, use: Callable[[Started, TimelineCreate], contextlib.AbstractContextManager[None]]
) -> None:
    timeline = await node.create()
    started = await node.start(timeline)
    with use(started, timeline):
        answer = await question(node, started, timeline)
        assert (answer.stopped, answer.sessions, answer.reason) == (False, 1, "One connection is open.")
        assert runs(started)
    with psycopg.connect(dsn(started, timeline)) as db:  # the door is open again
        db.execute("select 1")
    for _ in range(200):  # the sessions above need a moment to be gone
        if (answer := await question(node, started, timeline)).stopped:
            break
        await asyncio.sleep(0.01)
    assert answer == ComputeStopped(stopped=True)
    assert not runs(started) and not Path(started["backend_addr"]).exists()
    assert await question(node, started, timeline) == ComputeStopped(stopped=True), "asked again it is a success"


async def test_prepared_work_keeps_it_running(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(profiles.FOR_ALL, "max_prepared_transactions", "2")
    timeline = await node.create()
    started = await node.start(timeline)
    with psycopg.connect(dsn(started, timeline), autocommit=True) as db:
        db.execute("begin")
        db.execute("create table t (a int)")
        db.execute("prepare transaction 'later'")
    await until_alone(started)
    answer = await question(node, started, timeline)
    assert not answer.stopped and answer.sessions == 0 and "COMMIT PREPARED" in (answer.reason or "")
    with psycopg.connect(dsn(started, timeline), autocommit=True) as db:
        db.execute("commit prepared 'later'")
    await until_alone(started)
    assert (await question(node, started, timeline)).stopped


async def until_alone(started: Started) -> None:
    async with asyncio.timeout(10):
        while in_use.connections_to(Path(started["backend_addr"]), started["pid"]):
            await asyncio.sleep(0.005)


@pytest.mark.slow  # broken
async def test_silence_of_one_that_dies_while_it_is_asked_is_no_use(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeline = await node.create()
    started = await node.start(timeline)
    real = in_use.ask

    async def ask_a_dying_one(*arguments: Any, **options: Any) -> Any:
        os.kill(started["pid"], signal.SIGKILL)
        return await real(*arguments, **options)

    monkeypatch.setattr(in_use, "ask", ask_a_dying_one)
    assert await question(node, started, timeline) == ComputeStopped(stopped=True)
    assert not Path(started["backend_addr"]).exists()


@pytest.mark.slow  # broken
async def test_no_answer_is_no_proof(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_use, "QUESTION_SECONDS_MAX", 0.3)
    timeline = await node.create()
    started = await node.start(timeline)
    os.kill(started["pid"], signal.SIGSTOP)
    try:
        answer = await question(node, started, timeline)
    finally:
        os.kill(started["pid"], signal.SIGCONT)
    assert not answer.stopped and "Nobody can tell" in (answer.reason or "")
    assert runs(started)
    with psycopg.connect(dsn(started, timeline)) as db:
        assert db.execute("select 1").fetchone() == (1,)


CLOSINGS = [
    "alter database app with connection limit 0",
    "revoke connect on database app from public, current_user",
    "alter role current_user set local_preload_libraries = nosuch",
    "alter database app set local_preload_libraries = nosuch",
    "alter role current_user set idle_session_timeout = 1",
    "alter role current_user set transaction_timeout = 1",
]


@pytest.mark.parametrize("closing", CLOSINGS)
async def test_a_database_that_its_owner_has_closed_does_not_run_for_ever(node: Node, closing: str) -> None:
    timeline = await node.create()
    started = await node.start(timeline)
    with psycopg.connect(dsn(started, timeline), autocommit=True) as db:
        db.execute(closing)
    await until_alone(started)
    assert (await question(node, started, timeline)).stopped


async def test_nothing_that_a_role_or_a_database_can_be_set_to_hides_the_answer(node: Node) -> None:
    """Every parameter that its owner may set, at its ends, at each of its words, and at something that is not there."""
    timeline = await node.create()
    started = await node.start(timeline)
    (owner,) = {timeline.pg_user}
    socket = Path(started["backend_addr"]) / f".s.PGSQL.{started['backend_port']}"
    failed: list[str] = []
    tried: set[str] = set()
    with psycopg.connect(dsn(started, timeline), autocommit=True) as db:
        parameters = db.execute(
            "select name, vartype, min_val, max_val, enumvals, coalesce(boot_val, '') from pg_settings"
            " where context in ('user', 'backend', 'superuser', 'superuser-backend') order by name"
        ).fetchall()
        for scope in ("role current_user", "database app"):
            for name, kind, least, most, words, usual in [*parameters, ("role", "string", "", "", None, "none")]:
                values = {
                    "bool": ["on", "off"],
                    "integer": [least, most, "1"],
                    "real": [least, most],
                    "enum": words,
                    "string": ["nosuch", "", "pg_read_all_data"],
                }[kind]
                for value in values:
                    quoted = "'" + str(value).replace("'", "''") + "'"
                    try:
                        db.execute(f"alter {scope} set {name} = {quoted}")
                    except psycopg.Error:
                        continue  # not his to set, or no value of it
                    tried.add(name)
                    try:
                        ends_at = time.monotonic() + 5
                        while True:  # the session of the question before may still be on its way out
                            (found,) = await ask(socket, in_use.USE, user=owner, database="app", timeout_seconds=5)
                            if found == ("1", "0", "0") or time.monotonic() > ends_at:
                                break
                        if found != ("1", "0", "0"):
                            failed.append(f"{scope}: {name}={value!r} ({usual}): {found}")
                    except NoAnswer as error:
                        failed.append(f"{scope}: {name}={value!r} ({usual}): {error.reason}")
                    try:
                        db.execute(f"alter {scope} reset {name}")
                    except psycopg.errors.FeatureNotSupported:  # transaction_isolation: set, and never reset
                        db.execute(f"alter {scope} set {name} = '{usual}'")
    assert {"local_preload_libraries", "search_path", "statement_timeout", "role", "row_security"} <= tried
    print(f"\n  {len(tried)} parameters")
    assert failed == []


async def test_a_tenant_cannot_lie_to_the_question(node: Node) -> None:
    """What a tenant can set for his own role: names that come before the catalog's, and operators of his own."""
    timeline = await node.create()
    started = await node.start(timeline)
    with psycopg.connect(dsn(started, timeline), autocommit=True) as db:
        db.execute("create schema mine")
        db.execute("create view mine.pg_prepared_xacts as select 1 as gid")
        db.execute("alter role current_user set search_path = mine, pg_catalog")
    await until_alone(started)
    assert (await question(node, started, timeline)).stopped


@pytest.mark.slow  # broken
async def test_clients_who_come_while_it_is_asked_are_never_cut_off(node: Node) -> None:
    """Clients come and go all the time, and so do questions: whoever got in has his answer, whoever did not finds no door."""
    timeline = await node.create()
    started = await node.start(timeline)
    over = threading.Event()
    cut_off: list[str] = []
    served = [0] * 3

    def client(number: int) -> None:
        while not over.is_set():
            try:
                db = psycopg.connect(dsn(started, timeline), autocommit=True)
            except psycopg.OperationalError as error:
                if "No such file" not in str(error) and "Connection refused" not in str(error):
                    cut_off.append(str(error))
                over.wait(0.002)
                continue
            try:
                db.execute("select 1")
                served[number] += 1
                db.close()
            except psycopg.Error as error:
                cut_off.append(str(error))
            over.wait(0.004 * (number + 1))

    threads = [threading.Thread(target=client, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    asked = {True: 0, False: 0}
    try:
        for term in range(2, 14):
            async with asyncio.timeout(30):
                while not (answer := await question(node, started, timeline)).stopped:
                    asked[False] += 1
                    await asyncio.sleep(0.001)
            asked[True] += 1
            assert answer.reason is None
            # The next one lives where the clients look.
            again = await node.start(timeline, term=term)
            started.update(again)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    print(f"\n  served {sum(served)}, in use {asked[False]} times, stopped {asked[True]} times")
    assert cut_off == []
    assert asked[True] == 12 and asked[False] > 0 and all(served)


@pytest.mark.slow  # broken
async def test_an_agent_that_dies_with_the_door_closed_leaves_nobody_outside(node: Node) -> None:
    timeline = await node.create()
    started = await node.start(timeline)
    folder = Path(started["backend_addr"])
    (folder / ".s.PGSQL.5432").rename(folder / ".closed.5432")  # as it lies there after a SIGKILL
    await node.computes.leave()
    node.fresh_agent()
    assert await node.computes.adopt() == 1
    with psycopg.connect(dsn(started, timeline)) as db:
        assert db.execute("select 1").fetchone() == (1,)
