"""The HTTP API: requests per second, with few and with 100,000 databases in the catalogue, where their time goes, and what an idle platform costs."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlsplit

import psutil
import psycopg
from tests.benchmarks.table import Table, mid, ms, ratio

from kit.platform import Platform, a_platform

CROWD = 100_000
CLIENTS = 8

FILL = """
with owner as (select tenant_id from tenants where name = 'crowd')
insert into databases (db_id, tenant_id, name, size, idle_timeout_seconds, state, timeline_id, target_profile)
select 'db_bench' || n, owner.tenant_id, 'd' || lpad(n::text, 7, '0'), 'L1', 300, 'stopped', 'tl_bench' || n, 'L1'
  from owner, generate_series(1, %s) n
"""


class Client:
    """One kept connection that writes and reads bytes and nothing else: what is measured is the server, on the same two cores."""

    def __init__(self, url: str, api_key: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None and parts.port is not None
        self._host, self._port, self._base = parts.hostname, parts.port, parts.path
        self._head = f"HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {api_key}\r\n"

    async def __aenter__(self) -> Client:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=2**22)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._writer.close()

    async def call(self, method: str, path: str, body: object = None) -> bytes:
        """The body of an answer; fails unless it is one of success."""
        raw = b"" if body is None else json.dumps(body).encode()
        more = f"Content-Type: application/json\r\nIdempotency-Key: {secrets.token_hex(8)}\r\n" if raw else ""
        head = f"{method} {self._base}{path} {self._head}{more}Content-Length: {len(raw)}\r\n\r\n"
        self._writer.write(head.encode() + raw)
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        length = next(int(line[15:]) for line in lines if line[:15].lower() == "content-length:")
        answer = await self._reader.readexactly(length)
        assert status.split(" ")[1] in ("200", "201"), f"{status}: {answer[:500]!r}"
        return answer


async def rate(platform: Platform, calls: int, one: Callable[[Client, int], Awaitable[bytes]]) -> float:
    """Requests per second of `calls` requests by a few clients at once."""
    numbers = iter(range(calls))

    async def work() -> None:
        async with Client(platform.env["SPG99_CP_URL"], platform.env["SPG99_API_KEY"]) as client:
            for number in numbers:
                await one(client, number)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(CLIENTS)))
    return calls / (time.perf_counter() - began)


def cpu_of_parts(platform: Platform) -> dict[str, float]:
    """CPU seconds so far of the Control Plane, of the catalogue's PostgreSQL with all its backends, and of this process."""
    parts = {
        "Control Plane": platform.processes("control-plane"),
        "catalogue": [one for top in platform.processes("catalogue", "postgres") for one in (top, *top.children())],
        "client": [psutil.Process()],
    }
    found = dict.fromkeys(parts, 0.0)
    for part, processes in parts.items():
        for process in processes:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            found[part] += times.user + times.system
    return found


def cpu_share(platform: Platform, seconds: float) -> float:
    """Share of one core that all processes of the platform use while nobody asks anything."""

    def used() -> float:
        total = 0.0
        for process in platform.processes():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total

    before = used()
    time.sleep(seconds)
    return (used() - before) / seconds


def measure(platform: Platform, calls: int, tag: str) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Requests per second of each kind of call, and the CPU seconds of each part that one such call takes."""
    # Where page 1,000 of 50 begins: 99 x 500 rows on; with fewer databases the last place with a whole page behind it.
    cursor, following = "", ""
    for _ in range(99):
        query = {"limit": "500", **({"cursor": following} if following else {})}
        answer = platform.api("GET", "/tenants/crowd/dbs", params=query).json()
        if len(answer["items"]) < 500:
            break
        cursor, following = following, answer["next_cursor"]

    async def create(client: Client, number: int) -> bytes:
        return await client.call("POST", "/tenants", {"name": f"bench_{tag}_{number}"})

    async def create_database(client: Client, number: int) -> bytes:
        return await client.call("POST", "/tenants/crowd/dbs", {"name": f"bench_{tag}_{number}"})

    async def read(client: Client, _number: int) -> bytes:
        return await client.call("GET", "/tenants/crowd/dbs/probe")

    async def first_page(client: Client, _number: int) -> bytes:
        return await client.call("GET", "/tenants/crowd/dbs?limit=50")

    async def late_page(client: Client, _number: int) -> bytes:
        return await client.call("GET", f"/tenants/crowd/dbs?limit=50{f'&cursor={quote(cursor)}' if cursor else ''}")

    kinds = {
        "create a tenant": create,
        "create a database": create_database,
        "read a database": read,
        "list, page 1": first_page,
        "list, page 1,000": late_page,
    }
    result, cost = {}, {}
    for title, one in kinds.items():
        creates = one in (create, create_database)
        per_round = calls // 4 if creates else calls
        before = cpu_of_parts(platform)
        if creates:
            result[title] = asyncio.run(rate(platform, per_round, one))
        else:
            result[title] = mid([asyncio.run(rate(platform, per_round, one)) for _ in range(3)])
        done = per_round * (1 if creates else 3)
        cost[title] = {part: (spent - before[part]) / done for part, spent in cpu_of_parts(platform).items()}
    return result, cost


def run(*, quick: bool = False) -> list[Table]:
    """The table of section 11: the API."""
    calls, crowd, idle = (100, 10_000, 3.0) if quick else (600, CROWD, 15.0)
    table = Table(
        f"API, {CLIENTS} clients at once",
        ("call", "few databases", f"{crowd:,} databases", "slowdown"),
    )
    with a_platform(environment={}) as platform:
        platform.create_database("crowd", "probe")
        with psycopg.connect(platform.dev()["catalogue_url"], autocommit=True) as catalogue:
            catalogue.execute(
                "insert into policy_values (key, scope, scope_id, value) values ('api.requests_per_minute', 'global', '', '100000000')"
            )
            time.sleep(2)  # the limit is cached for about a second
            quiet = cpu_share(platform, idle)
            catalogue.execute(FILL, (1000,))
            few, cost = measure(platform, calls, "few")
            catalogue.execute("delete from databases where db_id like 'db_bench%'")
            catalogue.execute(FILL, (crowd,))
            catalogue.execute("vacuum analyze databases")
            many, _ = measure(platform, calls, "many")
            crowded = cpu_share(platform, idle)
            catalogue.execute("delete from databases where db_id like 'db_bench%'")
    for title in few:
        table.add(title, f"{few[title]:,.0f}/s", f"{many[title]:,.0f}/s", ratio(few[title], many[title], goal=1.2))
    table.add(
        "idle CPU of all processes, share of one core",
        f"{quiet:.2%}",
        f"{crowded:.2%}",
        f"goal <= 1 %: {'met' if crowded <= 0.01 else 'missed'}",
    )
    parts = tuple(next(iter(cost.values())))
    where = Table("API: CPU of one call", ("call", *parts))
    for title, spent in cost.items():
        where.add(title, *(ms(spent[part]) for part in parts))
    where.notes.append(
        "The Control Plane is one process on one core, so its column bounds the rate; a new tenant's SCRAM verifier (4,096 rounds of PBKDF2) is made on another core."
    )
    return [table, where]
