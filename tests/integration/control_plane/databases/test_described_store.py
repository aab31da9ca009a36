"""The object store describes tenants and databases, a catalogue is made anew from that, and what a deleted tenant had is destroyed. Not here: the same with real
processes (integration/commands/test_storage_recover.py)."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from integration.control_plane.databases.scripted import Agent, Gateway
from integration.control_plane.databases.test_safekeepers import enrolled
from spg99.config import ControlPlaneSettings
from spg99.control_plane import recovery
from spg99.control_plane.databases import rows as databases
from spg99.control_plane.databases.describing import Describer
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.storage import (
    DatabaseDescribed,
    Installation,
    Shredder,
    StoreAccess,
    TenantDescribed,
    descriptions,
)
from spg99.control_plane.tenants import rows as tenants
from spg99.control_plane.tenants.passwords import new_password
from spg99.control_plane.tenants.rows import TenantRow
from spg99.errors import Conflict, Damaged, Forbidden, NotFound, StoreUnavailable
from spg99.images import MasterKeyFile, TenantKeys, open_keys
from spg99.objects import FolderStore, require_installation
from spg99.processes import WatchedClock
from spg99.protocol import Enrolment
from spg99.protocol.safekeeper import SafekeeperHeartbeat


class Room:
    """A Control Plane with an object store in its data folder, as agents have left it."""

    def __init__(self, platform: InProcessPlatform, data_dir: Path) -> None:
        self.platform, self.data_dir = platform, data_dir
        self.settings = ControlPlaneSettings(data_dir=data_dir)
        self.objects = FolderStore(Path(self.settings.object_store_place))
        self.access = StoreAccess(self.settings)
        self.describer = Describer(platform.store, platform.box, self.access, Installation())
        clock = WatchedClock(platform.clock, platform.clock.monotonic)
        self.shredder = Shredder(platform.store, clock, self.access, Installation(), None)
        self.keys: TenantKeys

    async def begin(self) -> None:
        (row,) = await self.platform.sql("select installation_id from installation")
        await require_installation(self.objects, row["installation_id"])
        self.keys = await open_keys(self.objects, self.settings.master_keys_path)
        await self.keys.get_or_make(self.platform.tenant.tenant_id)

    async def tenant(self, tenant_id: str | None = None) -> TenantDescribed:
        tenant_id = tenant_id or self.platform.tenant.tenant_id
        key = await self.keys.get(tenant_id)
        return await descriptions.read(self.objects, key, descriptions.key_of_tenant(tenant_id), TenantDescribed)

    async def database(self, row: DatabaseRow) -> DatabaseDescribed:
        key = await self.keys.get(row.tenant_id)
        place = descriptions.key_of_timeline(row.tenant_id, row.timeline_id)
        return await descriptions.read(self.objects, key, place, DatabaseDescribed)

    async def all_keys(self, prefix: str = "") -> list[str]:
        return [entry.key async for entry in self.objects.entries(prefix)]

    async def lose_the_catalogue(self) -> None:
        names = "tenants, databases, timelines, stored_tenants, nodes, safekeepers, computes, leases, node_tasks, projects, gateways, installation"
        await self.platform.sql(f"truncate {names} cascade")
        await self.platform.sql("insert into installation (installation_id) values ('ins_another')")

    async def recover(self) -> recovery.Contents:
        contents = await recovery.read_store(self.objects, self.keys)
        await recovery.recover(self.platform.store, contents, self.platform.box)
        return contents


@pytest_asyncio.fixture
async def room(platform: InProcessPlatform, data_dir: Path) -> AsyncIterator[Room]:
    await enrolled(platform)
    await platform.set_policy("storage.safekeepers", 1)
    await Agent.enroll(platform)
    room = Room(platform, data_dir)
    await room.begin()
    yield room
    await room.access.close()
    await room.objects.close()


async def test_what_is_so_is_described_and_what_changes_is_described_again(room: Room) -> None:
    row = await room.platform.create_used(size="L2", idle_timeout_seconds=17)
    await room.describer.turn()
    tenant, database = await room.tenant(), await room.database(row)
    assert (tenant.name, tenant.pg_user, tenant.organization.org_id) == ("acme", row.pg_user, row.org_id)
    assert (database.name, database.size, database.idle_timeout_seconds, database.has_started) == (
        "app",
        "L2",
        17,
        True,
    )
    assert list(database.safekeepers.values()) == ["sk-1"] and database.node_name is not None
    await room.platform.change(row.db_id, size="L3")
    async with room.platform.store.transaction() as tx:
        before = await tenants.by_id(tx, row.tenant_id)
        assert before is not None
        await tenants.rotate(tx, before, new_password(), room.platform.box, SYSTEM)
    await room.describer.turn()
    assert (await room.database(row)).size == "L3"
    rotated = await room.tenant()
    assert rotated.password != tenant.password and rotated.credential_version == tenant.credential_version + 1


async def test_secrets_are_not_to_be_read_in_the_store(room: Room) -> None:
    await room.platform.create_used("a_name_to_find")
    await room.describer.turn()
    tenant = await room.tenant()
    everything = b"".join([(await room.objects.get(key)).content for key in await room.all_keys()])
    for secret in (tenant.password, tenant.scram_verifier, tenant.pg_user, "a_name_to_find"):
        assert secret.encode() not in everything
    assert tenant.password not in repr(tenant) and tenant.scram_verifier not in repr(tenant)


async def test_a_wake_costs_the_store_nothing(room: Room) -> None:
    row = await room.platform.create_used()
    await room.describer.turn()
    written = {entry.key: entry.modified_at async for entry in room.objects.entries("catalogue/")}
    gateway = await Gateway.enroll(room.platform)
    await gateway.connect()
    assert (await room.platform.row(row.db_id) or row).writer_term > row.writer_term
    await room.describer.turn()
    assert {entry.key: entry.modified_at async for entry in room.objects.entries("catalogue/")} == written


async def test_databases_without_safekeepers_are_not_described(room: Room) -> None:
    await room.platform.set_policy("storage.safekeepers", 0)
    await room.platform.create_used()
    await room.describer.turn()
    assert await room.all_keys("catalogue/") == []


async def test_one_that_is_deleted_is_not_described_any_more(room: Room) -> None:
    row = await room.platform.create_used()
    await room.describer.turn()
    await room.platform.delete(row.db_id, force=True)
    await room.platform.is_gone(row.db_id)
    await room.describer.turn()
    assert await room.all_keys("catalogue/") == [descriptions.key_of_tenant(row.tenant_id)]
    (timeline,) = await room.platform.sql("select described, description_key from timelines")
    assert timeline == {"described": None, "description_key": None}


async def test_a_late_writer_overwrites_nothing_that_is_newer(room: Room) -> None:
    row = await room.platform.create_used()
    await room.describer.turn()
    old, key = await room.database(row), await room.keys.get(row.tenant_id)
    place = descriptions.key_of_timeline(row.tenant_id, row.timeline_id)
    old_tag = (await room.objects.get(place)).tag
    await room.platform.change(row.db_id, size="L3")
    await room.describer.turn()
    new_tag = (await room.objects.get(place)).tag
    for tag in (old_tag, None, new_tag[::-1]):
        assert await descriptions.write(room.objects, key, place, old, tag) == new_tag
    assert (await room.database(row)).size == "L3"
    # Who was killed after it had written, before it was noted: the same again is no harm.
    await room.platform.sql("update timelines set described = null, description_tag = null")
    await room.describer.turn()
    assert (await room.objects.get(place)).tag == new_tag


async def test_what_the_store_did_not_take_is_described_later(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    row = await room.platform.create_used()

    async def away(*_: Any) -> str:
        raise StoreUnavailable("As the test says.")

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "put_if_tag", away)
        with pytest.raises(StoreUnavailable):
            await room.describer.turn()
    await room.describer.turn()
    assert (await room.database(row)).db_id == row.db_id


async def test_a_control_plane_without_a_store_goes_on(room: Room, tmp_path: Path) -> None:
    await room.platform.create_used()
    elsewhere = StoreAccess(ControlPlaneSettings(data_dir=tmp_path / "elsewhere"))
    describer = Describer(room.platform.store, room.platform.box, elsewhere, Installation())
    assert await describer.turn() > 0 and not (tmp_path / "elsewhere").exists()


def comparable(row: DatabaseRow) -> dict[str, Any]:
    """What comes back of a database."""
    lost = {
        "writer_term", "updated_at", "compute_id", "compute_milliseconds", "storage_bytes", "storage_held_by", "egress_bytes", "last_used_at",
        "current_profile", "lease_control_epoch", "wanted_until", "idle_since", "reconcile_at", "attempt_count",
    }  # fmt: skip
    return {name: value for name, value in dataclasses.asdict(row).items() if name not in lost}


async def test_a_lost_catalogue_is_made_anew(room: Room) -> None:
    rows = [
        await room.platform.create_used(
            "app",
            size="L2",
            deletion_protection=True,
            storage_limit_bytes=1 << 30,
            expires_at=datetime(2030, 1, 1, tzinfo=UTC),
        ),
        await room.platform.create_used("other", idle_timeout_seconds=0),
    ]
    carried_out = "update databases set restore_trigger = 'once', restore_to = '0/1800000' where db_id = %s"
    await room.platform.sql(carried_out, rows[0].db_id)
    rows = [row for row in [await room.platform.row(row.db_id) for row in rows] if row is not None]
    assert rows[0].restore_trigger == "once", "lost, the next declaration would go back once more"
    going = await room.platform.create_used("going")
    await room.describer.turn()
    await room.platform.sql(
        "update databases set state = 'deleting', reconcile_at = null where db_id = %s", going.db_id
    )
    await room.describer.turn()
    before: list[TenantRow] = []
    async with room.platform.store.transaction() as tx:
        before = [found for found in [await tenants.by_id(tx, rows[0].tenant_id)] if found is not None]
        verifier = await tenants.verifier_of(tx, rows[0].tenant_id)
    was = await room.platform.sql("select timeline_id, state, node_id, configuration from timelines order by 1")
    (installation,) = await room.platform.sql("select installation_id from installation")
    await room.lose_the_catalogue()

    contents = await room.recover()
    assert contents.left_out == [f"Database {going.db_id} ('going') is left out: it was being deleted."]
    assert await room.platform.sql("select installation_id from installation") == [installation]
    async with room.platform.store.transaction() as tx:
        after = await tenants.by_id(tx, rows[0].tenant_id)
        assert after is not None and await tenants.verifier_of(tx, after.tenant_id) == verifier
    assert tenants.password_of(after, room.platform.box) == tenants.password_of(before[0], room.platform.box)
    same = {"tenant_id", "org_id", "project", "name", "pg_user", "credential_version", "created_at", "version", "state"}
    assert {name: getattr(after, name) for name in same} == {name: getattr(before[0], name) for name in same}
    for row in rows:
        back = await room.platform.row(row.db_id)
        assert back is not None and comparable(back) == comparable(row)
        assert back.writer_term >= row.writer_term + recovery.TERM_STEP
    kept = await room.platform.sql("select timeline_id, state, node_id, configuration from timelines order by 1")
    assert kept == [line for line in was if line["timeline_id"] != going.timeline_id]
    with pytest.raises(Conflict, match="holds tenants"):
        await room.recover()


async def test_one_that_was_deleted_and_can_come_back_is_recovered_as_that(room: Room) -> None:
    platform = room.platform
    await platform.set_policy("storage.undelete_seconds", 86_400)
    row = await platform.create_used("app")
    await room.describer.turn()
    await platform.delete(row.db_id)
    gone = await platform.reaches(row.db_id, "deleted")
    await room.describer.turn()
    described = await room.database(gone)
    assert (described.is_deleting, described.undelete_until) == (True, gone.undelete_until), (
        "older versions leave it out"
    )
    await room.lose_the_catalogue()
    assert (await room.recover()).left_out == []
    back = await platform.row(row.db_id)
    assert back is not None and (back.state, back.undelete_until) == ("deleted", gone.undelete_until)
    async with platform.store.transaction() as tx:
        assert await databases.find(tx, row.tenant_id, "app") is None
    # A snapshot may have kept it when its time was over, and snapshots are not described: then it has a week again.
    await platform.sql("update databases set undelete_until = now() - interval '1 hour', version = version + 1")
    await room.describer.turn()
    await room.lose_the_catalogue()
    await room.recover()
    again = await platform.row(row.db_id)
    assert again is not None and again.state == "deleted" and again.undelete_until is not None
    assert timedelta(days=6) < again.undelete_until - platform.clock.now() < timedelta(days=8)
    # Once its data go, it has no way back any more.
    await platform.sql("update databases set state = 'deleting', reconcile_at = null where db_id = %s", row.db_id)
    await room.describer.turn()
    assert (await room.database(gone)).undelete_until is None


NOT_DESCRIBED = {
    "databases": {
        # what it does now, and what was counted
        "state", "state_reason", "compute_id", "current_scale", "target_scale", "current_profile", "target_profile", "candidate_profile",
        "candidate_worker_id", "candidate_writer_term", "scale_state", "freeze_new_checkouts", "lease_control_epoch", "autoscale_cooldown_until",
        "scale_phase_started_at", "scale_phase_deadline_at", "scale_failure_reason", "wanted_until", "last_used_at", "idle_since", "attempt_count",
        "retry_at", "reconcile_at", "compute_milliseconds", "storage_bytes", "storage_state", "storage_held_by", "egress_bytes", "updated_at",
        "source",
        # a moment that was read is none of what is kept
        "moment_of",
        # a deletion under way is over
        "leaves",
        # asked for and not carried out yet: its trigger is not described either, so the next declaration asks again
        "restore",
        # what a pageserver says of it again
        "last_verified_at", "history_begins_at", "history_failed_at",
    },
    "tenants": {"org_id", "project_id", "password_encrypted", "state", "updated_at"},
}  # fmt: skip
"""Of a new column somebody decides here whether it comes back."""


@pytest.mark.parametrize(("table", "described"), [("databases", DatabaseDescribed), ("tenants", TenantDescribed)])
async def test_every_column_comes_back_or_somebody_has_said_that_it_does_not(
    platform: InProcessPlatform, table: str, described: type[DatabaseDescribed | TenantDescribed]
) -> None:
    columns = await platform.sql("select column_name from information_schema.columns where table_name = %s", table)
    assert {line["column_name"] for line in columns} - described.model_fields.keys() == NOT_DESCRIBED[table]


async def test_terms_are_above_all_that_is_known_of_them(room: Room) -> None:
    row = await room.platform.create_used()
    await room.describer.turn()
    term = 7 << 20
    await room.objects.put(
        f"tenants/{row.tenant_id}/timelines/{row.timeline_id}/images/{term:016x}-{0:016x}-img_x", b""
    )
    await room.lose_the_catalogue()
    await room.recover()
    assert (await room.platform.row(row.db_id) or row).writer_term == term + recovery.TERM_STEP
    # And above what a safekeeper has promised, whatever the store knows.
    _, client = await enrolled(room.platform, "sk-9")
    promised = {row.timeline_id: 9 << 20, "tl_unknown": 5}
    await client.safekeeper_heartbeat(SafekeeperHeartbeat(address="/run/x", promised_terms=promised))
    assert (await room.platform.row(row.db_id) or row).writer_term == 9 << 20
    await client.safekeeper_heartbeat(SafekeeperHeartbeat(address="/run/x", promised_terms={row.timeline_id: 3}))
    assert (await room.platform.row(row.db_id) or row).writer_term == 9 << 20


async def test_one_that_has_begun_never_begins_again(room: Room) -> None:
    """Its first start is not noted in its description, but its first image is stored: there may be commits."""
    rows = [await room.platform.create_used(name) for name in ("app", "other", "branch")]
    await room.platform.sql("update timelines set state = 'creating'")
    await room.platform.sql("update timelines set origin = '{}' where timeline_id = %s", rows[2].timeline_id)
    await room.describer.turn()
    place = f"tenants/{rows[0].tenant_id}/timelines/{rows[0].timeline_id}/images/{1:016x}-{0:016x}-img_x"
    await room.objects.put(place, b"")
    await room.lose_the_catalogue()
    (left_out,) = (await room.recover()).left_out
    assert rows[2].db_id in left_out and "was to begin in another database" in left_out
    states = await room.platform.sql("select timeline_id, state from timelines")
    assert {line["timeline_id"]: line["state"] for line in states} == {
        rows[0].timeline_id: "present",
        rows[1].timeline_id: "creating",
    }


async def test_a_wrong_master_key_is_named_and_nothing_is_written(room: Room, tmp_path: Path) -> None:
    await room.platform.create_used()
    await room.describer.turn()
    right = await MasterKeyFile.at(room.settings.master_keys_path).current_id()
    await room.lose_the_catalogue()
    wrong = TenantKeys(room.objects, MasterKeyFile.at(tmp_path / "wrong.key"))
    with pytest.raises(Forbidden, match=f"wrapped with the master key {right}, which .*wrong.key does not hold"):
        await recovery.read_store(room.objects, wrong)
    assert await room.platform.sql("select from tenants") == []


async def test_a_damaged_description_stops_it(room: Room) -> None:
    row = await room.platform.create_used()
    await room.describer.turn()
    place = descriptions.key_of_timeline(row.tenant_id, row.timeline_id)
    content = bytearray((await room.objects.get(place)).content)
    content[-1] ^= 1
    await room.objects.put(place, bytes(content))
    with pytest.raises(Damaged, match=place):
        await recovery.read_store(room.objects, room.keys)


async def deleted_tenant(room: Room, objects: int) -> tuple[DatabaseRow, str]:
    """A tenant with so many objects that is deleted, and another that is not."""
    row = await room.platform.create_used()
    other = await room.platform.create_tenant("other")
    for tenant_id in (row.tenant_id, other.tenant_id):
        await room.keys.get_or_make(tenant_id)
        await room.objects.put_contents(
            {f"tenants/{tenant_id}/chunks/{n % 256:02x}/{n:04x}": b"x" for n in range(objects)}
        )
    await room.describer.turn()
    await room.platform.delete(row.db_id, force=True)
    await room.platform.is_gone(row.db_id)
    async with room.platform.store.transaction() as tx:
        tenant = await tenants.by_id(tx, row.tenant_id)
        assert tenant is not None
        await tenants.begin_delete(tx, tenant, SYSTEM, cascade=True)
    assert await tenants.remove_ended(room.platform.store) == 1
    return row, other.tenant_id


async def shredding(room: Room, tenant_id: str) -> dict[str, Any]:
    (row,) = await room.platform.sql(
        "select state, objects_deleted from stored_tenants where tenant_id = %s", tenant_id
    )
    return row


async def test_a_deleted_tenant_loses_its_key_then_its_objects(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    row, other_id = await deleted_tenant(room, 1_200)
    real, order = FolderStore.delete, []

    async def noting(self: FolderStore, key: str) -> None:
        note = (await self.get(f"tenants/{row.tenant_id}/key.json")).content
        order.append(b"destroyed_at" in note)
        if len(order) == 700:
            raise StoreUnavailable("As the test says.")
        await real(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "delete", noting)
        with pytest.raises(StoreUnavailable):
            await room.shredder.turn()
    assert all(order)
    half = await shredding(room, row.tenant_id)
    left = len(await room.all_keys(f"tenants/{row.tenant_id}/chunks/"))
    assert half == {"state": "shredding", "objects_deleted": 1_200 - left} and 480 < left < 520

    await room.shredder.turn()
    assert await room.all_keys(f"tenants/{row.tenant_id}/") == [f"tenants/{row.tenant_id}/key.json"]
    assert await room.all_keys(f"catalogue/{row.tenant_id}/") == []
    done = await shredding(room, row.tenant_id)
    assert done == {"state": "shredded", "objects_deleted": 1_202}  # and two descriptions
    assert len(await room.all_keys(f"tenants/{other_id}/")) == 1_201
    fresh = await open_keys(room.objects, room.settings.master_keys_path)
    with pytest.raises(NotFound, match="destroyed with the tenant"):
        await fresh.get_or_make(row.tenant_id)

    # Who was late has stored something since: it is looked after once more, and then no more.
    await room.objects.put(f"tenants/{row.tenant_id}/chunks/00/late", b"x")
    await room.shredder.turn()
    assert len(await room.all_keys(f"tenants/{row.tenant_id}/")) == 2
    room.platform.clock.advance(seconds=601)
    await room.shredder.turn()
    assert await room.all_keys(f"tenants/{row.tenant_id}/") == [f"tenants/{row.tenant_id}/key.json"]
    room.platform.clock.advance(seconds=6_000)
    assert await room.shredder.turn() > 0


async def test_a_tenant_that_is_there_is_never_shredded(room: Room) -> None:
    row = await room.platform.create_used()
    await room.platform.sql("update stored_tenants set state = 'shredding'")
    await room.shredder.turn()
    assert (await room.keys.get(row.tenant_id)).tenant_id == row.tenant_id
    assert b"destroyed_at" not in (await room.objects.get(f"tenants/{row.tenant_id}/key.json")).content


async def test_a_lost_catalogue_forgets_no_removal(room: Room) -> None:
    row, _ = await deleted_tenant(room, 10)
    await room.keys.destroy(row.tenant_id, datetime.now(UTC))
    await room.lose_the_catalogue()
    contents = await room.recover()
    assert contents.destroyed == [row.tenant_id] and contents.databases == []
    await room.shredder.turn()
    assert await room.all_keys(f"tenants/{row.tenant_id}/") == [f"tenants/{row.tenant_id}/key.json"]


async def test_a_safekeeper_keeps_its_id_in_a_catalogue_that_does_not_know_it(room: Room) -> None:
    platform = room.platform
    row = await platform.create_used()
    await room.describer.turn()
    (before,) = (await room.database(row)).safekeepers

    async def again(former_id: str, name: str = "sk-1") -> str:
        token = await platform.enrolment_token("safekeeper")
        enrolment = Enrolment(enrolment_token=token, name=name, former_id=former_id)
        return (await platform.plane.client().enroll_safekeeper(enrolment)).identity_id

    await room.lose_the_catalogue()
    assert await again(before) == before  # before the recovery
    await room.recover()
    assert await again(before) == before  # and after it, as long as nobody has heard of it
    client = platform.plane.client()
    token = await platform.enrolment_token("safekeeper")
    identity = await client.enroll_safekeeper(Enrolment(enrolment_token=token, name="sk-1", former_id=before))
    client.authenticate(identity.bearer_token)
    await client.safekeeper_heartbeat(SafekeeperHeartbeat(address="/run/sk-1"))
    with pytest.raises(Conflict, match="is alive"):
        await again(before)
    platform.clock.advance(seconds=3_600)
    other = await again("sk_other")  # of the same name, with another disk: the former one is lost
    assert other not in (before, "sk_other")
    platform.clock.advance(seconds=3_600)
    assert await again(before) != before  # and does not come back
