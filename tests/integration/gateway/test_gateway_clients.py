"""Every client of the contract, through the real gateway: TLS, SCRAM, a real compute."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import asyncpg
import psycopg
import pytest
import sqlalchemy
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine

from integration.gateway.fake_control_plane import FakeControlPlane, Tenant
from integration.gateway.gateway_process import Gateway
from integration.gateway.tls_hop import tls_hop


def program(name: str) -> str:
    """A libpq program of this machine that can speak TLS; the wheel's cannot."""
    if (found := shutil.which(name)) is None:
        pytest.skip(f"{name} is not installed on this machine")
    if subprocess.run([found, "--version"], capture_output=True, check=False).returncode != 0:
        pytest.skip(f"{found} is only Debian's wrapper: the program itself is in a package that is not installed")
    return found


def run(command: list[str], environment: dict[str, str], *, stdin: str = "") -> str:
    done = subprocess.run(
        command, env=environment, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{command[0]} failed: {done.stdout}\n{done.stderr}"
    return done.stdout


def test_psycopg_sync(shared_gateway: Gateway, tenant: Tenant) -> None:
    with shared_gateway.connect(tenant, "app") as connection:
        assert connection.execute("select %s::text || current_database()", ["in "]).fetchone() == ("in app",)
        assert connection.execute("select current_user").fetchone() == (tenant.pg_user,)
        status = connection.pgconn.ssl_in_use
        assert status is True


async def test_psycopg_async(shared_gateway: Gateway, tenant: Tenant) -> None:
    connection = await psycopg.AsyncConnection.connect(**shared_gateway.options(tenant, "app"))
    async with connection:
        cursor = await connection.execute("select sum(i) from generate_series(1, 1000) i")
        assert await cursor.fetchone() == (500500,)


async def test_asyncpg(shared_gateway: Gateway, tenant: Tenant) -> None:
    options = shared_gateway.options(tenant, "app")
    import ssl

    connection = await asyncpg.connect(
        host="localhost", port=shared_gateway.port, user=tenant.pg_user, password=tenant.password, database="app",
        ssl=ssl.create_default_context(cafile=options["sslrootcert"]),
    )  # fmt: skip
    try:
        assert await connection.fetchval("select $1::int + 1", 41) == 42
        statement = await connection.prepare("select $1::text")
        assert await statement.fetchval("x" * 100_000) == "x" * 100_000
    finally:
        await connection.close()


def test_psql(shared_gateway: Gateway, tenant: Tenant) -> None:
    out = run(
        [program("psql"), "-XAtc", "select 'hello'", "-c", r"\conninfo"], shared_gateway.environment(tenant, "app")
    )
    assert out.startswith("hello\n")
    assert "TLS" in out


def test_psql_connection_string(shared_gateway: Gateway, tenant: Tenant) -> None:
    """The contract's own command line: `sslmode=require` in a URL."""
    from urllib.parse import quote

    url = f"postgres://{tenant.pg_user}:{quote(tenant.password)}@127.0.0.1:{shared_gateway.port}/app?sslmode=require"
    assert run([program("psql"), url, "-XAtc", "select 7"], dict(os.environ)) == "7\n"


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench(shared_gateway: Gateway, tenant: Tenant, mode: str) -> None:
    environment = shared_gateway.environment(tenant, "app")
    run([program("pgbench"), "-i", "-q", "-s", "1"], environment)
    out = run([program("pgbench"), "-M", mode, "-c", "4", "-j", "2", "-t", "50"], environment)
    assert "number of transactions actually processed: 200/200" in out
    assert re.search(r"number of failed transactions: 0", out)


def test_pgbench_new_connections(shared_gateway: Gateway, tenant: Tenant) -> None:
    environment = shared_gateway.environment(tenant, "app")
    run([program("pgbench"), "-i", "-q", "-s", "1"], environment)
    asked = shared_gateway.plane.count("connect")
    out = run([program("pgbench"), "-C", "-S", "-c", "4", "-t", "10"], environment)
    assert "number of transactions actually processed: 40/40" in out
    # The database runs and its lease is held: connecting costs no question to the Control Plane.
    assert shared_gateway.plane.count("connect") - asked <= 1


def test_sqlalchemy(shared_gateway: Gateway, tenant: Tenant) -> None:
    options = shared_gateway.options(tenant, "app")
    url = URL.create("postgresql+psycopg", tenant.pg_user, tenant.password, "localhost", shared_gateway.port, "app")
    engine = sqlalchemy.create_engine(
        url, connect_args={"sslmode": "verify-full", "sslrootcert": options["sslrootcert"], "hostaddr": "127.0.0.1"}
    )
    table = sqlalchemy.Table(
        "rooms", sqlalchemy.MetaData(), sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True)
    )
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(table.insert(), [{"id": i} for i in range(10)])
        assert len(connection.execute(sqlalchemy.select(table)).all()) == 10
        table.drop(connection)
    engine.dispose()


