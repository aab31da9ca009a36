"""A node, its Gateways and its safekeepers on different machines: they meet by mutual TLS only, as no unix socket of one can be entered by the others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from integration.node.conftest import Node
from integration.node.kept.branches import Branch, now_of
from integration.node.kept.databases import APP, USER, Database, KeepingNode, checkpoint
from integration.node.kept.pageservers import Pageserver
from kit.machines import certificate_of, credentials_of
from kit.safekeepers import ServedSafekeeper, kept_by
from kit.waits import until
from spg99.gateway import backend
from spg99.gateway.backend import Backend, BackendGone, Place, Remote
from spg99.gateway.cancel import CancelTarget, cancel
from spg99.ids import new_id
from spg99.node import following
from spg99.node.network import Network
from spg99.node.profiles import PROFILES
from spg99.pageserver.building import Sandbox
from spg99.processes import addresses
from spg99.processes.listening import listen
from spg99.resources import Size
from spg99.tls.mutual import MutualTls
from spg99.wire import messages, preface
from spg99.wire.preface import AnswerReader, Preface, Refused

NODE, GATEWAY, PAGESERVER = "node_aaaaaaaaaaaaaaaaaaaa", "gw_aaaaaaaaaaaaaaaaaaaa", "ps_aaaaaaaaaaaaaaaaaaaa"
PARAMETERS = {b"user": USER.encode(), b"database": APP.encode()}


class Reached:
    """A node that other machines reach."""

    def __init__(self, node: Node, network: Network, address: str) -> None:
        self.node, self.network, self.address = node, network, address
        self.gateway = MutualTls(credentials_of(GATEWAY))

    def place(self, compute_id: str, term: int) -> Place:
        return Place("/elsewhere", 5432, Remote(NODE, self.address, compute_id, term))

    async def open(self, place: Place) -> Backend:
        return await asyncio.wait_for(backend.open_session(place, PARAMETERS, network=self.gateway.client), 20)


@pytest.fixture(autouse=True)
def machines_are_different(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "is_here", lambda socket_file: False)


async def reach(node: Node, data_dir: Path) -> Reached:
    network = Network(node.folder, node.computes, await certificate_of(NODE, data_dir))
    (listener,) = listen("127.0.0.1", 0)
    network.begin([listener])
    return Reached(node, network, f"127.0.0.1:{listener.getsockname()[1]}")


@pytest_asyncio.fixture
async def reached(node: Node, data_dir: Path) -> AsyncIterator[Reached]:
    made = await reach(node, data_dir)
    yield made
    await made.network.end()


async def answer_of(session: Backend, query: str) -> bytes:
    """What the compute says to a query, up to the next ReadyForQuery."""

    class Reading(asyncio.Protocol):
        def __init__(self) -> None:
            self.data, self.ready = bytearray(), asyncio.Event()

        def data_received(self, data: bytes) -> None:
            self.data += data
            if self.data[-6:-1] == b"Z\x00\x00\x00\x05":
                self.ready.set()

    reading = Reading()
    session.transport.set_protocol(reading)
    session.transport.resume_reading()
    session.transport.write(messages.frame(b"Q", query.encode() + b"\x00"))
    await asyncio.wait_for(reading.ready.wait(), 30)
    return bytes(reading.data)


async def test_a_gateway_of_another_machine_is_let_through_and_cancels_what_runs(reached: Reached) -> None:
    started = await reached.node.start(await reached.node.create())
    place = reached.place(started["compute_id"], 1)
    session = await reached.open(place)
    assert b"42" in await answer_of(session, "select 42")
    large = await answer_of(session, "select repeat('x', 1000) from generate_series(1, 20000)")
    assert len(large) > 20_000_000
    sleeping = asyncio.create_task(answer_of(session, "select pg_sleep(60)"))
    target = CancelTarget(place, session.pid, session.secret)

    async def is_cancelled() -> bool:
        await cancel(target, reached.gateway.client)
        return sleeping.done()

    await until("the query to be cancelled", is_cancelled, seconds=20)
    assert b"57014" in await sleeping
    session.transport.abort()
    await until("nothing to be left", lambda: not reached.network.connections)


async def test_who_asks_for_what_is_not_there_reads_why(reached: Reached) -> None:
    started = await reached.node.start(await reached.node.create())
    with pytest.raises(BackendGone, match="has term 1, not 2"):
        await reached.open(reached.place(started["compute_id"], 2))
    with pytest.raises(BackendGone, match="does not run on this node"):
        await reached.open(reached.place(new_id("cmp"), 1))
    compute = reached.node.computes.find(started["compute_id"])
    assert compute is not None
    socket_file = Path(compute.record.backend_addr) / ".s.PGSQL.5432"
    socket_file.rename(socket_file.with_name(".closed.5432"))  # as while it is asked whether it is in use
    with pytest.raises(BackendGone, match="takes no connections now"):
        await reached.open(reached.place(started["compute_id"], 1))
    socket_file.with_name(".closed.5432").rename(socket_file)
    (await reached.open(reached.place(started["compute_id"], 1))).transport.abort()


async def test_who_is_removed_is_cut_off_and_not_let_in_again(reached: Reached) -> None:
    started = await reached.node.start(await reached.node.create())
    place = reached.place(started["compute_id"], 1)
    session = await reached.open(place)
    reached.network.revoke([GATEWAY])
    await until("the standing connection to end", lambda: not reached.network.connections)
    session.transport.abort()
    with pytest.raises(BackendGone, match="has been removed"):
        await reached.open(place)
    reached.network.revoke([])
    (await reached.open(place)).transport.abort()


@pytest.mark.parametrize(
    ("identity", "target"),
    [("sk_bbbbbbbbbbbbbbbbbbbb", "clients"), (GATEWAY, "wal"), ("node_bbbbbbbbbbbbbbbbbbbb", "clients")],
)
async def test_a_certificate_opens_what_it_is_for_and_nothing_else(
    reached: Reached, identity: str, target: str
) -> None:
    started = await reached.node.start(await reached.node.create())
    context = MutualTls(credentials_of(identity)).client
    host, port = addresses.parted(reached.address, setting="test")
    reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=NODE)
    writer.write(preface.question(Preface(target, started["compute_id"], 1)))  # type: ignore[arg-type]
    answer = AnswerReader().feed(await asyncio.wait_for(reader.read(), 10))
    assert isinstance(answer, Refused) and answer.code == "forbidden", answer
    writer.close()


async def test_a_machine_that_does_not_answer_is_given_up_soon(
    reached: Reached, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "NETWORK_SECONDS_MAX", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        remote = Remote(NODE, f"127.0.0.1:{silent.getsockname()[1]}", "cmp_1", 1)
        with pytest.raises(BackendGone, match="does not answer"):
            await reached.open(Place("/elsewhere", 5432, remote))
    with pytest.raises(BackendGone, match="cannot be reached"):
        await reached.open(Place("/elsewhere", 5432, replace(remote, address="127.0.0.1:1")))
    with pytest.raises(BackendGone, match="no certificate"):
        await backend.open_session(Place("/elsewhere", 5432, remote), PARAMETERS)


async def test_half_open_connections_end_by_themselves(reached: Reached, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spg99.node.network.PREFACE_SECONDS_MAX", 0.1)
    host, port = addresses.parted(reached.address, setting="test")
    reader, writer = await asyncio.open_connection(host, port, ssl=reached.gateway.client, server_hostname=NODE)
    writer.write(b"SPG9")  # and no more
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    await until("it to be forgotten", lambda: not reached.network.connections)


async def apart(
    node: KeepingNode, safekeepers: list[ServedSafekeeper], data_dir: Path
) -> tuple[Reached, Database, dict[str, str]]:
    """A database whose node and safekeepers are on machines of their own, and where these are."""
    reached = await reach(node, data_dir)
    node.keeping.reached = following.Reached(NODE, reached.address)
    node.keeping.safekeepers.clients.certificate = reached.network.certificate
    places = {one.id: one.listen(await certificate_of(one.id, data_dir)) for one in safekeepers}
    sockets = {one.id: f"/elsewhere/{one.id}.sock" for one in safekeepers}
    kept = kept_by(*safekeepers, tenant_id=new_id("ten"))
    kept = kept.model_copy(update={"addresses": sockets, "network_addresses": places})
    return reached, Database(kept), places


async def test_safekeepers_of_other_machines_keep_a_database_and_bring_it_back(
    make_node: Callable[..., KeepingNode], safekeepers: list[ServedSafekeeper], data_dir: Path
) -> None:
    node = make_node("n1")
    reached, database, places = await apart(node, safekeepers, data_dir)
    await database.start(node)
    await database.run("create table t (n int)", "insert into t select generate_series(1, 1000)")
    assert {connection.peer_id for connection in reached.network.connections} <= {one.id for one in safekeepers}
    assert len(reached.network.connections) >= 2
    database.kill()
    await until("its end to be told", lambda: node.computes.find(database.compute_id) is None)
    await database.start(node)
    assert await database.run("insert into t values (0)", "select count(*) from t") == [(1001,)]
    # One that does not keep this database is let through to no WAL.
    stranger = MutualTls(credentials_of(new_id("sk"))).client
    host, port = addresses.parted(reached.address, setting="test")
    reader, writer = await asyncio.open_connection(host, port, ssl=stranger, server_hostname=NODE)
    writer.write(preface.question(Preface("wal", database.compute_id, database.term)))
    answer = AnswerReader().feed(await asyncio.wait_for(reader.read(), 10))
    assert isinstance(answer, Refused) and "does not keep" in answer.reason
    writer.close()
    # Nor does a safekeeper answer who is no agent, or one that was removed.
    await _is_refused(places[safekeepers[0].id], safekeepers[0].id, MutualTls(credentials_of(GATEWAY)), "another kind")
    peer = MutualTls(credentials_of(safekeepers[1].id))
    await _is_refused(places[safekeepers[0].id], safekeepers[0].id, peer, "may read here", method="DELETE")
    assert safekeepers[0].followers.certificate is not None
    safekeepers[0].followers.certificate.revoked = frozenset({NODE})
    await _is_refused(places[safekeepers[0].id], safekeepers[0].id, MutualTls(credentials_of(NODE)), "has been removed")
    await database.stop(node)
    await reached.network.end()


async def test_a_pageserver_of_another_machine_archives_trims_and_makes_images(
    make_node: Callable[..., KeepingNode],
    safekeepers: list[ServedSafekeeper],
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = make_node("n1")
    monkeypatch.setitem(PROFILES, Size.L1, replace(PROFILES[Size.L1], max_wal_size_mb=24))
    reached, database, places = await apart(node, safekeepers, data_dir)
    database.kept = database.kept.model_copy(update={"is_archived": True})
    pageserver = Pageserver(node, database)
    await database.start(node)
    await database.run("create table t (n int)", "insert into t select generate_series(1, 30000)")
    care = await pageserver.round()
    assert not care.seen and not care.archived.stored_lsn  # without a certificate nobody there speaks to it
    pageserver.rounds.clients.certificate = await certificate_of(PAGESERVER, data_dir)
    care = await pageserver.round()
    assert care.problem is None and care.seen.keys() == places.keys() and care.archived.stored_lsn
    # A branch of it asks the same safekeepers, as its node.
    point = await now_of(node, database)
    await checkpoint(database)
    await database.run("insert into t select 0 from generate_series(1, 30000)")
    branch = Branch(database, point)
    await branch.start(node)
    assert await branch.run("select count(*) from t") == [(30000,)]
    await branch.stop(node)
    # An image by recovery: the WAL of the last segment is with the safekeepers alone.
    await pageserver.round()
    sandbox = Sandbox(node.folder.root / "sandbox", node.binaries, node.account)
    await pageserver.rounds.build_one(care, sandbox)
    assert care.build_problem is None and care.image is not None and care.verified_at is not None
    its = [one.timelines.get(database.timeline_id) for one in safekeepers]
    before = [timeline.keeper.first_lsn for timeline in its]
    await pageserver.round()
    assert all(timeline.keeper.first_lsn > was for timeline, was in zip(its, before, strict=True))
    # And it may do nothing else, or nothing at all once it was removed.
    who, address = MutualTls(credentials_of(PAGESERVER)), places[safekeepers[0].id]
    for method in ("DELETE", "PUT"):
        await _is_refused(address, safekeepers[0].id, who, "may read and trim here", method=method)
    assert safekeepers[0].followers.certificate is not None
    safekeepers[0].followers.certificate.revoked = frozenset({PAGESERVER})
    await _is_refused(address, safekeepers[0].id, who, "has been removed")
    await database.stop(node)
    await pageserver.rounds.aclose()
    await reached.network.end()


async def _is_refused(address: str, safekeeper_id: str, who: MutualTls, reason: str, *, method: str = "GET") -> None:
    host, port = addresses.parted(address, setting="test")
    reader, writer = await asyncio.open_connection(host, port, ssl=who.client, server_hostname=safekeeper_id)
    writer.write(f"{method} /timelines/tl_1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 403") and reason.encode() in answer, answer
