"""A tenant's credentials as one declares them: managed once, rotated by a trigger, brought, released; secrets stay secret."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import psycopg
import pytest

from kit.waits import until
from spg99.bridges.shared.operations import Operations
from spg99.client import Client
from spg99.errors import Conflict
from spg99.prepared import PACKAGE
from spg99.resources import Permission
from spg99.wire.scram import build_verifier, parse_verifier

PATH = "/tenants/acme/credentials"
OWN = "Träume sind Schäume 4711"


@pytest.fixture
async def tenant(api: Any) -> Any:
    return await api.tenant()


def is_verifier_of(url: str, password: str) -> bool:
    with psycopg.connect(url) as connection:
        row = connection.execute("select scram_verifier from tenants").fetchone()
    assert row is not None
    kept = parse_verifier(row[0])
    return build_verifier(password, salt=kept.salt, iterations=kept.iterations) == row[0]


async def test_declaring_manages_and_changes_no_password(api: Any, tenant: Any, url: str) -> None:
    before = await api.ok("GET", PATH)
    assert (before["state"], before["credentials_id"], before["rotated_at"]) == (
        "unmanaged", None, tenant["created_at"],
    )  # fmt: skip
    made = await api.call("POST", PATH, {"rotation_trigger": "2026-01"})
    assert made.status_code == 201
    assert made.headers["location"] == f"/v2{PATH}"
    body = made.json()
    assert body["credentials_id"].startswith("crd_")
    assert body | {"state": "unmanaged", "credentials_id": None, "rotation_trigger": None} == before
    assert body["password"] == body["pg_password"] == tenant["pg_password"]
    assert is_verifier_of(url, tenant["pg_password"])
    read = await api.call("GET", PATH)
    assert (read.json(), read.headers["etag"]) == (body, made.headers["etag"])
    again = await api.call("POST", PATH, {})
    assert again.status_code == 409
    assert again.json()["details"] == {"tenant": "acme", "credentials_id": body["credentials_id"]}


async def test_another_trigger_makes_another_password_and_the_same_none(api: Any, tenant: Any, url: str) -> None:
    first = await api.ok("POST", PATH, {"rotation_trigger": "1"})
    same = await api.ok("PATCH", PATH, {"rotation_trigger": "1"})
    assert same == first
    second = await api.ok("PATCH", PATH, {"rotation_trigger": "2"})
    assert second["password"] != tenant["pg_password"]
    assert second["credential_version"] == first["credential_version"] + 1
    assert second["rotated_at"] > first["rotated_at"]
    assert is_verifier_of(url, second["password"])
    assert not is_verifier_of(url, tenant["pg_password"])
    assert second["password"] in (await api.ok("GET", "/tenants/acme"))["dsn_template"]
    without = await api.ok("PATCH", PATH, {"rotation_trigger": None})
    assert (without["rotation_trigger"], without["password"]) == (None, second["password"])
    # Everybody's own rotation works beside it.
    rotated = await api.ok("POST", f"{PATH}/rotate")
    assert (rotated["state"], rotated["credential_version"]) == ("managed", 3)


async def test_a_password_of_ones_own(api: Any, tenant: Any, url: str) -> None:
    made = await api.ok("POST", PATH, {"pg_password": OWN})
    assert (made["password"], made["credential_version"]) == (OWN, 2)
    assert is_verifier_of(url, OWN)
    assert (await api.ok("PATCH", PATH, {"pg_password": OWN}))["credential_version"] == 2
    assert (await api.ok("PATCH", PATH, {"pg_password": None}))["password"] == OWN
    other = await api.ok("PATCH", PATH, {"pg_password": "another password"})
    assert (other["password"], other["credential_version"]) == ("another password", 3)
    # A trigger and a password at once: the password that was brought is the password.
    both = await api.ok("PATCH", PATH, {"pg_password": "a third password", "rotation_trigger": "x"})
    assert (both["password"], both["credential_version"]) == ("a third password", 4)
    random = await api.ok("PATCH", PATH, {"rotation_trigger": "y"})
    assert random["password"] not in (OWN, "another password", "a third password")


async def test_a_password_that_clients_could_not_send_is_refused_on_its_field(api: Any, tenant: Any) -> None:
    refused = (
        "short", "x" * 11, "x" * 257, "tab\tin the middle", "new\nline in it", "\u00ad" * 11 + "x", "private \ue000 use area",
        "soft\u00adhyphen in it", "combined e\u0301 in it", "emoji 🐎 in it here",
    )  # fmt: skip
    await api.ok("POST", PATH, {})
    for password in refused:
        for method in ("POST", "PATCH"):
            answer = await api.call(method, PATH, {"pg_password": password})
            assert answer.status_code == 400, answer.text
            assert set(answer.json()["details"]["fields"]) == {"pg_password"}
            assert password not in answer.text
    assert (await api.ok("GET", PATH))["credential_version"] == 1


async def test_every_bad_field_at_once(api: Any, tenant: Any) -> None:
    answer = await api.call(
        "POST", PATH, {"pg_password": "short", "rotation_triger": "x", "password": "y", "tenant": "acme"}
    )
    fields = answer.json()["details"]["fields"]
    assert set(fields) == {"pg_password", "rotation_triger", "password", "tenant"}
    assert fields["rotation_triger"] == "unknown field; did you mean 'rotation_trigger'?"
    assert fields["password"] == "is set by the system"


async def test_releasing_leaves_the_password(api: Any, tenant: Any) -> None:
    for method in ("PATCH", "DELETE"):
        assert (await api.call(method, PATH, {})).status_code == 404
    made = await api.ok("POST", PATH, {"pg_password": OWN})
    assert (await api.call("DELETE", PATH, params={"uid": "crd_another"})).status_code == 404
    assert (await api.call("DELETE", PATH, params={"uid": made["credentials_id"]})).status_code == 204
    left = await api.ok("GET", PATH)
    assert (left["state"], left["credentials_id"], left["password"]) == ("unmanaged", None, OWN)
    assert (await api.call("DELETE", PATH)).status_code == 404
    anew = await api.ok("POST", PATH, {})
    assert anew["credentials_id"] != made["credentials_id"]


async def test_if_match_keeps_two_programs_apart(api: Any, tenant: Any) -> None:
    await api.ok("POST", PATH, {})
    etag = (await api.call("GET", PATH)).headers["etag"]
    answers = await asyncio.gather(
        *(api.call("PATCH", PATH, {"rotation_trigger": str(i)}, headers={"If-Match": etag}) for i in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]
    assert (await api.call("DELETE", PATH, headers={"If-Match": etag})).status_code == 412
    assert (await api.ok("GET", PATH))["credential_version"] == 2


async def test_many_at_once_manage_once(api: Any, tenant: Any) -> None:
    answers = await asyncio.gather(*(api.call("POST", PATH, {"pg_password": f"password number {i}"}) for i in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
    assert (await api.ok("GET", PATH))["credential_version"] == 2


async def test_rights(api: Any, tenant: Any) -> None:
    may_change = await api.key("can_create_tenant", name="change")
    may_read = await api.key("can_read_credentials", name="read")
    for method in ("POST", "PATCH", "DELETE"):
        refused = await api.call(method, PATH, {"pg_password": OWN}, token=may_read)
        assert refused.json()["details"]["permissions"] == ["can_create_tenant"]
    made = await api.ok("POST", PATH, {"pg_password": OWN}, token=may_change)
    assert made["password"] is made["pg_password"] is None
    assert OWN not in str(made)
    # What it may declare it may look at, as it may at a tenant: everything but the password.
    seen = await api.ok("GET", PATH, token=may_change)
    assert seen == made
    assert seen["dsn_template"] == f"postgres://{tenant['pg_user']}@db.example:6543/<db-name>?sslmode=require"
    assert (await api.ok("GET", PATH, token=may_read))["password"] == OWN
    elsewhere = await api.key("can_create_tenant", name="t", scope="tenant", tenant="acme")
    await api.tenant("bolt")
    assert (await api.call("POST", "/tenants/bolt/credentials", {}, token=elsewhere)).status_code == 404


async def test_it_ends_with_its_tenant(api: Any, tenant: Any) -> None:
    await api.ok("POST", PATH, {})
    await api.ok("DELETE", "/tenants/acme")

    async def is_gone() -> bool:
        return (await api.call("GET", PATH)).status_code == 404

    await until("it to be gone", is_gone)
    assert (await api.call("POST", PATH, {})).status_code == 404


async def test_events_and_audit_tell_of_it(api: Any, tenant: Any, url: str) -> None:
    made = await api.ok("POST", PATH, {"pg_password": OWN})
    await api.ok("PATCH", PATH, {"rotation_trigger": "1"})
    await api.ok("DELETE", PATH)
    with psycopg.connect(url) as connection:
        told = connection.execute(
            "select event_type, envelope->'payload'->'credential_version' from outbox_events where subject = %s order by event_seq",
            [made["credentials_id"]],
        ).fetchall()
        audited = connection.execute(
            "select action from audit_logs where action ~ 'credentials' order by audit_id"
        ).fetchall()
    assert told == [
        ("credentials.created", 1), ("credentials.updated", 2), ("credentials.updated", 2), ("credentials.updated", 3),
        ("credentials.deleted", 3),
    ]  # fmt: skip
    assert [action for (action,) in audited] == [
        "credentials.create", "tenant.rotate_credentials", "credentials.update", "tenant.rotate_credentials",
        "credentials.delete",
    ]  # fmt: skip


async def test_a_repeat_answers_the_same_and_the_password_stands_nowhere(api: Any, tenant: Any, url: str) -> None:
    sent = {"pg_password": OWN, "rotation_trigger": "1"}
    first = await api.call("POST", PATH, sent, headers={"Idempotency-Key": "k"})
    again = await api.call("POST", PATH, sent, headers={"Idempotency-Key": "k"})
    assert first.status_code == 201
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
    other = await api.call("POST", PATH, sent | {"pg_password": OWN + "!"}, headers={"Idempotency-Key": "k"})
    assert other.status_code == 409
    assert OWN not in other.text
    await api.ok("PATCH", PATH, {"pg_password": OWN + "?"})
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "select table_name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'"
        ).fetchall()
        everything = "".join(
            str(row)
            for (name,) in names
            for row in connection.execute(f"select t::text from {name} t").fetchall()  # type: ignore[arg-type, str-bytes-safe]
        )
        digest = connection.execute("select request_sha256 from idempotency_keys").fetchone()
    assert tenant["pg_user"] in everything
    for form in (OWN, OWN.encode().hex()):
        assert form not in everything
    # Nor is the digest of the request one that anybody could try passwords on.
    assert digest is not None
    assert digest[0] != plain_digest(sent)


def plain_digest(body: dict[str, Any]) -> str:
    """What the request's digest was if the password went into it as it is."""
    parts = ["POST", f"/v2{PATH}", [], body, ["org_default", "global", None, True, sorted(Permission)]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


async def test_a_bridge_lives_a_whole_life_with_them(api: Any, tenant: Any) -> None:
    """What the bridges share, on the real API: create after a lost answer, update, released outside, delete twice."""
    noun = PACKAGE.noun_named("tenant_credentials")
    assert noun is not None
    assert [field.name for field in noun.write_only()] == ["pg_password"]
    bridge = Operations(Client(f"{api.base_url}/v2", api.admin_token))
    try:
        inputs = {"tenant": "acme", "rotation_trigger": "1", "pg_password": OWN}
        human_id, made, was_there = await bridge.create(noun, inputs, declaration="urn")
        assert (human_id, made["password"], made["state"], was_there) == ("acme", OWN, "managed", False)
        assert await bridge.create(noun, inputs, declaration="urn") == (human_id, made, True)
        with pytest.raises(Conflict, match="exists already"):
            await bridge.create(noun, inputs, declaration="another urn")
        found = await bridge.read(noun, "acme", old=made, old_inputs=inputs)
        assert found is not None
        assert "pg_password" not in found.values
        for turn in range(2):  # the second time it is as wanted already
            wanted = inputs | {"rotation_trigger": "2"}
            now = await bridge.update(noun, "acme", old=made, new_inputs=wanted, old_inputs=inputs)
            assert now["credential_version"] == 3, turn
        assert now["password"] != OWN
        await bridge.delete(noun, "acme", old=now)
        await bridge.delete(noun, "acme", old=now)
        assert await bridge.read(noun, "acme", old=now, old_inputs=inputs) is None
        _, again, _ = await bridge.create(noun, {"tenant": "acme"}, declaration="urn")
        assert again["credentials_id"] != made["credentials_id"]
        assert again["password"] == now["password"]
    finally:
        await bridge.aclose()


async def test_a_key_without_the_right_to_read_declares_rotates_and_releases(api: Any, tenant: Any, url: str) -> None:
    noun = PACKAGE.noun_named("tenant_credentials")
    assert noun is not None
    bridge = Operations(Client(f"{api.base_url}/v2", await api.key("can_create_tenant", name="blind")))
    try:
        inputs = {"tenant": "acme", "rotation_trigger": "1", "pg_password": OWN}
        _, made, _ = await bridge.create(noun, inputs, declaration="urn")
        assert (made["password"], made["state"]) == (None, "managed")
        assert OWN not in str(made) and is_verifier_of(url, OWN)
        assert ":" not in made["dsn_template"].split("@")[0].removeprefix("postgres://")
        found = await bridge.read(noun, "acme", old={})
        assert found is not None and found.values["credentials_id"] == made["credentials_id"]
        now = await bridge.update(
            noun, "acme", old=made, new_inputs=inputs | {"rotation_trigger": "2"}, old_inputs=inputs
        )
        assert now["credential_version"] == made["credential_version"] + 1
        await bridge.delete(noun, "acme", old=now)
    finally:
        await bridge.aclose()
    assert (await api.ok("GET", PATH))["state"] == "unmanaged"


async def test_credentials_released_meanwhile_are_declared_at_once(api: Any, tenant: Any) -> None:
    class ReleasedMeanwhile(Client):
        async def make(self, *ask: Any, **more: Any) -> Any:
            try:
                return await super().make(*ask, **more)
            except Conflict:
                await api.ok("DELETE", PATH)
                raise

    noun = PACKAGE.noun_named("tenant_credentials")
    assert noun is not None
    await api.ok("POST", PATH, {})
    bridge = Operations(ReleasedMeanwhile(f"{api.base_url}/v2", api.admin_token))
    try:
        async with asyncio.timeout(10):
            _, made, _ = await bridge.create(noun, {"tenant": "acme"}, declaration="urn")
            assert made["state"] == "managed"
            await api.ok("DELETE", PATH)
            await bridge.delete(noun, "acme", old={})  # only the name is known, as after an import
    finally:
        await bridge.aclose()
