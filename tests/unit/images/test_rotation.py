"""Another master key for a store: all keys of tenants, interrupted anywhere, and a file that is lost. Not here: chunks (tests/integration/images)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from spg99.errors import BadRequest, Forbidden, NotFound
from spg99.images import MasterKeyFile, TenantKeys, forget_former, open_keys, rotate, tenants_in
from spg99.images.current_key import CURRENT_KEY
from spg99.images.keys import key_of_tenant, master_key_of
from spg99.objects import FolderStore

TENANTS = [f"ten_{n}" for n in range(5)]
NOW = datetime(2026, 12, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ROTATE = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from spg99.images import MasterKeyFile, rotate
from spg99.objects import FolderStore

asyncio.run(rotate(FolderStore(Path(sys.argv[1]) / "store"), MasterKeyFile.at(Path(sys.argv[1]) / "master.json"), datetime.now(UTC)))
"""


class Room:
    def __init__(self, root: Path) -> None:
        self.root, self.file = root, root / "master.json"
        self.store = FolderStore(root / "store")
        self.sealed: dict[str, bytes] = {}

    async def prepare(self) -> None:
        keys = await open_keys(self.store, self.file)
        for tenant_id in TENANTS:
            self.sealed[tenant_id] = (await keys.get_or_make(tenant_id)).seal(tenant_id.encode(), "place")

    async def all_open(self, keys: TenantKeys | None = None) -> bool:
        keys = keys or await open_keys(self.store, self.file)
        opened = [(await keys.get(one)).open(self.sealed[one], "place") for one in TENANTS]
        return opened == [one.encode() for one in TENANTS]

    async def used(self) -> set[str | None]:
        return {await master_key_of(self.store, tenant_id) for tenant_id in TENANTS}


@pytest_asyncio.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    room = Room(tmp_path)
    await room.prepare()
    yield room
    await room.store.close()


async def test_all_keys_are_wrapped_anew_and_still_open(room: Room) -> None:
    running = TenantKeys(room.store, MasterKeyFile.at(room.file))  # has read the file before
    before = MasterKeyFile.at(room.file)
    rotation = await rotate(room.store, before, NOW)
    assert rotation.rewrapped == len(TENANTS) and await room.used() == {rotation.master_key_id}
    # What it wraps now is wrapped with the new one, though nothing has made it read the file again: what the old one has wrapped is complete.
    await running.get_or_make("ten_new")
    assert await master_key_of(room.store, "ten_new") == rotation.master_key_id
    assert await room.all_open() and await room.all_open(running)


async def test_a_former_key_is_forgotten_when_nobody_can_be_using_it(room: Room) -> None:
    rotation = await rotate(room.store, MasterKeyFile.at(room.file), NOW)
    assert await forget_former(room.store, MasterKeyFile.at(room.file), LATER - timedelta(seconds=1)) == []
    assert await forget_former(room.store, MasterKeyFile.at(room.file), LATER) == list(rotation.former_ids)
    assert list(json.loads(room.file.read_text())["keys"]) == [rotation.master_key_id]
    assert await room.all_open()


async def test_a_former_key_that_something_needs_is_not_forgotten(room: Room) -> None:
    kept = (await room.store.get(key_of_tenant("ten_3"))).content
    rotation = await rotate(room.store, MasterKeyFile.at(room.file), NOW)
    await room.store.put(key_of_tenant("ten_3"), kept)  # as if a node had stored it late
    with pytest.raises(BadRequest, match=f"ten_3 is still wrapped with the master key {rotation.former_ids[0]}"):
        await forget_former(room.store, MasterKeyFile.at(room.file), LATER)
    assert await room.all_open()
    assert (await rotate(room.store, MasterKeyFile.at(room.file), NOW)).rewrapped == 1
    assert await forget_former(room.store, MasterKeyFile.at(room.file), LATER) and await room.all_open()


