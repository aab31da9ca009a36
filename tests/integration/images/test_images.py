"""Images of real clusters: cut, laid out elsewhere, started; and what is refused. Not here: forms and rules without a cluster (tests/unit/images)."""

from __future__ import annotations

import os
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from integration.images.conftest import ROWS, Room, statements_on
from kit.waits import until
from spg99.errors import BadRequest, Conflict, Damaged, Forbidden, NotFound, Spg99Error
from spg99.images import (
    Image,
    Known,
    MasterKeyFile,
    Origin,
    Seen,
    TenantKey,
    TenantKeys,
    build,
    capture,
    forget_former,
    latest_image,
    lay_out,
    load_manifest,
    rotate,
    see,
    store,
    template_manifest,
)
from spg99.images.manifest import chunk_key
from spg99.node.access import TEMPLATE_SQL, tenant_sql
from spg99.objects import FolderStore
from spg99.postgres import Cluster
from spg99.wal.lsn import format_lsn


async def laid_out(room: Room, image: Image, name: str) -> Cluster:
    """A new cluster made of an image, as whoever knows only the store has it."""
    cluster = room.cluster(name)
    cluster.data_dir.parent.mkdir(mode=0o755)
    manifest = await load_manifest(room.store, room.key, image.key)
    await lay_out(manifest, room.store, room.key, cluster.data_dir, room.account)
    return cluster


