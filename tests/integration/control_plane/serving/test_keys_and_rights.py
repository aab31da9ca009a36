"""Who may see and do what: scopes, permissions, expiry, revocation, rotation, rates, and that no key grants more than it has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from spg99.clock import FrozenClock
from spg99.control_plane.identity import keys
from spg99.control_plane.identity.keys import new_token, sha256_of

Policy = Callable[..., Awaitable[None]]
EVERYTHING = [
    "can_create_tenant",
    "can_create_db",
    "can_scale",
    "can_delete",
    "can_read_credentials",
    "can_manage_keys",
]


def other_account(url: str, *, permissions: list[str] = EVERYTHING) -> str:
    """A second account with a tenant `acme` of its own; answers the token of a key of it."""
    token = new_token()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("insert into organizations (org_id, name) values ('org_other', 'other')")
        connection.execute(
            "insert into api_keys (key_id, org_id, name, scope, permissions, token_sha256)"
            " values ('key_other', 'org_other', 'other', 'account', %s, %s)",
            (permissions, sha256_of(token)),
        )
    return token


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic abc", "Bearer wrong", "bearer spg99_key_x_y"])
async def test_without_a_valid_key_everything_is_401(api: Any, header: str | None) -> None:
    for method, path in (
        ("GET", "/v2/tenants"),
        ("POST", "/v2/tenants"),
        ("GET", "/v2/events"),
        ("GET", "/v2/account"),
    ):
        answer = await api.http.request(method, path, headers={"Authorization": header} if header is not None else {})
        assert answer.status_code == 401
        assert answer.json()["error"] == "Unauthorized"
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_expired_and_revoked_keys_are_refused(make_api: Any) -> None:
    clock = FrozenClock(datetime.now(UTC))
    api = await make_api(clock=clock)
    ends = (clock.now() + timedelta(minutes=5)).isoformat()
    token = await api.key(expires_at=ends)
    assert (await api.call("GET", "/tenants", token=token)).status_code == 200
    clock.advance(seconds=299)
    assert (await api.call("GET", "/tenants", token=token)).status_code == 200
    clock.advance(seconds=2)
    assert (await api.call("GET", "/tenants", token=token)).status_code == 401

    made = await api.ok("POST", "/keys", {"name": "short-lived"})
    assert (await api.call("GET", "/tenants", token=made["token"])).status_code == 200
    assert (await api.call("DELETE", f"/keys/{made['key_id']}")).status_code == 204
    assert (await api.call("GET", "/tenants", token=made["token"])).status_code == 401, "at once where it was revoked"
    assert (await api.call("GET", f"/keys/{made['key_id']}")).status_code == 404


async def test_rotation_with_grace(make_api: Any) -> None:
    clock = FrozenClock(datetime.now(UTC))
    api = await make_api(clock=clock)
    made = await api.ok("POST", "/keys", {"name": "ci"})
    fresh = await api.ok("POST", f"/keys/{made['key_id']}/rotate", {"grace_seconds": 60})
    assert fresh["token"] != made["token"]
    assert fresh["key_id"] == made["key_id"]
    for token in (made["token"], fresh["token"]):
        assert (await api.call("GET", "/tenants", token=token)).status_code == 200
    clock.advance(seconds=61)
    assert (await api.call("GET", "/tenants", token=made["token"])).status_code == 401
    assert (await api.call("GET", "/tenants", token=fresh["token"])).status_code == 200
    assert (await api.ok("GET", f"/keys/{made['key_id']}"))["token"] is None


async def test_rotation_without_grace_refuses_the_old_token_at_once(api: Any) -> None:
    made = await api.ok("POST", "/keys", {"name": "ci"})
    assert (await api.call("GET", "/tenants", token=made["token"])).status_code == 200
    await api.ok("POST", f"/keys/{made['key_id']}/rotate")
    assert (await api.call("GET", "/tenants", token=made["token"])).status_code == 401


async def test_another_process_refuses_a_revoked_key_within_a_second(make_api: Any) -> None:
    one, other = await make_api(), await make_api()
    made = await one.ok("POST", "/keys", {"name": "ci"})
    assert (await other.call("GET", "/tenants", token=made["token"])).status_code == 200
    assert (await one.call("DELETE", f"/keys/{made['key_id']}")).status_code == 204
    refused = time.monotonic()
    while (await other.call("GET", "/tenants", token=made["token"])).status_code != 401:
        assert time.monotonic() - refused < 1.5, "a revoked key works for longer than a second"


@pytest.mark.parametrize(
    ("permission", "method", "path", "body"),
    [
        ("can_create_tenant", "POST", "/tenants", {"name": "new"}),
        ("can_create_tenant", "PATCH", "/tenants/acme", {}),
        ("can_create_tenant", "POST", "/tenants/acme/credentials/rotate", None),
        ("can_create_tenant", "POST", "/tenants/acme/credentials", {}),
        ("can_create_db", "POST", "/tenants/acme/dbs", {"name": "new"}),
        ("can_create_db", "PATCH", "/tenants/acme/dbs/app", {"idle_timeout_seconds": 5}),
        ("can_scale", "PATCH", "/tenants/acme/dbs/app", {"size": "L2"}),
        ("can_scale", "POST", "/tenants/acme/dbs/app/start", None),
        ("can_scale", "POST", "/tenants/acme/dbs/app/stop", None),
        ("can_scale", "POST", "/tenants/acme/dbs/app/scale", {"target_scale": 1}),
        ("can_delete", "DELETE", "/tenants/acme/dbs/app", None),
        ("can_delete", "DELETE", "/tenants/acme", None),
        ("can_manage_keys", "POST", "/keys", {"name": "x"}),
        ("can_manage_keys", "POST", "/account/contact", {"name": "x"}),
    ],
)
async def test_each_permission_is_needed_and_its_lack_is_audited(
    api: Any, url: str, permission: str, method: str, path: str, body: Any
) -> None:
    await api.tenant()
    await api.database()
    without = await api.key(*[p for p in EVERYTHING if p != permission])
    refused = await api.call(method, path, body, token=without)
    assert refused.status_code == 403
    assert refused.json()["error"] == "Forbidden"
    assert refused.json()["details"]["permissions"] == [permission]
    # The same words for what does not exist: a refusal tells nothing.
    if "acme" in path:
        assert (await api.call(method, path.replace("acme", "nobody"), body, token=without)).status_code == 403
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select outcome, metadata->>'code' from audit_logs where outcome = 'refused'"
        ).fetchall()
    assert rows
    assert set(rows) == {("refused", "Forbidden")}
    allowed = await api.call(method, path, body, token=await api.key(permission, name="with"))
    assert allowed.status_code != 403, allowed.text


async def test_a_key_that_may_not_read_credentials_never_sees_one(api: Any) -> None:
    tenant = await api.tenant()
    await api.database()
    token = await api.key(*[p for p in EVERYTHING if p != "can_read_credentials"])
    seen = ""
    for method, path, body in (
        ("GET", "/tenants", None), ("GET", "/tenants/acme", None), ("GET", "/tenants/acme/dbs", None),
        ("GET", "/tenants/acme/credentials", None), ("POST", "/tenants/acme/credentials", {}),
        ("PATCH", "/tenants/acme/credentials", {"rotation_trigger": None}),
        ("GET", "/tenants/acme/dbs/app", None), ("PATCH", "/tenants/acme/dbs/app", {"size": "L2"}),
        ("POST", "/tenants/acme/dbs", {"name": "second"}), ("PATCH", "/tenants/acme", {}),
    ):  # fmt: skip
        seen += (await api.call(method, path, body, token=token)).text
    assert tenant["pg_password"] not in seen
    assert f"postgresql://{tenant['pg_user']}@db.example:6543/app?sslmode=require" in seen
    made = await api.ok("POST", "/tenants", {"name": "blind"}, token=token)
    assert made["pg_password"] is None
    assert ":" not in made["dsn_template"].split("@")[0].removeprefix("postgres://")
    rotated = await api.ok("POST", "/tenants/acme/credentials/rotate", token=token)
    assert rotated["pg_password"] is None


async def test_an_account_sees_only_itself(api: Any, url: str) -> None:
    tenant = await api.tenant()
    database = await api.database()
    key = await api.ok("POST", "/keys", {"name": "mine"})
    operation = await api.ok("DELETE", "/tenants/acme/dbs/app")
    await api.database(name="app2")
    other = other_account(url)
    for path in (
        "/tenants/acme", "/tenants/acme/credentials", "/tenants/acme/dbs", "/tenants/acme/dbs/app2", f"/dbs/{database['db_id']}",
        f"/keys/{key['key_id']}", f"/operations/{operation['op_id']}", "/events?tenant=acme",
    ):  # fmt: skip
        answer = await api.call("GET", path, token=other)
        assert answer.status_code == 404, path
    for method, path, body in (
        ("DELETE", "/tenants/acme", None), ("PATCH", "/tenants/acme/dbs/app2", {"size": "L2"}),
        ("POST", "/tenants/acme/dbs", {"name": "x"}), ("POST", "/tenants/acme/dbs/app2/start", None),
        ("POST", "/tenants/acme/credentials/rotate", None), ("DELETE", f"/keys/{key['key_id']}", None),
        ("POST", f"/keys/{key['key_id']}/rotate", None),
        ("POST", "/keys", {"name": "x", "scope": "tenant", "tenant": "acme"}),
    ):  # fmt: skip
        assert (await api.call(method, path, body, token=other)).status_code == 404, path
    assert (await api.ok("GET", "/tenants", token=other))["items"] == []
    mine = await api.ok("POST", "/tenants", {"name": "acme"}, token=other)
    assert mine["tenant_id"] != tenant["tenant_id"]
    assert (
        await api.call("GET", "/account", token=other, headers={"X-SPG99-Account": "org_default"})
    ).status_code == 404
    assert (await api.ok("GET", "/account", token=other))["account_id"] == "org_other"
    # The key of scope global sees it when it says so.
    seen = await api.ok("GET", "/tenants/acme", headers={"X-SPG99-Account": "org_other"})
    assert seen["tenant_id"] == mine["tenant_id"]
    assert (await api.call("GET", "/tenants", headers={"X-SPG99-Account": "org_nobody"})).status_code == 404


async def test_a_tenant_key_sees_only_its_tenant(api: Any) -> None:
    await api.tenant("acme")
    bolt = await api.tenant("bolt")
    await api.database("acme")
    theirs = await api.database("bolt")
    token = await api.key(*EVERYTHING, scope="tenant", tenant="acme")
    assert [t["name"] for t in (await api.ok("GET", "/tenants", token=token))["items"]] == ["acme"]
    assert (await api.call("GET", "/tenants/acme/dbs/app", token=token)).status_code == 200
    for path in (
        "/tenants/bolt", f"/tenants/{bolt['tenant_id']}", "/tenants/bolt/dbs", "/tenants/bolt/dbs/app", f"/dbs/{theirs['db_id']}",
    ):  # fmt: skip
        assert (await api.call("GET", path, token=token)).status_code == 404
    assert (await api.call("POST", "/tenants", {"name": "new"}, token=token)).status_code == 403
    assert (await api.call("GET", "/account", token=token)).status_code == 403
    assert [k["tenant"] for k in (await api.ok("GET", "/keys", token=token))["items"]] == ["acme"]


async def test_no_key_grants_more_than_it_has(api: Any) -> None:
    await api.tenant("acme")
    await api.tenant("bolt")
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    account = await api.key("can_manage_keys", "can_create_db", name="account")
    tenant = await api.key("can_manage_keys", scope="tenant", tenant="acme", name="tenant")
    ending = await api.key("can_manage_keys", name="ending", expires_at=ends)
    for token, spec in (
        (account, {"permissions": ["can_delete"]}),
        (account, {"scope": "global"}),
        (tenant, {"scope": "account"}),
        (tenant, {"scope": "tenant", "tenant": "acme", "permissions": ["can_create_db"]}),
        (ending, {}),
        (ending, {"expires_at": (datetime.now(UTC) + timedelta(hours=2)).isoformat()}),
    ):
        answer = await api.call("POST", "/keys", {"name": "more", **spec}, token=token)
        assert answer.status_code == 403, (spec, answer.text)
    other = await api.call("POST", "/keys", {"name": "more", "scope": "tenant", "tenant": "bolt"}, token=tenant)
    assert other.status_code == 404
    for token, spec in (
        (account, {"permissions": ["can_create_db"]}),
        (tenant, {"scope": "tenant", "tenant": "acme"}),
        (ending, {"expires_at": ends}),
    ):
        assert (await api.call("POST", "/keys", {"name": "less", **spec}, token=token)).status_code == 201

    stronger = await api.ok("POST", "/keys", {"name": "stronger", "permissions": EVERYTHING})
    for method, path in (("POST", f"/keys/{stronger['key_id']}/rotate"), ("DELETE", f"/keys/{stronger['key_id']}")):
        assert (await api.call(method, path, token=account)).status_code == 403
    admin = next(k for k in (await api.ok("GET", "/keys"))["items"] if k["scope"] == "global")
    for method, path in (("GET", f"/keys/{admin['key_id']}"), ("POST", f"/keys/{admin['key_id']}/rotate")):
        assert (await api.call(method, path, token=account)).status_code == 404


async def test_a_key_is_renamed_and_nothing_else(api: Any) -> None:
    made = await api.ok("POST", "/keys", {"name": "old"})
    assert (await api.ok("PATCH", f"/keys/{made['key_id']}", {"name": "new"}))["name"] == "new"
    refused = await api.call("PATCH", f"/keys/{made['key_id']}", {"permissions": EVERYTHING, "expires_at": None})
    assert refused.status_code == 400
    assert set(refused.json()["details"]["fields"]) == {"permissions", "expires_at"}


async def test_a_key_over_its_rate_waits_and_others_do_not(api: Any, policy: Policy) -> None:
    await policy("api.requests_per_minute", 20, scope="org", scope_id="org_default")
    token, neighbour = await api.key(name="busy"), await api.key(name="calm")
    answers = [await api.call("GET", "/tenants", token=token) for _ in range(25)]
    assert [a.status_code for a in answers][:20] == [200] * 20
    refused = [a for a in answers if a.status_code == 429]
    assert refused
    assert refused[0].json()["error"] == "TooManyRequests"
    assert 1 <= int(refused[0].headers["retry-after"]) <= 4
    assert (await api.call("GET", "/tenants", token=neighbour)).status_code == 200


async def test_deleting_a_tenant_ends_its_keys(api: Any) -> None:
    await api.tenant()
    token = await api.key(scope="tenant", tenant="acme")
    assert (await api.call("GET", "/tenants/acme", token=token)).status_code == 200
    await api.ok("DELETE", "/tenants/acme")
    began = time.monotonic()
    while (await api.call("GET", "/tenants/acme", token=token)).status_code != 401:
        assert time.monotonic() - began < 1.5
        await asyncio.sleep(0.02)


async def test_last_use_is_kept_to_the_minute(api: Any) -> None:
    made = await api.ok("POST", "/keys", {"name": "used"})
    assert made["last_used_at"] is None
    await api.call("GET", "/tenants", token=made["token"])
    await api.app.state.plane.keys.write_last_used()
    used = (await api.ok("GET", f"/keys/{made['key_id']}"))["last_used_at"]
    assert used is not None
    assert datetime.fromisoformat(used).second == 0


async def test_the_token_is_nowhere_but_in_its_answer(api: Any, url: str) -> None:
    made = await api.call("POST", "/keys", {"name": "ci"}, headers={"Idempotency-Key": "one"})
    token = made.json()["token"]
    tenant = await api.call("POST", "/tenants", {"name": "acme"}, headers={"Idempotency-Key": "two"})
    password = tenant.json()["pg_password"]
    with psycopg.connect(url) as connection:
        for (table,) in connection.execute(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
        ).fetchall():
            text = str(connection.execute(f"select t::text from {table} t").fetchall())
            assert token not in text, table
            assert password not in text, table


async def test_the_account_and_its_contact(api: Any) -> None:
    account = await api.ok("GET", "/account")
    assert account["account_id"] == "org_default"
    assert {"email", "name", "company", "plan"} <= account.keys()
    changed = await api.ok("POST", "/account/contact", {"email": "ops@example.com", "company": "Acme"})
    assert (changed["email"], changed["company"], changed["name"]) == ("ops@example.com", "Acme", account["name"])
    assert (await api.call("POST", "/account/contact", {"email": "nobody"})).json()["details"]["fields"].keys() == {
        "email"
    }
    assert (await api.call("POST", "/account/contact", {})).status_code == 400


async def test_a_rotated_token_cannot_outlive_the_key_that_asked_for_it(api: Any) -> None:
    for_ever = await api.ok("POST", "/keys", {"name": "for ever"})
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    short = await api.ok("POST", "/keys", {"name": "short", "permissions": ["can_manage_keys"], "expires_at": ends})
    refused = await api.call("POST", f"/keys/{for_ever['key_id']}/rotate", token=short["token"])
    assert refused.status_code == 403, refused.text
    assert "lives longer" in refused.json()["message"]
    assert (await api.call("POST", f"/keys/{short['key_id']}/rotate", token=short["token"])).status_code == 200


async def test_guesses_from_one_address_cost_no_more_than_so_many_looks_into_the_catalogue(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = await api.key("can_scale")
    await api.ok("GET", "/tenants", token=real)
    looks: list[str] = []
    by_token = keys.by_token

    async def counted(tx: Any, token_sha256: str) -> Any:
        looks.append(token_sha256)
        return await by_token(tx, token_sha256)

    monkeypatch.setattr(keys, "by_token", counted)
    answers = [await api.call("GET", "/tenants", token=f"spg99_key_guess_{n}") for n in range(300)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {401, 429}
    assert len(refused) > 100 and all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert len(looks) == len(answers) - len(refused)
    api.app.state.plane.keys.forget_all()  # a key somewhere has changed
    await api.ok("GET", "/tenants", token=real)
