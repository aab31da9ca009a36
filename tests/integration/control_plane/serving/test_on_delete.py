"""`on_delete` over HTTP: given, changed, wrong, obeyed; a snapshot that is left holds up its tenant's deletion."""

from __future__ import annotations

from typing import Any

import psycopg

DBS = "/tenants/acme/dbs"


async def ended(api: Any, answer: Any) -> None:
    op = await api.ok("GET", f"/operations/{answer['op_id']}", params={"wait": 20})
    assert op["status"] == "succeeded"


async def test_it_is_given_and_changed_in_place(api: Any) -> None:
    await api.tenant()
    assert (await api.database())["on_delete"] == "delete"
    made = await api.database(name="other", on_delete="retain")
    assert made["on_delete"] == "retain"
    changed = await api.ok("PATCH", f"{DBS}/other", {"on_delete": "snapshot_then_delete"})
    assert (changed["on_delete"], changed["db_id"]) == ("snapshot_then_delete", made["db_id"])
    for wrong in ("keep", None, 1):
        answer = await api.call("PATCH", f"{DBS}/other", {"on_delete": wrong})
        assert answer.status_code == 400 and "on_delete" in answer.json()["details"]["fields"]
    assert (await api.ok("GET", f"{DBS}/other"))["on_delete"] == "snapshot_then_delete"


async def test_a_retained_one_is_listed_under_its_new_name_with_its_id(api: Any, was_started: Any) -> None:
    await api.tenant()
    made = await api.database(on_delete="retain")
    await was_started("app")
    await ended(api, await api.ok("DELETE", f"{DBS}/app"))
    assert (await api.call("GET", f"{DBS}/app")).status_code == 404
    (kept,) = (await api.ok("GET", DBS))["items"]
    assert kept["db_id"] == made["db_id"] and kept["name"].startswith("app_retained_")
    assert (kept["state"], kept["on_delete"], kept["timeline"]) == ("stopped", "delete", made["timeline"])
    assert await api.ok("GET", f"/dbs/{made['db_id']}") == kept
    # A tenant that still has it is not deleted in passing.
    assert (await api.call("DELETE", "/tenants/acme")).status_code == 409
    await ended(api, await api.ok("DELETE", f"{DBS}/{kept['name']}"))
    assert (await api.ok("GET", DBS))["items"] == []


async def test_a_snapshot_that_is_left_is_the_source_of_another_database_and_holds_its_tenant(
    api: Any, was_started: Any
) -> None:
    await api.tenant()
    made = await api.database(on_delete="snapshot_then_delete")
    await was_started("app")
    await ended(api, await api.ok("DELETE", f"{DBS}/app"))
    (kept,) = (await api.ok("GET", "/tenants/acme/snapshots"))["items"]
    assert (kept["database"], kept["db_id"], kept["timeline"]) == ("app", made["db_id"], made["timeline"])
    again = await api.database(name="again", source_snapshot=kept["name"])
    assert again["source_snapshot"] == kept["name"]
    await api.ok("DELETE", f"{DBS}/again")
    refused = await api.call("DELETE", "/tenants/acme")
    assert refused.status_code == 409 and "a snapshot of a database that is deleted" in refused.json()["message"]
    # It may come back as well, and then it has its snapshot.
    back = await api.ok("POST", f"{DBS}/app/undelete")
    assert (back["db_id"], back["on_delete"]) == (made["db_id"], "snapshot_then_delete")
    await api.ok("PATCH", f"{DBS}/app", {"on_delete": "delete"})
    refused = await api.call("DELETE", f"{DBS}/app")
    assert refused.status_code == 409 and kept["name"] in refused.json()["message"]
    await api.ok("DELETE", "/tenants/acme?cascade=true")
    assert (await api.call("GET", "/tenants/acme")).status_code in (200, 404)


async def test_without_safekeepers_the_deletion_is_refused_with_a_sentence(
    api: Any, was_started: Any, url: str
) -> None:
    await api.tenant()
    await api.database(on_delete="snapshot_then_delete")
    await was_started("app")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("update timelines set configuration = null")
    for query in ("", "?force=true"):
        answer = await api.call("DELETE", f"{DBS}/app{query}")
        assert answer.status_code == 409
        assert "has no safekeepers" in answer.json()["message"] and "Nothing was deleted" in answer.json()["message"]
    assert (await api.ok("GET", f"{DBS}/app"))["state"] == "stopped"
