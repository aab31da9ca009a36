"""What a store says of an installation whose catalogue was lost. Here: tenants without a key. Not here: the same with a catalogue
(integration/control_plane/databases/test_described_store.py)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from spg99.control_plane.recovery import read_store
from spg99.control_plane.storage.descriptions import key_of_tenant
from spg99.ids import new_id
from spg99.images import MasterKeyFile, TenantKeys
from spg99.objects import FolderStore, require_installation


async def test_only_a_tenant_whose_key_was_destroyed_is_to_be_removed(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "objects")
    await require_installation(store, new_id("ins"))
    keys = TenantKeys(store, MasterKeyFile.at(tmp_path / "master.key"))
    lost, destroyed = new_id("ten"), new_id("ten")
    for tenant_id in (lost, destroyed):
        await keys.get_or_make(tenant_id)
        await store.put(key_of_tenant(tenant_id), b"sealed")
    await store.delete(f"tenants/{lost}/key.json")
    await keys.destroy(destroyed, datetime.now(UTC))
    found = await read_store(store, TenantKeys(store, MasterKeyFile.at(tmp_path / "master.key")))
    assert found.destroyed == [destroyed]
    assert [lost in sentence for sentence in found.left_out] == [True]