def files_of(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        size = status.st_size if path.is_file() else 0
        found[str(path.relative_to(folder))] = (stat.S_IMODE(status.st_mode), status.st_uid, size, content)
    return found


async def test_an_image_is_the_cluster(room: Room, cluster: Cluster, count: str) -> None:
    image = await build(cluster.data_dir, room.origin, room.store, room.key)
    said = room.control_data(cluster)
    assert str(image.manifest.system_identifier) == said["Database system identifier"]
    assert image.manifest.pg_version == 18 and image.manifest.tli == 1
    assert await latest_image(room.store, "ten_a", "tl_1") == image.key

    before = files_of(cluster.data_dir)
    second = await laid_out(room, image, "second")
    after = files_of(second.data_dir)
    left_out = set(before) - set(after)
    assert set(after) <= set(before)
    made_anew = ("pg_wal/", "pg_subtrans/", "pg_notify/", "postmaster.opts")
    assert [n for n in left_out if not n.startswith(made_anew) and not n.endswith("pg_internal.init")] == []
    for name, seen in after.items():
        if not name.startswith("pg_wal/0"):
            assert seen == before[name], name
    assert [name for name in after if name.startswith("pg_wal/0")] == [
        "pg_wal/" + said["Latest checkpoint's REDO WAL file"]
    ]
    assert "pg_stat/pgstat.stat" in after  # autovacuum and the planner do not begin blind

    assert room.bad_checksums(second) == ""
    rows = await statements_on(second, count)
    assert rows[0][0] == ROWS and rows == await statements_on(cluster, count)
    assert room.control_data(second)["Latest checkpoint's TimeLineID"] == "1"


async def test_lsn_is_where_the_next_start_writes_on(room: Room, cluster: Cluster) -> None:
    image = await build(cluster.data_dir, room.origin, room.store, room.key)
    second = await laid_out(room, image, "second")
    await statements_on(second, "select 1")
    command = [room.binaries.program("pg_waldump"), "-p", second.data_dir / "pg_wal", "-n", "1"]
    command += ["-s", format_lsn(image.manifest.lsn)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    high, low = image.manifest.checkpoint_lsn >> 32, image.manifest.checkpoint_lsn & 0xFFFFFFFF
    assert f"prev {high:X}/{low:08X}" in said, said


async def test_two_builds_give_the_same(room: Room, cluster: Cluster) -> None:
    first = await build(cluster.data_dir, room.origin, room.store, room.key)
    again = await build(cluster.data_dir, room.origin, room.store, room.key)
    for name in ("dirs", "packs", "packed", "chunked", "lsn", "checkpoint_lsn"):
        assert getattr(first.manifest, name) == getattr(again.manifest, name)
    known = await build(cluster.data_dir, room.origin, room.store, room.key, known=first.known)
    assert (known.manifest.packed, known.manifest.chunked) == (first.manifest.packed, first.manifest.chunked)
    assert known.counts.objects_stored == 1  # the manifest


async def test_a_changed_row_is_one_new_chunk_of_its_table(room: Room, cluster: Cluster) -> None:
    copied = await build(cluster.data_dir, room.origin, room.store, room.key)
    await statements_on(cluster, "select 1")  # by now every file is older than a tick of the clock
    first = await build(cluster.data_dir, room.origin, room.store, room.key, known=copied.known)
    first.known.save(room.root / "known.json")
    rows = await statements_on(
        cluster, "update notes set text = text where id = 10", "select pg_relation_filepath('notes')"
    )
    known = Known.load(room.root / "known.json")
    second = await build(cluster.data_dir, Origin("ten_a", "tl_1", 2), room.store, room.key, known=known)
    assert second.manifest.parent_image_id == first.manifest.image_id
    assert await latest_image(room.store, "ten_a", "tl_1") == second.key

    table = {image.key: next(f for f in image.manifest.chunked if f.path == rows[0][0]) for image in (first, second)}
    old, new = table[first.key].chunks, table[second.key].chunks
    changed = [n for n in range(len(new)) if n >= len(old) or old[n] != new[n]]
    assert len(old) > 5 and 1 <= len(changed) <= 2  # the page that was, and where there was room for the new row
    assert second.counts.files_read < 20 < len(second.manifest.files) // 10
    assert second.counts.bytes_stored < copied.counts.bytes_stored / 5
    assert room.bad_checksums(await laid_out(room, second, "second")) == ""


async def test_a_folder_that_was_laid_out_is_known(room: Room, cluster: Cluster, count: str) -> None:
    first = await build(cluster.data_dir, room.origin, room.store, room.key)
    second = room.cluster("second")
    second.data_dir.parent.mkdir(mode=0o755)
    known = await lay_out(first.manifest, room.store, room.key, second.data_dir, room.account)
    await statements_on(second, "insert into few values (2)", "select 1")
    image = await build(second.data_dir, Origin("ten_a", "tl_1", 2), room.store, room.key, known=known)
    third = await laid_out(room, image, "third")
    assert await statements_on(third, "select count(*) from few") == [(2,)]
    assert (await statements_on(third, count))[0][0] == ROWS


def is_settled(seen: Seen) -> bool:
    """Whether no file has changed so lately that it may change once more unseen."""
    return all(seen.is_unchanged(path, file, is_copy=True) for path, file in seen.files.items())


async def test_an_image_of_a_folder_that_was_just_made(room: Room) -> None:
    template = room.cluster("template")
    await template.init({"wal_recycle": "off", "min_wal_size": "2MB"})
    await template.single_user(TEMPLATE_SQL)
    await until("the template is older than a tick", lambda: is_settled(see(template.data_dir)))
    seen = see(template.data_dir)
    base = await template_manifest(template.data_dir, "18-2", room.store, room.key)
    assert await template_manifest(template.data_dir, "18-2", room.store, room.key) == base

    new = room.cluster("new")
    await new.create_from(template.data_dir)
    await new.single_user(tenant_sql(database_name="app", pg_user="acme_user"))
    captured = capture(new.data_dir, seen, is_copy=True)
    await statements_on(new, "create table begun_meanwhile (id int)")
    image = await store(captured, room.origin, room.store, room.key, base=base)
    whole = sum(file.stored_bytes for file in image.manifest.files)
    assert captured.size_bytes < whole / 4

    laid = await laid_out(room, image, "laid")
    assert room.bad_checksums(laid) == ""
    assert await statements_on(laid, "select datname from pg_database where datname = 'app'") == [("app",)]
    assert await statements_on(laid, "select count(*) from pg_class where relname = 'begun_meanwhile'") == [(0,)]


async def refused(room: Room, image: Image, kind: type[Spg99Error], match: str) -> None:
    target = room.root / "refused" / "pg"
    target.parent.mkdir(mode=0o755)

    async def lay_it_out() -> None:
        manifest = await load_manifest(room.store, room.key, image.key)
        await lay_out(manifest, room.store, room.key, target, room.account)

    with pytest.raises(kind, match=match):
        await lay_it_out()
    assert list(target.parent.iterdir()) == []


def a_chunk(room: Room, image: Image) -> Path:
    file = max(image.manifest.chunked, key=lambda file: file.stored_bytes)
    return room.root / "store" / chunk_key("ten_a", file.chunks[len(file.chunks) // 2])


@pytest.mark.parametrize("place", [0, 3, 10, 100, -1])
async def test_a_damaged_chunk(room: Room, cluster: Cluster, place: int) -> None:
    image = await build(cluster.data_dir, room.origin, room.store, room.key)
    path = a_chunk(room, image)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    await refused(room, image, Forbidden if place == 3 else Damaged, "damaged|another key")


async def test_a_cut_chunk_a_swapped_chunk_and_one_that_is_missing(room: Room, cluster: Cluster) -> None:
    image = await build(cluster.data_dir, room.origin, room.store, room.key)
    path, pack = a_chunk(room, image), room.root / "store" / chunk_key("ten_a", image.manifest.packs[0].name)
    content = path.read_bytes()
    for wrong in (content[: len(content) // 2], b"", pack.read_bytes()):
        path.write_bytes(wrong)
        await refused(room, image, Damaged, "damaged")
        (room.root / "refused").rmdir()
    path.unlink()
    await refused(room, image, Damaged, "is missing")


async def test_a_wrong_key(room: Room, cluster: Cluster) -> None:
    image = await build(cluster.data_dir, room.origin, room.store, room.key)
    room.key = await room.keys.get_or_make("ten_b")
    await refused(room, image, Forbidden, "another key than that of ten_b")
    with pytest.raises(Forbidden, match="does not hold"):
        await TenantKeys(room.store, MasterKeyFile.at(room.root / "other.json")).get("ten_a")


async def test_a_tenant_whose_key_is_destroyed(room: Room, cluster: Cluster) -> None:
    image = await build(cluster.data_dir, room.origin, room.store, room.key)
    await room.keys.destroy("ten_a", datetime.now(UTC))
    late = TenantKeys(room.store, MasterKeyFile.at(room.root / "keys" / "master.json"))
    for keys in (room.keys, late):
        for ask in (keys.get, keys.get_or_make):
            with pytest.raises(NotFound, match="destroyed with the tenant"):
                await ask("ten_a")
    room.key = TenantKey("ten_a", os.urandom(32))
    await refused(room, image, Forbidden, "another key")


async def test_one_tenants_chunks_are_not_the_others(room: Room, cluster: Cluster) -> None:
    mine = await build(cluster.data_dir, room.origin, room.store, room.key)
    same_tenant = await build(cluster.data_dir, Origin("ten_a", "tl_2", 1), room.store, room.key)
    other = await build(cluster.data_dir, Origin("ten_b", "tl_3", 1), room.store, await room.keys.get_or_make("ten_b"))
    assert mine.manifest.objects == same_tenant.manifest.objects
    assert mine.manifest.objects.isdisjoint(other.manifest.objects)


async def test_what_no_image_is_made_of(room: Room, cluster: Cluster) -> None:
    async def fails(kind: type[Spg99Error], match: str) -> None:
        with pytest.raises(kind, match=match):
            await build(cluster.data_dir, room.origin, room.store, room.key)
        with pytest.raises(kind, match=match):
            capture(cluster.data_dir)

    link = cluster.data_dir / "pg_tblspc" / "16400"
    link.symlink_to(room.root)
    await fails(BadRequest, "tablespace")
    link.unlink()

    await cluster.start({"shared_buffers": "16MB"})
    await fails(Conflict, "runs, or was not stopped cleanly")
    await cluster.stop("immediate")
    (cluster.data_dir / "postmaster.pid").unlink(missing_ok=True)
    await fails(Conflict, "not stopped cleanly .it is 'in production'.")
    control = cluster.data_dir / "global" / "pg_control"
    content = bytearray(control.read_bytes())
    content[50] ^= 1
    control.write_bytes(content)
    await fails(Damaged, "checksum")
    control.unlink()
    await fails(Damaged, "missing")
    assert await latest_image(room.store, "ten_a", "tl_1") is None


async def test_a_cluster_that_is_started_while_its_image_is_made(room: Room, cluster: Cluster) -> None:
    class Slow(FolderStore):
        async def put_contents(self, objects: object) -> None:
            if not cluster.adopt():
                await cluster.start({"shared_buffers": "16MB"})

    slow = Slow(room.root / "slow")
    try:
        with pytest.raises(Conflict):
            await build(cluster.data_dir, room.origin, slow, room.key)
        assert await latest_image(slow, "ten_a", "tl_1") is None
    finally:
        await cluster.stop()
        await slow.close()


async def test_nothing_is_laid_out_over_a_folder(room: Room, cluster: Cluster) -> None:
    image = await build(cluster.data_dir, room.origin, room.store, room.key)
    before = files_of(cluster.data_dir)
    with pytest.raises(BadRequest, match="is there already"):
        await lay_out(image.manifest, room.store, room.key, cluster.data_dir, room.account)
    assert files_of(cluster.data_dir) == before


async def test_the_master_key_is_rotated_and_chunks_stay(room: Room, cluster: Cluster) -> None:
    image = await build(cluster.data_dir, room.origin, room.store, room.key)
    service = MasterKeyFile.at(room.root / "keys" / "master.json")
    before = {entry.key: entry.modified_at async for entry in room.store.entries("")}
    now = datetime.now(UTC)
    rotation = await rotate(room.store, service, now)
    assert rotation.rewrapped == 1
    assert await forget_former(room.store, service, now + timedelta(hours=2)) == list(rotation.former_ids)
    after = {entry.key: entry.modified_at async for entry in room.store.entries("")}
    assert {key for key in after if after[key] != before[key]} == {"tenants/ten_a/key.json", "master_key.json"}
    fresh = TenantKeys(room.store, MasterKeyFile.at(room.root / "keys" / "master.json"))
    room.key = await fresh.get("ten_a")
    assert room.bad_checksums(await laid_out(room, image, "second")) == ""
    assert os.stat(room.root / "keys" / "master.json").st_mode & 0o777 == 0o600
