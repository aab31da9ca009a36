"""Nobody locks the owner out: the last key that can administer the platform stays, and what opens the catalogue is never replaced."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from spg99.control_plane import bootstrap
from spg99.control_plane.store import Store
from spg99.resources import Permission

ADMINISTRATOR = ("can_admin_platform", "can_manage_keys")
EVERYTHING = tuple(permission.value for permission in Permission)


async def admin_id(api: Any) -> str:
    (found,) = [key for key in (await api.ok("GET", "/keys"))["items"] if key["name"] == "admin"]
    return str(found["key_id"])


async def make(api: Any, *permissions: str, **spec: Any) -> Any:
    return await api.ok(
        "POST", "/keys", {"name": "second", "scope": "global", "permissions": list(permissions), **spec}
    )


async def test_the_last_key_that_can_administer_is_not_revoked(api: Any) -> None:
    refused = await api.call("DELETE", f"/keys/{await admin_id(api)}")
    assert refused.status_code == 409, refused.text
    body = refused.json()
    assert body["error"] == "Conflict"
    assert "is the last that can administer this platform" in body["message"]
    assert "Make a second one first" in body["message"]
    assert body["details"]["key_id"] == await admin_id(api)
    assert (await api.call("GET", "/account")).status_code == 200, "it still works"


@pytest.mark.parametrize(
    ("permissions", "spec"),
    [
        (("can_admin_platform",), {}),
        (("can_manage_keys",), {}),
        (ADMINISTRATOR, {"scope": "account"}),
        (ADMINISTRATOR, {"expires_at": (datetime.now(UTC) + timedelta(days=30)).isoformat()}),
    ],
    ids=["cannot make keys", "cannot administer", "of one account", "ends in a month"],
)
async def test_another_key_that_is_not_one_does_not_count(api: Any, permissions: Any, spec: Any) -> None:
    await make(api, *permissions, **spec)
    refused = await api.call("DELETE", f"/keys/{await admin_id(api)}")
    assert refused.status_code == 409, refused.text
    if "expires_at" in spec:
        assert "The others end, the last of them ('second') at" in refused.json()["message"]


async def test_a_revoked_key_does_not_count_and_a_second_one_does(api: Any) -> None:
    second = await make(api, *ADMINISTRATOR)
    assert (await api.call("DELETE", f"/keys/{second['key_id']}")).status_code == 204
    assert (await api.call("DELETE", f"/keys/{await admin_id(api)}")).status_code == 409
    third = await make(api, *ADMINISTRATOR)
    assert (await api.call("DELETE", f"/keys/{await admin_id(api)}")).status_code == 204
    assert (await api.call("DELETE", f"/keys/{third['key_id']}", token=third["token"])).status_code == 409


async def test_two_who_revoke_each_others_key_at_once_leave_one(api: Any) -> None:
    for _ in range(5):
        second = await make(api, *EVERYTHING)
        first_id = await admin_id(api)
        answers = await asyncio.gather(
            api.call("DELETE", f"/keys/{first_id}", token=second["token"]),
            api.call("DELETE", f"/keys/{second['key_id']}"),
        )
        assert sorted(a.status_code for a in answers) in ([204, 409], [204, 401])
        assert [a.status_code for a in answers].count(204) == 1, "one of them stays, whoever was faster"
        if answers[0].status_code == 204:  # the admin's own is gone: from here on the other one is the admin
            return


async def test_any_other_key_is_revoked_as_before(api: Any) -> None:
    other = await make(api, "can_manage_keys", "can_scale")
    assert (await api.call("DELETE", f"/keys/{other['key_id']}")).status_code == 204


async def test_a_new_admin_key_is_made_beside_the_catalogue(api: Any, url: str, tmp_path: Path) -> None:
    """What `spg99 keys recover` does: nobody is asked for a key, the audit log knows, the file holds the new token."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as owner:
        await owner.execute("update api_keys set revoked_at = now()")  # whatever happened, it happened
        store = Store(url, pool_size=2)
        await store.open()
        token = await bootstrap.recover_admin_key(store, data_dir=tmp_path)
        file = tmp_path / "secrets" / "admin.key"
        assert file.read_text().strip() == token
        assert file.stat().st_mode & 0o777 == 0o600
        made = await api.ok("GET", "/keys", token=token)
        assert [key["name"] for key in made["items"]] == ["admin"]
        await api.ok("POST", "/tenants", {"name": "acme"}, token=token)
        found = await owner.execute("select actor, metadata ->> 'scope' from audit_logs where action = 'key.recover'")
        assert await found.fetchall() == [("system", "global")]
        # The next start finds its key and makes none.
        kept, is_new = bootstrap.admin_token(tmp_path)
        await bootstrap.bootstrap(store, admin_token=kept, is_new=is_new)
        assert len((await api.ok("GET", "/keys", token=token))["items"]) == 1
        await store.close()


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_token_that_was_rotated_away_does_not_come_back_with_the_next_start(
    api: Any, url: str, times: int
) -> None:
    before = fresh = api.admin_token
    key_id = await admin_id(api)
    for _ in range(times):
        rotated = await api.ok("POST", f"/keys/{key_id}/rotate", {"grace_seconds": 0}, token=fresh)
        fresh = rotated["token"]
    await start_again(url, before)
    assert (await api.call("GET", "/account", token=before)).status_code == 401
    assert (await api.call("GET", "/account", token=fresh)).status_code == 200


async def test_the_token_of_a_key_that_went_with_its_tenant_does_not_come_back_either(api: Any, url: str) -> None:
    """Nothing of it is in the catalogue any more."""
    token = (await make(api, *ADMINISTRATOR))["token"]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as owner:
        await owner.execute("delete from api_keys where name = 'second'")
    await start_again(url, token)
    assert [key["name"] for key in (await api.ok("GET", "/keys"))["items"]] == ["admin"]


async def test_a_missing_file_gets_a_key_at_the_next_start(api: Any, url: str, tmp_path: Path) -> None:
    token, is_new = bootstrap.admin_token(tmp_path)
    await start_again(url, token, is_new=is_new)
    assert (await api.call("GET", "/account", token=token)).status_code == 200


async def start_again(url: str, token: str, **how: bool) -> None:
    store = Store(url, pool_size=2)
    await store.open()
    await bootstrap.bootstrap(store, admin_token=token, **how)
    await store.close()


def test_a_missing_secret_key_is_not_replaced(cluster18: Any, control_plane: Any, tmp_path: Path) -> None:
    url = cluster18.database()
    with control_plane(tmp_path, url) as plane:
        plane.http.post("/tenants", json={"name": "acme"}).raise_for_status()
    key = tmp_path / "secrets" / "catalogue.key"
    kept = key.read_bytes()
    key.unlink()
    with pytest.raises(AssertionError, match="is missing, and the credentials in the catalogue"):
        control_plane(tmp_path, url)
    assert not key.exists(), "nothing is put in its place"
    key.write_bytes(kept)
    with control_plane(tmp_path, url) as plane:
        assert plane.http.get("/tenants/acme/credentials").json()["password"]
