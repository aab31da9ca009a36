"""Tenants and databases over HTTP, as a user sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from spg99.control_plane.records.secret_box import SecretBox

Policy = Callable[..., Awaitable[None]]


async def test_a_tenant_is_made_read_listed_and_deleted(api: Any) -> None:
    made = await api.call("POST", "/tenants", {"name": "acme"})
    assert made.status_code == 201
    assert made.headers["location"] == "/v2/tenants/acme"
    tenant = made.json()
    assert tenant["state"] == "active"
    assert tenant["project"] == "default"
    assert tenant["pg_user"].startswith("tnt_")
    assert (
        tenant["dsn_template"]
        == f"postgres://{tenant['pg_user']}:{tenant['pg_password']}@db.example:6543/<db-name>?sslmode=require"
    )
    assert await api.ok("GET", "/tenants/acme") == tenant
    assert await api.ok("GET", f"/tenants/{tenant['tenant_id']}") == tenant, "by its id as well"
    assert (await api.ok("GET", "/tenants"))["items"] == [tenant]

    gone = await api.call("DELETE", "/tenants/acme")
    assert gone.status_code == 202
    operation = gone.json()
    assert (operation["kind"], operation["tenant_id"]) == ("tenant.delete", tenant["tenant_id"])
    assert gone.headers["location"] == f"/v2/operations/{operation['op_id']}"
    done = await api.ok("GET", f"/operations/{operation['op_id']}", params={"wait": 10})
    assert done["status"] == "succeeded"
    for path in ("/tenants/acme", f"/tenants/{tenant['tenant_id']}"):
        assert (await api.call("GET", path)).status_code == 404
    assert (await api.call("DELETE", "/tenants/acme")).status_code == 404
    assert (await api.tenant("acme"))["tenant_id"] != tenant["tenant_id"]


async def test_one_name_one_tenant(api: Any) -> None:
    answers = await asyncio.gather(*(api.call("POST", "/tenants", {"name": "acme"}) for _ in range(5)))
    assert sorted(a.status_code for a in answers) == [201, 409, 409, 409, 409]
    assert {a.json()["error"] for a in answers if a.status_code == 409} == {"Conflict"}


async def test_a_tenant_names_its_project(api: Any) -> None:
    made = await api.ok("POST", "/tenants", {"name": "acme", "project": "web"})
    assert made["project"] == "web"
    assert (await api.ok("GET", "/tenants/acme"))["project"] == "web"


async def test_a_database_is_made_read_and_changed(api: Any) -> None:
    tenant = await api.tenant()
    made = await api.call("POST", "/tenants/acme/dbs", {"name": "app"})
    assert made.status_code == 201
    database = made.json()
    assert database["state"] == database["status"] == "stopped"
    assert (database["current_scale"], database["target_scale"], database["scale_state"]) == (0, 0, "STEADY")
    assert (
        database["connection_string"]
        == f"postgresql://{tenant['pg_user']}:{tenant['pg_password']}@db.example:6543/app?sslmode=require"
    )
    moving = {"state", "status", "state_reason", "updated_at"}  # nobody makes it here, and the life goes on saying so
    by_id, by_name = await api.ok("GET", f"/dbs/{database['db_id']}"), await api.ok("GET", "/tenants/acme/dbs/app")
    assert {n: v for n, v in by_id.items() if n not in moving} == {n: v for n, v in by_name.items() if n not in moving}
    changed = await api.ok(
        "PATCH", "/tenants/acme/dbs/app", {"size": "L3", "idle_timeout_seconds": 0, "deletion_protection": True}
    )
    assert (changed["size"], changed["target_profile"], changed["idle_timeout_seconds"]) == ("L3", "L3", 0)
    protected = await api.call("DELETE", "/tenants/acme/dbs/app")
    assert protected.status_code == 409
    assert "deletion_protection" in protected.json()["message"]
    assert (await api.call("DELETE", "/tenants/acme", params={"cascade": "true"})).status_code == 409
    assert "owns a database (app)." in (await api.call("DELETE", "/tenants/acme")).json()["message"]
    assert (await api.ok("GET", "/tenants/acme"))["state"] == "active"
    unset = await api.ok("PATCH", "/tenants/acme/dbs/app", {"deletion_protection": False, "max_size": "L4"})
    assert unset["max_size"] == "L4"
    assert (await api.ok("PATCH", "/tenants/acme/dbs/app", {"max_size": None}))["max_size"] is None


async def test_a_name_with_a_dollar_is_encoded_in_the_dsn(api: Any) -> None:
    await api.tenant("a$b")
    database = await api.database("a$b", "x$y")
    assert "/x%24y?" in database["connection_string"]
    assert (await api.ok("GET", "/tenants/a$b/dbs/x$y"))["db_id"] == database["db_id"]


async def test_deleting_a_tenant_with_databases_needs_cascade(api: Any) -> None:
    await api.tenant()
    await api.database(name="one")
    await api.database(name="two")
    refused = await api.call("DELETE", "/tenants/acme")
    assert refused.status_code == 409
    assert refused.json()["details"]["databases"] == 2
    operation = await api.ok("DELETE", "/tenants/acme", params={"cascade": "true"})
    assert (await api.ok("GET", f"/operations/{operation['op_id']}", params={"wait": 20}))["status"] == "succeeded"
    assert (await api.call("GET", "/tenants/acme")).status_code == 404


async def test_deleting_a_database_twice_is_one_deletion(api: Any) -> None:
    await api.tenant()
    database = await api.database()
    first, second = [await api.call("DELETE", "/tenants/acme/dbs/app") for _ in range(2)]
    assert first.status_code == 202
    if second.status_code == 202:
        assert second.json()["op_id"] == first.json()["op_id"]
    else:
        assert second.status_code == 404
    done = await api.ok("GET", f"/operations/{first.json()['op_id']}", params={"wait": 20})
    assert done["status"] == "succeeded"
    assert (await api.call("GET", f"/dbs/{database['db_id']}")).status_code == 404
    assert (await api.database())["db_id"] != database["db_id"]


async def test_lists_page_by_cursor_and_by_offset(api: Any) -> None:
    await api.tenant()
    wanted = sorted(f"db_{number:02}" for number in range(12))
    for name in reversed(wanted):
        await api.database(name=name)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await api.ok("GET", "/tenants/acme/dbs", params={"limit": 5} | ({"cursor": cursor} if cursor else {}))
        assert len(page["items"]) <= 5
        seen += [item["name"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == wanted
    page = await api.ok("GET", "/tenants/acme/dbs", params={"limit": 5, "offset": 10})
    assert [item["name"] for item in page["items"]] == wanted[10:]
    assert page["next_cursor"] is None
    exact = await api.ok("GET", "/tenants/acme/dbs", params={"limit": 12})
    assert exact["next_cursor"] is None


async def test_a_cursor_belongs_to_its_list(api: Any) -> None:
    await api.tenant("one")
    await api.tenant("two")
    for tenant in ("one", "two"):
        for name in ("a", "b"):
            await api.database(tenant, name)
    cursor = (await api.ok("GET", "/tenants/one/dbs", params={"limit": 1}))["next_cursor"]
    assert (await api.ok("GET", "/tenants/one/dbs", params={"cursor": cursor}))["items"][0]["name"] == "b"
    for path, params in (
        ("/tenants/two/dbs", {}),
        ("/tenants", {}),
        ("/tenants/one/dbs", {"name_prefix": "a"}),
        ("/tenants/one/dbs", {"state": "stopped"}),
    ):
        answer = await api.call("GET", path, params={"cursor": cursor, **params})
        assert answer.status_code == 400, path
        assert list(answer.json()["details"]["fields"]) == ["cursor"]


async def test_list_filters(api: Any) -> None:
    await api.tenant()
    for name in ("app", "app2", "ap", "bpp", "App", "ap_p"):
        await api.database(name=name)

    async def names(**params: str) -> list[str]:
        return [item["name"] for item in (await api.ok("GET", "/tenants/acme/dbs", params=params))["items"]]

    assert await names(name_prefix="app") == ["app", "app2"]
    assert await names(name_prefix="ap_") == ["ap_p"]
    assert await names(state="creating") == []
    assert await names(state="stopped") == ["App", "ap", "ap_p", "app", "app2", "bpp"]
    assert [
        t["name"] for t in (await api.ok("GET", "/tenants", params={"state": "active", "name_prefix": "ac"}))["items"]
    ] == ["acme"]


async def test_etags_guard_changes(api: Any) -> None:
    await api.tenant()
    await api.database()
    path = "/tenants/acme/dbs/app"
    etag = (await api.call("GET", path)).headers["etag"]
    changed = await api.call("PATCH", path, {"idle_timeout_seconds": 5}, headers={"If-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag
    for method, body in (("PATCH", {"idle_timeout_seconds": 6}), ("DELETE", None)):
        stale = await api.call(method, path, body, headers={"If-Match": etag})
        assert stale.status_code == 412
        assert stale.json()["error"] == "PreconditionFailed"
    assert (await api.ok("GET", path))["idle_timeout_seconds"] == 5
    assert (await api.call("DELETE", "/tenants/acme", headers={"If-Match": '"x"'})).status_code == 412
    assert (await api.call("DELETE", path, headers={"If-Match": changed.headers["etag"]})).status_code == 202


async def test_a_patch_that_changes_nothing_keeps_the_etag(api: Any) -> None:
    await api.tenant()
    await api.database()
    path = "/tenants/acme/dbs/app"
    before = (await api.call("GET", path)).headers["etag"]
    for body in ({}, {"size": "L1"}, {"idle_timeout_seconds": 300}):
        assert (await api.call("PATCH", path, body)).headers["etag"] == before


async def test_rotation_changes_the_password_in_place(api: Any) -> None:
    tenant = await api.tenant()
    before = await api.ok("GET", "/tenants/acme/credentials")
    assert (before["pg_password"], before["credential_version"]) == (tenant["pg_password"], 1)
    after = await api.ok("POST", "/tenants/acme/credentials/rotate")
    assert after["pg_user"] == before["pg_user"]
    assert after["pg_password"] != before["pg_password"]
    assert after["credential_version"] == 2
    assert after["pg_password"] in (await api.ok("GET", "/tenants/acme"))["dsn_template"]


async def test_default_idle_time_comes_from_the_policy(api: Any, policy: Policy) -> None:
    await policy("database.idle_timeout_seconds", 42)
    await api.tenant()
    assert (await api.database(name="a"))["idle_timeout_seconds"] == 42
    assert (await api.database(name="b", idle_timeout_seconds=7))["idle_timeout_seconds"] == 7


async def test_limits_of_the_plan(api: Any, policy: Policy) -> None:
    await policy("limits.tenants_max", 1, scope="plan", scope_id="self-hosted")
    await policy("limits.databases_max", 2, scope="org", scope_id="org_default")
    tenants = await asyncio.gather(*(api.call("POST", "/tenants", {"name": f"t{n}"}) for n in range(4)))
    assert sorted(a.status_code for a in tenants) == [201, 409, 409, 409]
    assert {a.json()["error"] for a in tenants if a.status_code == 409} == {"LimitExceeded"}
    name = next(a.json()["name"] for a in tenants if a.status_code == 201)
    made = await asyncio.gather(*(api.call("POST", f"/tenants/{name}/dbs", {"name": f"d{n}"}) for n in range(5)))
    assert sorted(a.status_code for a in made) == [201, 201, 409, 409, 409]
    refused = [answer.json()["details"] for answer in made if answer.status_code == 409]
    assert refused == [{"limit": "limits.databases_max", "maximum": 2}] * 3


async def test_the_compute_time_of_a_trial_is_limited(api: Any, url: str) -> None:
    """Used up by all databases of the account together: then nothing is started by hand, what runs can still be stopped."""
    await api.tenant()
    await api.database(name="one")
    await api.database(name="two")
    refused = [
        ("POST", "/tenants/acme/dbs/two/start", None),
        ("POST", "/tenants/acme/dbs/two/scale", {"target_scale": 1}),
        ("POST", "/tenants/acme/dbs", {"name": "three", "start_immediately": True}),
        ("POST", "/tenants/acme/dbs", {"name": "three", "initial_scale": 1}),
    ]
    # Not `with psycopg.connect`: the server runs in this loop and may hold a row's lock while it waits for the loop.
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as catalogue:
        await catalogue.execute("update organizations set plan = 'trial' where org_id = 'org_default'")
        # The trial's other limits are not what is looked at here.
        await catalogue.execute("delete from policy_values where scope = 'plan' and key = 'limits.databases_max'")

        await catalogue.execute("update databases set compute_milliseconds = 17999999 where name = 'one'")
        await catalogue.execute("update databases set compute_milliseconds = 18000000 where name = 'two'")
        assert (await api.call("POST", "/tenants/acme/dbs/one/start")).status_code == 202

        await catalogue.execute("update databases set compute_milliseconds = 18000000 where name = 'one'")
        for method, path, body in refused:
            answer = await api.call(method, path, body)
            assert answer.status_code == 409, f"{path} {body}: {answer.text}"
            error = answer.json()
            assert error["error"] == "LimitExceeded"
            assert error["details"] == {"limit": "limits.compute_seconds_max", "maximum": 36000}
            assert "has used its 36000 seconds of compute time" in error["message"]
        assert (await api.ok("GET", "/tenants/acme/dbs/two"))["target_scale"] == 0
        assert (await api.call("GET", "/tenants/acme/dbs/three")).status_code == 404
        await catalogue.execute(
            "update databases set state = 'stopped' where name = 'one'"
        )  # no node is here to make it
        assert (await api.call("POST", "/tenants/acme/dbs/one/stop")).status_code == 202

        await catalogue.execute("update organizations set plan = 'self-hosted' where org_id = 'org_default'")
        assert (await api.call("POST", "/tenants/acme/dbs/two/start")).status_code == 202, "only a trial has this limit"


@pytest.mark.parametrize(("action", "body"), [("start", None), ("stop", None), ("scale", {"target_scale": 1})])
async def test_managed_mode_disables_start_and_stop(api: Any, policy: Policy, action: str, body: Any) -> None:
    await policy("operations.start_stop_enabled", False)
    await api.tenant()
    await api.database()
    answer = await api.call("POST", f"/tenants/acme/dbs/app/{action}", body)
    assert answer.status_code == 409
    assert answer.json()["error"] == "OperationDisabled"
    for extra in ({"start_immediately": True}, {"initial_scale": 1}):
        refused = await api.call("POST", "/tenants/acme/dbs", {"name": "other", **extra})
        assert refused.json()["error"] == "OperationDisabled"
    assert (await api.call("GET", "/tenants/acme/dbs/other")).status_code == 404


async def test_start_is_an_operation(api: Any, url: str) -> None:
    await api.tenant()
    database = await api.database(start_immediately=True)
    assert database["target_scale"] == 1
    await api.database(name="sleeper")
    answer = await api.call("POST", "/tenants/acme/dbs/sleeper/start")
    assert answer.status_code == 202
    assert answer.json()["kind"] == "database.start"
    assert (await api.ok("GET", "/tenants/acme/dbs/sleeper"))["target_scale"] == 1


async def test_every_change_is_audited_with_who_and_which_request(api: Any, url: str) -> None:
    await api.call("POST", "/tenants", {"name": "acme"}, headers={"X-Request-Id": "from-a-test"})
    await api.database()
    await api.ok("PATCH", "/tenants/acme/dbs/app", {"size": "L2"})
    await api.ok("POST", "/tenants/acme/credentials/rotate")
    await api.ok("DELETE", "/tenants/acme/dbs/app")
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select action, actor, request_id, metadata from audit_logs where actor like 'key_%'"
        ).fetchall()
    assert [row[0] for row in rows] == [
        "tenant.create", "database.create", "database.update", "tenant.rotate_credentials", "database.delete",
    ]  # fmt: skip
    assert rows[0][2] == "from-a-test"
    assert all(row[2] for row in rows)
    assert rows[2][3]["fields"] == ["size"]
    assert "password" not in str(rows)


async def test_a_delete_that_names_an_id_spares_whoever_has_the_name_now(api: Any) -> None:
    await api.tenant()
    old = await api.database()
    assert (await api.call("DELETE", f"/tenants/acme/dbs/app?uid={old['db_id']}")).status_code == 202
    new = await api.database()
    late = await api.call("DELETE", f"/tenants/acme/dbs/app?force=true&uid={old['db_id']}")
    assert late.status_code == 404, late.text
    kept = await api.ok("GET", "/tenants/acme/dbs/app")
    assert (kept["db_id"], kept["state"]) == (new["db_id"], "stopped")
    assert (await api.call("DELETE", "/tenants/acme?cascade=true&uid=ten_other")).status_code == 404


async def test_a_password_is_decrypted_for_who_may_read_it_and_once_a_list(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.tenant()
    for number in range(5):
        await api.database(name=f"d{number}")
    blind = await api.key("can_scale")
    decrypted: list[str] = []
    real = SecretBox.decrypt

    def counted(self: SecretBox, sealed: bytes, bound_to: str) -> bytes:
        decrypted.append(bound_to)
        return real(self, sealed, bound_to)

    monkeypatch.setattr(SecretBox, "decrypt", counted)
    shown = (await api.ok("GET", "/tenants/acme/dbs"))["items"]
    assert len(shown) == 5 and len({one["connection_string"].split("@")[0] for one in shown}) == 1
    assert len(decrypted) == 1
    decrypted.clear()
    await api.ok("GET", "/tenants/acme/dbs", token=blind)
    await api.ok("GET", "/tenants", token=blind)
    assert decrypted == []