async def test_sqlalchemy_asyncpg(shared_gateway: Gateway, tenant: Tenant) -> None:
    import ssl

    context = ssl.create_default_context(cafile=shared_gateway.options(tenant, "app")["sslrootcert"])
    url = URL.create("postgresql+asyncpg", tenant.pg_user, tenant.password, "localhost", shared_gateway.port, "app")
    engine = create_async_engine(url, connect_args={"ssl": context})
    async with engine.connect() as connection:
        assert (await connection.execute(sqlalchemy.text("select 5"))).scalar() == 5
    await engine.dispose()


def test_pg_dump_and_restore(
    shared_gateway: Gateway, shared_plane: FakeControlPlane, tenant: Tenant, tmp_path: Path
) -> None:
    """The wheel's programs are PostgreSQL 18 but have no TLS, so a hop of the test adds it."""
    with shared_gateway.connect(tenant, "app") as connection:
        connection.execute("create schema dumped")
        connection.execute("create table dumped.things as select i, md5(i::text) as t from generate_series(1, 5000) i")
        before = connection.execute("select count(*), md5(string_agg(t, '' order by i)) from dumped.things").fetchone()
        with tls_hop(shared_gateway.port, shared_gateway.data_dir / "gateway" / "tls" / "ca.crt") as port:
            environment = {
                "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": tenant.pg_user, "PGPASSWORD": tenant.password,
                "PGDATABASE": "app",
            }  # fmt: skip
            binaries = shared_plane.binaries
            archive = tmp_path / "dump"
            run([str(binaries.program("pg_dump")), "-Fd", "-j2", "-n", "dumped", "-f", str(archive)], environment)
            connection.execute("drop schema dumped cascade")
            run([str(binaries.program("pg_restore")), "-j2", "-d", "app", str(archive)], environment)
        after = connection.execute("select count(*), md5(string_agg(t, '' order by i)) from dumped.things").fetchone()
        assert after == before
        connection.execute("drop schema dumped cascade")


JDBC = """
import java.sql.*;
import java.util.Properties;
class Main {
  public static void main(String[] a) throws Exception {
    Properties p = new Properties();
    p.setProperty("user", a[1]); p.setProperty("password", a[2]); p.setProperty("sslmode", "verify-full");
    p.setProperty("sslrootcert", a[3]); p.setProperty("channelBinding", "require");
    try (Connection c = DriverManager.getConnection(a[0], p);
         PreparedStatement s = c.prepareStatement("select ? + 1")) {
      for (int i = 0; i < 10; i++) {  // from the fifth on the driver uses a named server-side statement
        s.setInt(1, i);
        try (ResultSet r = s.executeQuery()) { r.next(); System.out.print(r.getInt(1) + " "); }
      }
    }
  }
}
"""


def test_jdbc(shared_gateway: Gateway, tenant: Tenant, tmp_path: Path) -> None:
    java = program("java")
    named = os.environ.get("SPG99_TEST_JDBC_JAR")
    jars = [Path(named)] if named else sorted(Path.home().glob(".m2/repository/org/postgresql/postgresql/*/*.jar"))
    if not jars:
        pytest.skip(
            "no PostgreSQL JDBC driver: name one in SPG99_TEST_JDBC_JAR, or have it in the local Maven repository"
        )
    source = tmp_path / "Main.java"
    source.write_text(JDBC)
    ca = shared_gateway.options(tenant, "app")["sslrootcert"]
    url = f"jdbc:postgresql://localhost:{shared_gateway.port}/app"
    out = run([java, "-cp", str(jars[-1]), str(source), url, tenant.pg_user, tenant.password, ca], dict(os.environ))
    assert out == "1 2 3 4 5 6 7 8 9 10 "
