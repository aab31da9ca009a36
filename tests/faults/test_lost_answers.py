"""Creates over a network that loses requests and answers, and a Control Plane that is killed now and then: 0 duplicates.

A database costs its files (tens of megabytes), so the longest run takes a tenth of its creates as databases, the rest as tenants.
"""

from __future__ import annotations

import asyncio
import random
import time

import psutil
import pytest

from faults.cutting_proxy import CuttingProxy
from faults.settled import wait_settled
from kit.platform import Platform, wait_for
from spg99.client import Client
from spg99.errors import Unavailable
from spg99.ids import new_id
from spg99.resources import Database, Tenant

pytestmark = pytest.mark.slow  # broken

AT_ONCE = 16
TENANTS = 5


@pytest.mark.timeout(170)
def test_creates_happen_exactly_once(platform: Platform) -> None:
    asyncio.run(creates(platform, prefix="few", databases=30, tenants=60, kills=2))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_thousand_creates_happen_exactly_once(platform: Platform) -> None:
    asyncio.run(creates(platform, prefix="many", databases=1000, tenants=0, kills=20))


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_ten_thousand_creates_happen_exactly_once(platform: Platform) -> None:
    asyncio.run(creates(platform, prefix="most", databases=1000, tenants=9000, kills=100))


async def creates(platform: Platform, *, prefix: str, databases: int, tenants: int, kills: int) -> None:
    """`databases` + `tenants` creates, each with a key of its own, sent until answered; then everything is counted."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    port = int(platform.env["SPG99_CP_URL"].split(":")[2].split("/")[0])
    owners = [f"{prefix}_owner{number}" for number in range(TENANTS)]
    wanted = [("database", owners[n % TENANTS], f"db{n}") for n in range(databases)]
    wanted += [("tenant", f"{prefix}{n}", "") for n in range(tenants)]
    random.Random(seed).shuffle(wanted)
    began = time.monotonic()
    answered: dict[tuple[str, str, str], str] = {}
    async with CuttingProxy(port, chance=0.0, seed=seed) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/v2"
        async with Client(url, platform.env["SPG99_API_KEY"], timeout_seconds=20, max_attempts=8) as client:
            for owner in owners:
                await client.create(Tenant, {"name": owner})
            proxy.chance = 0.25
            left = iter(wanted)
            due = [len(wanted) * (k + 1) // (kills + 1) for k in range(kills)]
            victim = ""

            async def work() -> None:
                nonlocal victim
                for wish in left:
                    answered[wish] = await _create(client, wish)
                    if due and len(answered) >= due[0]:
                        due.pop(0)
                        victim = _kill_control_plane(platform)

            await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    assert not due, "not all kills were carried out"
    took = time.monotonic() - began
    wait_for("the last kill to be over", lambda: platform.child("control-plane") not in (0, victim), seconds=30)
    _count(platform, prefix, answered, databases=databases, tenants=tenants)
    print(
        f"{len(wanted)} creates in {took:.1f} s, {proxy.forwarded} requests forwarded, {kills} kills, "
        + ", ".join(f"{count} cut {cut}" for cut, count in proxy.cuts.items())
    )
    assert sum(proxy.cuts.values()) >= len(wanted) // 10, "the proxy hardly cut anything"
    wait_settled(platform, seconds=60 + databases)
    _clear(platform, owners, [name for kind, name, _ in wanted if kind == "tenant"])
    wait_settled(platform, seconds=60 + databases)


async def _create(client: Client, wish: tuple[str, str, str]) -> str:
    kind, owner, name = wish
    key = new_id("idem")
    while True:
        try:
            if kind == "tenant":
                return (await client.create(Tenant, {"name": owner}, idempotency_key=key)).tenant_id
            return (await client.create(Database, {"tenant": owner, "name": name}, idempotency_key=key)).db_id
        except Unavailable:  # the client gave up after its attempts; a user would run the same command again
            continue


def _kill_control_plane(platform: Platform) -> int:
    pid = platform.child("control-plane")
    if pid:
        psutil.Process(pid).kill()
    return pid


def _count(
    platform: Platform, prefix: str, answered: dict[tuple[str, str, str], str], *, databases: int, tenants: int
) -> None:
    """What was answered is what there is: by name, by id, and by what the outbox tells."""
    assert len(answered) == len(set(answered.values())) == databases + tenants
    with platform.catalogue() as catalogue:
        there = {
            ("database", tenant, name): db_id
            for tenant, name, db_id in catalogue.execute(
                "select t.name, d.name, d.db_id from databases d join tenants t using (tenant_id) where t.name like %s",
                (prefix + r"\_owner%",),
            )
        }
        there |= {
            ("tenant", name, ""): tenant_id
            for name, tenant_id in catalogue.execute(
                r"select name, tenant_id from tenants where name ~ %s", (f"^{prefix}[0-9]+$",)
            )
        }
        assert there == answered
        creates = catalogue.execute(
            """select action, count(*), count(distinct subject) from audit_logs
                where action in ('database.create', 'tenant.create')
                  and (metadata ->> 'name' ~ %(names)s or metadata ->> 'tenant' like %(owners)s) group by 1""",
            {"names": f"^{prefix}[0-9]+$", "owners": rf"{prefix}\_owner%"},
        ).fetchall()
    expected = {("database.create", databases, databases), ("tenant.create", tenants, tenants)}
    assert set(creates) == {row for row in expected if row[1]}


def _clear(platform: Platform, owners: list[str], tenants: list[str]) -> None:
    for name in [*owners, *tenants]:
        platform.api("DELETE", f"/tenants/{name}?cascade=true").raise_for_status()
