"""Who declares which object: noted at create, moved by a change, noted beside it at a read, gone with the object; for every noun."""

from __future__ import annotations

from typing import Any

import pytest

from spg99.declarer import HEADER, Declarer
from spg99.resources import NOUNS, Resource

DEV = Declarer("pulumi-dynamic", "pulumi:shop/dev", "urn:pulumi:dev::shop::x:index:Thing::Größe")
PROD = Declarer("terraform", "terraform:s3:states/shop@prod")

# How an object of each noun is made (path, body), changed, and ended. A new noun needs its line.
LIVES: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "tenant": ("/tenants", {"name": "globex"}, {}, "/tenants/globex"),
    "database": ("/tenants/acme/dbs", {"name": "app"}, {"idle_timeout_seconds": 60}, "/tenants/acme/dbs/app"),
    "api_key": ("/keys", {"name": "ci", "permissions": []}, {"name": "other"}, "/keys/{key_id}"),
    "snapshot": (
        "/tenants/acme/snapshots",
        {"name": "s", "database": "app"},
        {"expires_at": "2031-01-01T00:00:00Z"},
        "/tenants/acme/snapshots/s",
    ),
    "snapshot_schedule": (
        "/tenants/acme/schedules",
        {"name": "nightly", "database": "app", "cron": "@daily"},
        {"keep": 3},
        "/tenants/acme/schedules/nightly",
    ),
    "tenant_credentials": ("/tenants/acme/credentials", {}, {"rotation_trigger": "2"}, "/tenants/acme/credentials"),
}


def by(declarer: Declarer) -> dict[str, str]:
    return {HEADER: declarer.header()}


async def declared(api: Any, **params: Any) -> list[dict[str, Any]]:
    token = params.pop("token", None)
    found: list[dict[str, Any]] = (await api.ok("GET", "/declarations", params=params, token=token))["items"]
    return found


@pytest.fixture
def creatable() -> dict[str, type[Resource]]:
    return {noun.NOUN: noun for noun in NOUNS}


def test_every_noun_that_can_be_made_has_its_line(creatable: dict[str, type[Resource]]) -> None:
    assert LIVES.keys() == creatable.keys()


@pytest.mark.parametrize("noun", sorted(LIVES))
async def test_an_object_is_declared_by_who_makes_it_then_by_who_changes_it(
    api: Any, noun: str, creatable: dict[str, type[Resource]], was_started: Any
) -> None:
    await api.tenant("acme")
    if noun.startswith("snapshot"):
        await api.database()
        await was_started("app")
    collection, body, changes, item = LIVES[noun]
    made = await api.ok("POST", collection, body, headers=by(DEV))
    item = item.format(**made)
    kind = creatable[noun]
    (row,) = await declared(api)
    assert row == {
        "noun": noun,
        "id": kind.ID_FORMAT.format(**made),
        "uid": made[kind.UID_FIELD],
        "tool": DEV.tool,
        "state": DEV.state,
        "resource": DEV.resource,
        "by_this_key": True,
        "also_known_to": None,
        "also_known_at": None,
        "declared_at": row["declared_at"],
    }
    # Reading by the same, and by somebody who does not say, changes nothing.
    await api.ok("GET", item, headers=by(DEV))
    await api.ok("GET", item)
    assert await declared(api) == [row]
    # An import only reads: it is noted beside who declares it.
    await api.ok("GET", item, headers=by(PROD))
    (known,) = await declared(api)
    assert (known["state"], known["also_known_to"]) == (DEV.state, PROD.state)
    assert known["also_known_at"] is not None
    # A change without the header is nobody's.
    await api.ok("PATCH", item, changes)
    assert await declared(api) == [known]
    await api.ok("PATCH", item, changes, headers=by(PROD))
    (taken,) = await declared(api)
    assert (taken["tool"], taken["state"], taken["resource"]) == (PROD.tool, PROD.state, None)
    assert (taken["also_known_to"], taken["also_known_at"]) == (None, None)
    assert await declared(api, state=DEV.state) == []
    assert await declared(api, state=PROD.state) == [taken]
    await api.ok("DELETE", item)
    assert await declared(api) == []


async def test_what_belongs_to_a_tenant_goes_with_it(api: Any) -> None:
    await api.ok("POST", "/tenants", {"name": "acme"}, headers=by(DEV))
    await api.ok("POST", "/tenants", {"name": "stays"}, headers=by(DEV))
    await api.ok("POST", "/tenants/acme/dbs", {"name": "app"}, headers=by(DEV))
    await api.ok("POST", "/tenants/acme/credentials", {}, headers=by(DEV))
    key = {"name": "k", "scope": "tenant", "tenant": "acme", "permissions": []}
    await api.ok("POST", "/keys", key, headers=by(DEV))
    assert len(await declared(api)) == 5
    await api.ok("DELETE", "/tenants/acme", params={"cascade": "true"})
    assert [row["id"] for row in await declared(api)] == ["stays"]


