"""The store as a pageserver opens it: it makes no master key, which is the agents'. Not here: what it does with it (test_archiving.py)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from spg99 import images
from spg99.config import PageserverSettings
from spg99.errors import Forbidden
from spg99.objects import FolderStore
from spg99.pageserver.building import Sandbox
from spg99.pageserver.server import Pageserver
from spg99.protocol.pageserver import PageserverAnswer


class _Client:
    enroll_pageserver = authenticate = None


async def test_it_waits_for_an_agent_to_make_the_master_key_and_makes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine without an agent its own would be another one, in the place of the right one."""
    settings = PageserverSettings(
        data_dir=tmp_path, object_store=str(tmp_path / "objects"), master_key_file=tmp_path / "mine.key"
    )
    made = Pageserver(settings, tmp_path, cast(Any, _Client()))
    monkeypatch.setattr(made, "_sandbox", lambda: Sandbox(tmp_path, cast(Any, None), None))
    made._answer = PageserverAnswer(installation_id="ins_1")
    assert await made._archive() > 0
    assert not (tmp_path / "mine.key").exists() and made._rounds is None
    keys = await images.open_keys(FolderStore(tmp_path / "objects"), tmp_path / "theirs.key")
    await keys.get_or_make("ten_1")
    with pytest.raises(Forbidden, match="missing"):
        await made._archive()
    assert not (tmp_path / "mine.key").exists()
    await asyncio.to_thread((tmp_path / "theirs.key").rename, tmp_path / "mine.key")
    await made._archive()
    assert made._rounds is not None
