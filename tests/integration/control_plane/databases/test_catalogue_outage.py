"""The catalogue drops every connection: loops and long polls come back by themselves."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from integration.control_plane.databases.test_interruptions import stubbornly
from spg99.control_plane.catalogue import ADMIN


async def drop_all_connections(platform: InProcessPlatform) -> None:
    admin = platform.url.replace("spg99_owner@", f"{ADMIN}@")
    async with await psycopg.AsyncConnection.connect(admin, autocommit=True) as connection:
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )


@pytest.mark.slow  # broken
async def test_everything_goes_on_after_the_catalogue_dropped_all_connections(platform: InProcessPlatform) -> None:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create(idle_timeout_seconds=1)
    await platform.reaches(row.db_id, "stopped")
    for term in (1, 2, 3):
        connect = asyncio.create_task(stubbornly(gateway.connect))
        await drop_all_connections(platform)
        assert (await asyncio.wait_for(connect, 20)).writer_term == term
        await stubbornly(lambda: gateway.report(row.db_id, 0))
        await drop_all_connections(platform)
        await platform.reaches(row.db_id, "stopped", seconds=20)
    assert not agent.refused