@pytest.mark.parametrize("point", ["after_file", "between_tenants:1", "between_tenants:3"])
async def test_interrupted_it_is_gone_on_with(room: Room, point: str) -> None:
    environment = os.environ | {"SPG99_FAULT_POINT": f"storage.rotate_key.{point}"}
    done = subprocess.run([sys.executable, "-c", ROTATE, room.root], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert await room.all_open() and len(await room.used()) == (2 if point.endswith(("1", "3")) else 1)
    again = await rotate(room.store, MasterKeyFile.at(room.file), NOW)
    assert await room.used() == {again.master_key_id} and await room.all_open()
    assert len(json.loads(room.file.read_text())["keys"]) == 2  # no third one


async def test_a_key_of_another_master_key_is_named_and_stays(room: Room) -> None:
    other = MasterKeyFile.at(room.root / "other.json")
    foreign_id = await other.current_id()
    its_store = FolderStore(room.root / "its store")
    await TenantKeys(its_store, other).get_or_make("ten_foreign")
    before = (await its_store.get(key_of_tenant("ten_foreign"))).content
    await room.store.put(key_of_tenant("ten_foreign"), before)
    with pytest.raises(
        Forbidden, match=f"ten_foreign was wrapped with the master key {foreign_id}, which .* does not hold"
    ):
        await rotate(room.store, MasterKeyFile.at(room.file), NOW)
    assert (await room.store.get(key_of_tenant("ten_foreign"))).content == before


async def everything(room: Room) -> dict[str, bytes]:
    return {entry.key: (await room.store.get(entry.key)).content async for entry in room.store.entries("")}


@pytest.mark.parametrize("says_it", [True, False], ids=["", "store of an earlier version"])
async def test_a_machine_without_the_new_key_is_told_which_it_lacks_and_writes_nothing(
    room: Room, says_it: bool
) -> None:
    """The file was not copied to it after a rotation. What it wrapped with the former key, the other one could not open once that is forgotten."""
    elsewhere = room.root / "elsewhere.json"
    elsewhere.write_bytes(room.file.read_bytes())
    elsewhere.chmod(0o600)
    running = TenantKeys(room.store, MasterKeyFile.at(elsewhere))
    rotation = await rotate(room.store, MasterKeyFile.at(room.file), NOW)
    assert await forget_former(room.store, MasterKeyFile.at(room.file), LATER)
    if not says_it:
        await room.store.delete(CURRENT_KEY)
    before, file_before = await everything(room), elsewhere.read_bytes()
    wanted = f"{rotation.master_key_id}, which {elsewhere} does not hold .* copy the one that holds {rotation.master_key_id} here"
    for keys in (running, await open_keys(room.store, elsewhere)):
        with pytest.raises(Forbidden, match=wanted):
            await keys.get_or_make("ten_new")
        with pytest.raises(Forbidden, match=wanted):
            await keys.get("ten_1")
    for change in (rotate, forget_former):
        with pytest.raises(Forbidden, match=wanted):
            await change(room.store, MasterKeyFile.at(elsewhere), LATER)
    assert await everything(room) == before and elsewhere.read_bytes() == file_before
    elsewhere.write_bytes(room.file.read_bytes())
    await running.get_or_make("ten_new")
    assert await room.all_open(running)


async def test_between_a_rotation_and_the_copy_nobody_wraps_with_the_former_key(room: Room) -> None:
    elsewhere = room.root / "elsewhere.json"
    elsewhere.write_bytes(room.file.read_bytes())
    elsewhere.chmod(0o600)
    late = TenantKeys(room.store, MasterKeyFile.at(elsewhere))
    await rotate(room.store, MasterKeyFile.at(room.file), NOW)
    with pytest.raises(Forbidden, match="The master key of the object store is"):
        await late.get_or_make("ten_new")
    assert await master_key_of(room.store, "ten_new") is None


async def test_two_machines_with_files_of_their_own_do_not_share_a_store(room: Room) -> None:
    """Each made one, before anything was stored."""
    store = FolderStore(room.root / "empty")
    first, second = await open_keys(store, room.root / "first.json"), await open_keys(store, room.root / "second.json")
    await first.get_or_make("ten_1")
    with pytest.raises(Forbidden, match="All machines need the same file"):
        await second.get_or_make("ten_2")
    assert [one async for one in tenants_in(store)] == ["ten_1"]


async def test_a_lost_file_that_nothing_needs_is_asked_for_all_the_same(room: Room) -> None:
    keys = await open_keys(room.store, room.file)
    for tenant_id in TENANTS:
        await keys.destroy(tenant_id, NOW)
    room.file.unlink()
    with pytest.raises(Forbidden, match=f"is missing.*if it is lost, remove the object {CURRENT_KEY}"):
        await open_keys(room.store, room.file)
    assert not room.file.exists()
    await room.store.delete(CURRENT_KEY)
    await (await open_keys(room.store, room.file)).get_or_make("ten_new")


async def test_a_lost_file_is_not_made_anew_while_the_store_needs_it(room: Room) -> None:
    content, master_id = room.file.read_bytes(), await MasterKeyFile.at(room.file).current_id()
    room.file.unlink()
    with pytest.raises(Forbidden, match=f"is missing, and .* wrapped with the master key {master_id}"):
        await open_keys(room.store, room.file)
    assert not room.file.exists()
    room.file.write_bytes(content)
    room.file.chmod(0o600)
    assert await room.all_open()


async def test_only_who_makes_the_file_makes_it(room: Room) -> None:
    """A store that holds no key yet, and one whose only key was destroyed: another's new file would be a wrong one on its machine."""
    keys = await open_keys(room.store, room.file)
    for tenant_id in TENANTS:
        await keys.destroy(tenant_id, NOW)
    for store in (FolderStore(room.root / "empty"), room.store):
        with pytest.raises(Forbidden, match="is missing. Name that of the agents"):
            await open_keys(store, room.root / "elsewhere.key", makes_file=False)
        assert not (room.root / "elsewhere.key").exists()


async def test_a_destroyed_key_is_passed_over_and_does_not_come_back(room: Room) -> None:
    keys = await open_keys(room.store, room.file)
    await keys.destroy("ten_1", NOW)
    assert (await rotate(room.store, MasterKeyFile.at(room.file), NOW)).rewrapped == len(TENANTS) - 1
    assert await forget_former(room.store, MasterKeyFile.at(room.file), LATER)
    for late in (keys, await open_keys(room.store, room.file)):
        with pytest.raises(NotFound, match="destroyed"):
            await late.get_or_make("ten_1")


async def test_tenants_are_found_without_reading_what_they_have(room: Room) -> None:
    await room.store.put_contents({f"tenants/ten_2/chunks/{n:02x}/{n:04x}": b"" for n in range(300)})
    await room.store.put("catalogue/ten_9/tenant", b"")
    await room.store.put("tenants/ten_20/chunks/00/0000", b"")
    assert [one async for one in tenants_in(room.store)] == sorted([*TENANTS, "ten_20"])