async def test_a_change_of_an_object_that_nobody_declared_declares_it(api: Any) -> None:
    await api.tenant()
    await api.database()
    assert await declared(api) == []
    await api.ok("GET", "/tenants/acme/dbs/app", headers=by(DEV))
    assert await declared(api) == [], "a read declares nothing"
    await api.ok("PATCH", "/tenants/acme/dbs/app", {"idle_timeout_seconds": 60}, headers=by(DEV))
    assert [(row["id"], row["state"]) for row in await declared(api)] == [("acme/app", DEV.state)]


async def test_a_replayed_create_keeps_its_declarer_and_a_refused_one_leaves_none(api: Any) -> None:
    once = {"Idempotency-Key": "once"}
    await api.ok("POST", "/tenants", {"name": "acme"}, headers=by(DEV) | once)
    # The header is no part of the request: a client that says it since its upgrade, or otherwise, is answered the same.
    for again in (by(PROD) | once, once):
        answer = await api.call("POST", "/tenants", {"name": "acme"}, headers=again)
        assert (answer.status_code, answer.headers.get("idempotency-replayed")) == (201, "true")
    assert [row["state"] for row in await declared(api)] == [DEV.state]
    assert (await api.call("POST", "/tenants", {"name": "acme"}, headers=by(PROD))).status_code == 409
    assert [row["state"] for row in await declared(api)] == [DEV.state]
    withdrawn = {"Idempotency-Key": "late", "Idempotency-Replay-Only": "withdraw"}
    assert (await api.call("POST", "/tenants", {"name": "late"}, headers=by(DEV) | withdrawn)).status_code == 404
    assert len(await declared(api)) == 1


async def test_a_key_sees_what_its_lists_show(api: Any, url: str) -> None:
    from tests.integration.control_plane.serving.test_keys_and_rights import other_account

    for tenant in ("acme", "globex"):
        await api.ok("POST", "/tenants", {"name": tenant}, headers=by(DEV))
        await api.ok("POST", f"/tenants/{tenant}/dbs", {"name": "app"}, headers=by(DEV))
    await api.ok("POST", "/keys", {"name": "g", "scope": "global", "permissions": []}, headers=by(DEV))
    theirs = other_account(url)
    await api.ok("POST", "/tenants", {"name": "acme"}, token=theirs, headers=by(DEV))
    whole = await api.key(name="whole", scope="account")
    bound = await api.key(name="bound", scope="tenant", tenant="globex")
    assert [row["noun"] for row in await declared(api)].count("api_key") == 1
    # A key of an account does not see keys of the platform; none of them was made with it.
    seen = await declared(api, token=whole)
    assert [row["id"] for row in seen] == ["acme", "acme/app", "globex", "globex/app"]
    assert {row["by_this_key"] for row in seen} == {False}
    assert [row["id"] for row in await declared(api, token=bound)] == ["globex", "globex/app"]
    assert [(row["id"], row["by_this_key"]) for row in await declared(api, token=theirs)] == [("acme", True)]


async def test_pages_hold_every_object_once(api: Any) -> None:
    for number in range(7):
        await api.ok("POST", "/tenants", {"name": f"t{number}"}, headers=by(DEV))
        await api.ok("POST", f"/tenants/t{number}/credentials", {}, headers=by(DEV))  # the same human id
    found: list[tuple[str, str]] = []
    cursor = None
    while True:
        params = {"limit": 3, "state": DEV.state} | ({"cursor": cursor} if cursor else {})
        page = await api.ok("GET", "/declarations", params=params)
        found += [(row["noun"], row["id"]) for row in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    expected = {(noun, f"t{number}") for number in range(7) for noun in ("tenant", "tenant_credentials")}
    assert len(found) == 14
    assert set(found) == expected


@pytest.mark.parametrize(
    "header",
    [
        "", "x", "tool=a", "state=b", "tool=&state=b", "tool=a&state=b&state=c", "tool=a&state=%00", "tool=a&state=%ff",
        f"tool=a&state={'s' * 256}", f"tool={'t' * 41}&state=b", f"tool=a&state=b&resource={'r' * 1025}",
    ],
)  # fmt: skip
async def test_a_header_that_says_nothing_is_refused_and_nothing_is_made(api: Any, header: str) -> None:
    answer = await api.call("POST", "/tenants", {"name": "acme"}, headers={HEADER: header})
    assert answer.status_code == 400, answer.text
    assert HEADER in answer.json()["message"]
    assert (await api.ok("GET", "/tenants"))["items"] == []
