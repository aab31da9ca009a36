"""One tenant, one database or one that does not wake cannot take a Gateway's connections from others: a neighbour connects."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import psycopg
import pytest

from integration.gateway.fake_control_plane import FakeControlPlane, Tenant
from integration.gateway.gateway_process import Gateway
from kit.waits import wait_for


def told(gateway: Gateway, tenant: Tenant, database: str = "app") -> str:
    """The SQLSTATE that a client is refused with. libpq keeps it to itself when connecting; asyncpg tells."""

    async def connect() -> None:
        context = ssl.create_default_context(cafile=gateway.options(tenant, database)["sslrootcert"])
        connection = await asyncpg.connect(
            host="localhost", port=gateway.port, user=tenant.pg_user, password=tenant.password, database=database,
            ssl=context, timeout=30,
        )  # fmt: skip
        await connection.close()

    with pytest.raises(asyncpg.PostgresError) as refused:
        asyncio.run(connect())
    return str(refused.value.sqlstate)


@pytest.fixture
def other(plane: FakeControlPlane) -> str:
    """Another database of the tenant."""
    plane.add_database(plane.tenants["tnt_acme"], "other")
    return "other"


@pytest.fixture
def neighbour(plane: FakeControlPlane, seed: Any) -> Tenant:
    """Another tenant. Its cluster is a copy, so its role is called as the first one's there."""
    tenant = plane.tenants["tnt_bolt"] = Tenant("bolt", "tnt_acme_of_bolt", "another password")
    plane.tenants[tenant.pg_user] = tenant
    database = plane.add_database(tenant, "app", template=seed[1])
    plane.do(database.cluster.single_user([f"create role {tenant.pg_user} login"]))
    return tenant


@contextlib.contextmanager
def held(gateway: Gateway, tenant: Tenant, database: str, count: int) -> Iterator[list[psycopg.Connection[Any]]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(gateway.connect(tenant, database)) for _ in range(count)]


def refused(gateway: Gateway, tenant: Tenant, database: str) -> str:
    with pytest.raises(psycopg.OperationalError, match="Too many connections") as error:
        gateway.connect(tenant, database)
    return str(error.value)


def fits(gateway: Gateway, tenant: Tenant, database: str = "app") -> bool:
    try:
        with gateway.connect(tenant, database) as connection:
            return bool(connection.execute("select 1").fetchone() == (1,))
    except psycopg.OperationalError as error:
        if "Too many connections" not in str(error):
            raise
        return False


def test_a_tenant_at_its_limit(start_gateway: Callable[..., Gateway], tenant: Tenant, neighbour: Tenant) -> None:
    """Over all workers of the gateway; a place that is left can be taken again."""
    tenant.max_connections = 3
    gateway = start_gateway()
    with held(gateway, tenant, "app", 3) as mine:
        assert "this tenant may hold 3 through one gateway" in refused(gateway, tenant, "app")
        assert gateway.errors_seen("53300") == 1
        assert told(gateway, tenant) == "53300"
        assert gateway.errors_seen("53300") == 2
        assert fits(gateway, neighbour)
        mine.pop().close()
        wait_for("a place", lambda: fits(gateway, tenant), seconds=3)


def test_a_database_at_its_limit(start_gateway: Callable[..., Gateway], tenant: Tenant, other: str) -> None:
    tenant.max_connections_of_database = 3
    gateway = start_gateway()
    with held(gateway, tenant, "app", 3) as mine:
        sentence = refused(gateway, tenant, "app")
        assert 'database "app" may hold 3 through one gateway (policy gateway.database_connections_max)' in sentence
        assert told(gateway, tenant) == "53300"
        assert fits(gateway, tenant, other), "the tenant's other database has its own"
        mine.pop().close()
        wait_for("a place", lambda: fits(gateway, tenant), seconds=3)


@pytest.mark.slow  # again
def test_a_small_gateway_is_shared_whatever_the_policies_say(
    start_gateway: Callable[..., Gateway], tenant: Tenant, other: str, neighbour: Tenant
) -> None:
    gateway = start_gateway(workers=1, connections_max=8)
    with held(gateway, tenant, "app", 4):
        assert "one database may hold 4 of the 8 places" in refused(gateway, tenant, "app")
        with held(gateway, tenant, other, 2):
            assert "one tenant may hold 6 of the 8 places" in refused(gateway, tenant, other)
            with held(gateway, neighbour, "app", 2):
                assert "this gateway serves no more of them" in refused(gateway, neighbour, "app")
                assert "this gateway serves no more of them" in refused(gateway, tenant, "app")
            wait_for("a place", lambda: fits(gateway, neighbour), seconds=3)


@pytest.mark.slow  # broken
def test_clients_that_wait_for_a_wake_up_hold_places_too(
    start_gateway: Callable[..., Gateway], plane: FakeControlPlane, tenant: Tenant, other: str, neighbour: Tenant
) -> None:
    """Its compute's own max_connections has never seen them."""
    tenant.max_connections_of_database = 5
    gateway = start_gateway(connect_seconds=6)
    assert fits(gateway, tenant, other)
    assert fits(gateway, neighbour)
    plane.connect_delay_seconds = 60
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(gateway.connect, tenant, "app") for _ in range(8)]
        wait_for("three are refused", lambda: gateway.errors_seen("53300") == 3)
        plane.connect_delay_seconds = 0
        assert fits(gateway, tenant, other)
        assert fits(gateway, neighbour)
        sentences = [str(each.exception()) for each in waiting]
    assert sum("Too many connections" in sentence for sentence in sentences) == 3, sentences
    assert sum("the Control Plane " in sentence for sentence in sentences) == 5, sentences
