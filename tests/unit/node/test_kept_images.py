"""Images that must not be stored: of a timeline that is deleted, and a second first one of a term. Not here: what an image holds (tests/integration/images)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spg99.errors import CannotWake
from spg99.ids import new_id
from spg99.images.manifest import images_of, images_prefix
from spg99.node.branching import store_first
from spg99.node.folder import NodeFolder, TimelineFolder
from spg99.node.keeping import Keeping
from spg99.node.safekeepers import BEGUN_BEFORE
from spg99.node.writer import Writer
from spg99.objects import FolderStore
from spg99.protocol.safekeeper import Configuration, Members
from spg99.protocol.tasks import ComputeStart, Kept
from spg99.resources import Size

TENANT, TIMELINE, COMPUTE = new_id("ten"), new_id("tl"), new_id("cmp")
PLACE = images_prefix(TENANT, TIMELINE)
NOBODY = Kept(
    configuration=Configuration(number=1, members=Members(safekeeper_ids=["sk_1"], quorum=1)),
    addresses={},
    tenant_id=TENANT,
)


@pytest.fixture
def keeping(tmp_path: Path) -> Keeping:
    return Keeping(
        NodeFolder(tmp_path / "node", tmp_path / "run"),
        None,
        object_store=str(tmp_path / "objects"),
        master_key_file=tmp_path / "master.key",
        template_dir=tmp_path / "template",
    )


@pytest.mark.parametrize("is_archived", [False, True])
async def test_an_image_under_way_is_not_stored_after_its_timeline_was_deleted(
    keeping: Keeping, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_archived: bool
) -> None:
    kept = NOBODY.model_copy(update={"is_archived": is_archived})
    store, is_read, goes_on = FolderStore(tmp_path / "objects"), asyncio.Event(), asyncio.Event()

    async def build(_timeline: TimelineFolder, _record: Writer, _kept: Kept) -> None:
        is_read.set()
        await goes_on.wait()
        await store.put(f"{PLACE}{1:016x}-{1:016x}-img_1", b"a manifest")

    monkeypatch.setattr(keeping, "_build_image", build)
    record = Writer(
        compute_id=COMPUTE, db_id=new_id("db"), writer_term=1, profile=Size.L1, backend_addr="", backend_port=5432,
        kept=kept, started_at=datetime.now(UTC),
    )  # fmt: skip
    keeping.build_image(TimelineFolder(tmp_path / TIMELINE), record)
    await is_read.wait()
    await keeping.delete(TIMELINE, kept)
    goes_on.set()
    await keeping.aclose()
    assert await images_of(store, TENANT, TIMELINE) == []


def first_start(term: int) -> ComputeStart:
    return ComputeStart(
        compute_id=COMPUTE, timeline_id=TIMELINE, db_id=new_id("db"), writer_term=term, profile=Size.L1, database_name="app",
        pg_user="acme_user", kept=NOBODY, makes_timeline=True,
    )  # fmt: skip


@pytest.mark.parametrize("is_branch", [False, True])
async def test_a_first_start_that_has_stored_an_image_before_stores_no_second_one(
    keeping: Keeping, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_branch: bool
) -> None:
    """Its agent was killed after that, and the same order came again. Both would be of this term, and its WAL goes on from one of them only."""
    objects, keys = await keeping._store(NOBODY)
    timeline, key = TimelineFolder(tmp_path / TIMELINE), await keys.get_or_make(TENANT)

    async def store(*_: Any, **_options: Any) -> None:
        raise Stored

    async def template_manifest(*_: Any) -> None:
        """Of no interest here."""

    monkeypatch.setattr("spg99.images.store", store)
    monkeypatch.setattr("spg99.images.build", store)
    monkeypatch.setattr("spg99.images.template_manifest", template_manifest)
    await objects.put(f"{PLACE}{3:016x}-{1:016x}-img_1", b"a manifest")

    async def begin(term: int) -> None:
        if is_branch:
            await store_first(timeline, first_start(term), NOBODY, objects, key)
        else:
            captured: Any = SimpleNamespace(control=SimpleNamespace(system_identifier=1))
            await keeping._store_first(captured, timeline, first_start(term), NOBODY)

    with pytest.raises(CannotWake, match=BEGUN_BEFORE):
        await begin(3)
    with pytest.raises(Stored):
        await begin(4)  # the next attempt has another term
    await keeping.aclose()


class Stored(Exception):
    """It came so far that an image would have been stored."""
