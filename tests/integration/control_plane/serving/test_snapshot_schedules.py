"""Snapshot schedules over HTTP: made, listed, changed, deleted; what is refused at its field; what goes with one, and what one holds up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from integration.control_plane.serving.test_snapshots import SNAPSHOTS, kept, refused  # noqa: F401 - a fixture of the neighbour
from kit.waits import until
from spg99.errors import BadRequest, Conflict, Forbidden, NotFound

# ruff: noqa: F811
SCHEDULES = "/tenants/acme/schedules"
NIGHTLY = {"name": "nightly", "database": "app", "cron": "30 2 * * *"}


@pytest.fixture
def due(url: str) -> Any:
    """Makes a schedule due now."""

    async def make_due(name: str = "nightly") -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            moment = datetime.now(UTC) - timedelta(seconds=1)
            sql = "update snapshot_schedules set next_snapshot_at = %s, attempt_at = %s where name = %s"
            await connection.execute(sql, [moment, moment, name])

    return make_due


async def turn(api: Any) -> None:
    """As the loop does, which may be at it itself."""
    from spg99.control_plane.databases.scheduled_snapshots import ScheduledSnapshots

    plane = api.app.state.plane

    async def nothing_is_due() -> bool:
        await ScheduledSnapshots(plane.store, plane.wakeups, plane.clock).turn()
        schedules = (await api.ok("GET", SCHEDULES))["items"]
        return all(datetime.fromisoformat(one["next_snapshot_at"]) > datetime.now(UTC) for one in schedules)

    await until("what is due to be made", nothing_is_due)


async def made_by(api: Any, name: str = "nightly") -> list[Any]:
    found: list[Any] = (await api.ok("GET", SNAPSHOTS, params={"schedule": name}))["items"]
    return sorted(found, key=lambda one: str(one["created_at"]))


async def test_a_schedule_is_made_listed_changed_and_deleted(kept: Any) -> None:
    made = [await kept.ok("POST", SCHEDULES, NIGHTLY | {"name": name}) for name in ("b", "a", "c")]
    first = made[0]
    assert (first["keep"], first["last_snapshot_at"], first["last_error"]) == (7, None, None) and not first["verify"]
    at = datetime.fromisoformat(first["next_snapshot_at"])
    assert (at.hour, at.minute, at.second) == (2, 30, 0) and timedelta(0) < at - datetime.now(UTC) <= timedelta(days=1)
    page = await kept.ok("GET", SCHEDULES, params={"limit": 2})
    rest = await kept.ok("GET", SCHEDULES, params={"limit": 2, "cursor": page["next_cursor"]})
    assert [one["name"] for one in page["items"] + rest["items"]] == ["a", "b", "c"]
    assert (await kept.ok("GET", SCHEDULES, params={"database": "other"}))["items"] == []
    assert (await kept.ok("GET", SCHEDULES, params={"name_prefix": "b"}))["items"] == [first]
    assert await kept.ok("GET", f"{SCHEDULES}/b") == first
    changed = await kept.ok("PATCH", f"{SCHEDULES}/b", {"cron": "@hourly", "keep": 3, "verify": True})
    assert changed["verify"] and (changed["cron"], changed["keep"], changed["schedule_id"]) == (
        "@hourly",
        3,
        first["schedule_id"],
    )
    assert datetime.fromisoformat(changed["next_snapshot_at"]) - datetime.now(UTC) <= timedelta(hours=1)
    only_keep = await kept.ok("PATCH", f"{SCHEDULES}/b", {"keep": 4})
    assert only_keep["next_snapshot_at"] == changed["next_snapshot_at"]
    await refused(kept, "PATCH", f"{SCHEDULES}/b", {"database": "other"}, BadRequest)
    await refused(kept, "POST", SCHEDULES, NIGHTLY | {"name": "b"}, Conflict)
    for name in "abc":
        await kept.ok("DELETE", f"{SCHEDULES}/{name}")
    await refused(kept, "GET", f"{SCHEDULES}/b", None, NotFound)


async def test_a_replayed_create_makes_one_and_a_change_of_what_was_not_seen_is_refused(kept: Any) -> None:
    once = {"Idempotency-Key": "once"}
    first, second = [await kept.ok("POST", SCHEDULES, NIGHTLY, headers=once) for _ in "12"]
    assert first == second
    seen = (await kept.call("GET", f"{SCHEDULES}/nightly")).headers["etag"]
    await kept.ok("PATCH", f"{SCHEDULES}/nightly", {"keep": 2}, headers={"If-Match": seen})
    for method, body in (("PATCH", {"keep": 3}), ("DELETE", None)):
        answer = await kept.call(method, f"{SCHEDULES}/nightly", body, headers={"If-Match": seen})
        assert answer.status_code == 412, answer.text


async def test_what_is_no_schedule_is_refused_at_its_field(kept: Any) -> None:
    for body, field in (
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "* * * *"}, "cron"),
        ({"cron": "0 0 31 2 *"}, "cron"),
        ({"cron": 5}, "cron"),
        ({"keep": 0}, "keep"),
        ({"keep": 1001}, "keep"),
        ({"database": "nothing"}, "database"),
        ({"next_snapshot_at": "2031-01-01T00:00:00Z"}, "next_snapshot_at"),
        ({"name": "no-name"}, "name"),
    ):
        error = await refused(kept, "POST", SCHEDULES, NIGHTLY | body, BadRequest)
        assert field in error.fields, error.fields
    assert (await kept.ok("GET", SCHEDULES))["items"] == []
    await kept.ok("POST", SCHEDULES, NIGHTLY)
    error = await refused(kept, "PATCH", f"{SCHEDULES}/nightly", {"cron": "* 25 * * *"}, BadRequest)
    assert "the hour '25'" in error.fields["cron"]


async def test_a_database_without_safekeepers_has_no_schedules(api: Any) -> None:
    await api.tenant("acme")
    await api.database()
    error = await refused(api, "POST", SCHEDULES, NIGHTLY, BadRequest)
    assert "no safekeepers" in error.fields["database"]


async def test_only_its_own_snapshots_go_and_only_when_another_was_made(kept: Any, due: Any) -> None:
    await kept.ok("POST", SNAPSHOTS, {"name": "mine", "database": "app"})
    await kept.ok("POST", SCHEDULES, NIGHTLY | {"keep": 2})
    await kept.ok("POST", SCHEDULES, NIGHTLY | {"name": "other", "keep": 1})
    await due("other")
    await turn(kept)
    seen = []
    for _ in range(4):
        await due()
        await turn(kept)
        seen.append([one["snapshot_id"] for one in await made_by(kept)])
    assert [len(ids) for ids in seen] == [1, 2, 2, 2]
    assert seen[3][0] == seen[2][1] and seen[3][1] not in seen[2]
    assert all(one["name"].startswith("nightly_2") for one in await made_by(kept))
    names = {one["name"] for one in (await kept.ok("GET", SNAPSHOTS))["items"]}
    assert "mine" in names and len(names) == 4 and len(await made_by(kept, "other")) == 1
    # Fewer are kept: what is too many stays until the next one was made.
    await kept.ok("PATCH", f"{SCHEDULES}/nightly", {"keep": 1})
    await turn(kept)
    assert [one["snapshot_id"] for one in await made_by(kept)] == seen[3]
    await due()
    await turn(kept)
    (left,) = await made_by(kept)
    after = await kept.ok("GET", f"{SCHEDULES}/nightly")
    assert after["last_snapshot_at"] and after["last_error"] is None and left["schedule"] == "nightly"
    assert datetime.fromisoformat(after["next_snapshot_at"]) > datetime.now(UTC)


async def test_one_in_which_a_branch_is_about_to_begin_stays_until_it_was_started(
    kept: Any, due: Any, was_started: Any
) -> None:
    await kept.ok("POST", SCHEDULES, NIGHTLY | {"keep": 1})
    await due()
    await turn(kept)
    (first,) = await made_by(kept)
    await kept.ok("POST", "/tenants/acme/dbs", {"name": "preview", "source_snapshot": first["name"]})
    for _ in "12":
        await due()
        await turn(kept)
    names = [one["name"] for one in await made_by(kept)]
    assert len(names) == 2 and names[0] == first["name"]
    await was_started("preview")
    await due()
    await turn(kept)
    assert first["name"] not in [one["name"] for one in await made_by(kept)]
    assert len(await made_by(kept)) == 1


async def test_a_database_stays_while_a_schedule_is_for_it_and_goes_after_it_with_all_that_it_made(
    kept: Any, due: Any
) -> None:
    await kept.ok("POST", SCHEDULES, NIGHTLY)
    await due()
    await turn(kept)
    error = await refused(kept, "DELETE", "/tenants/acme/dbs/app?force=true", None, Conflict)
    assert "snapshot schedules are for it ('nightly')" in str(error) and error.details["schedules"] == ["nightly"]
    await kept.ok("DELETE", f"{SCHEDULES}/nightly")
    assert (await kept.ok("GET", SNAPSHOTS))["items"] == []
    answer = await kept.call("DELETE", "/tenants/acme/dbs/app?force=true")
    assert answer.status_code == 202, answer.text


async def test_what_it_has_made_may_stay(kept: Any, due: Any) -> None:
    await kept.ok("POST", SCHEDULES, NIGHTLY)
    await due()
    await turn(kept)
    (made,) = await made_by(kept)
    await kept.ok("DELETE", f"{SCHEDULES}/nightly?keep_snapshots=true")
    left = await kept.ok("GET", f"{SNAPSHOTS}/{made['name']}")
    assert left["schedule"] is None and left["snapshot_id"] == made["snapshot_id"]
    # Another one of its name takes nothing of it for its own.
    await kept.ok("POST", SCHEDULES, NIGHTLY | {"keep": 1})
    for _ in "12":
        await due()
        await turn(kept)
    assert len(await made_by(kept)) == 1 and await kept.ok("GET", f"{SNAPSHOTS}/{made['name']}")


async def test_all_of_a_tenant_goes_with_its_schedules_or_all_of_it_stays(kept: Any, due: Any) -> None:
    await kept.ok("POST", SNAPSHOTS, {"name": "mine", "database": "app"})
    await kept.ok("POST", SCHEDULES, NIGHTLY)
    await due()
    await turn(kept)
    await kept.ok("PATCH", "/tenants/acme/dbs/app", {"deletion_protection": True})
    await refused(kept, "DELETE", "/tenants/acme?cascade=true&force=true", None, Conflict)
    assert len((await kept.ok("GET", SNAPSHOTS))["items"]) == 2
    await kept.ok("PATCH", "/tenants/acme/dbs/app", {"deletion_protection": False})
    await kept.ok("DELETE", "/tenants/acme?cascade=true&force=true")


async def test_rights(kept: Any) -> None:
    reader = await kept.key(name="reader")
    maker = await kept.key("can_create_db", name="maker")
    await refused(kept, "POST", SCHEDULES, NIGHTLY, Forbidden, token=reader)
    await kept.ok("POST", SCHEDULES, NIGHTLY, token=maker)
    await refused(kept, "PATCH", f"{SCHEDULES}/nightly", {"keep": 1}, Forbidden, token=reader)
    await refused(kept, "DELETE", f"{SCHEDULES}/nightly", None, Forbidden, token=maker)
    await kept.tenant("globex")
    bound = await kept.key("can_create_db", "can_delete", name="bound", scope="tenant", tenant="globex")
    await refused(kept, "GET", f"{SCHEDULES}/nightly", None, NotFound, token=bound)
