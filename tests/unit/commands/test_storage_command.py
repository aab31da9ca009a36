"""`spg99 storage rotate-key` as it is typed. Not here: the rotation (tests/unit/images/test_rotation.py)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spg99.commands.storage import storage
from spg99.images import open_keys
from spg99.objects import FolderStore, require_installation


def run(data_dir: Path, *arguments: str) -> Result:
    return CliRunner().invoke(storage, ["rotate-key", "--data-dir", str(data_dir), *arguments])


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    async def prepare() -> None:
        store = FolderStore(tmp_path / "objects")
        await require_installation(store, "ins_1")
        keys = await open_keys(store, tmp_path / "secrets" / "storage.key")
        for tenant_id in ("ten_a", "ten_b"):
            await keys.get_or_make(tenant_id)
        await store.close()

    asyncio.run(prepare())
    return tmp_path


def master_keys(data_dir: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((data_dir / "secrets" / "storage.key").read_text())["keys"]
    return found


def test_it_says_what_it_has_done(data_dir: Path) -> None:
    (former,) = master_keys(data_dir)
    done = run(data_dir)
    (fresh,) = master_keys(data_dir).keys() - {former}
    assert (done.exit_code, done.output) == (
        0,
        f"The master key is {fresh}; the keys of 2 tenants were wrapped with it. Former ones in the file: {former}.\n",
    )
    too_soon = run(data_dir, "--forget")
    assert too_soon.exit_code == 0 and "less than an hour ago" in too_soon.output
    assert set(master_keys(data_dir)) == {former, fresh}
    assert not any(key in done.output for key in master_keys(data_dir).values())


def test_where_there_is_no_store_nothing_is_made(tmp_path: Path) -> None:
    refused = run(tmp_path)
    assert refused.exit_code != 0 and "no object store of an installation" in str(refused.exception)
    assert list(tmp_path.iterdir()) == []


def test_without_its_file_nothing_is_made(data_dir: Path) -> None:
    (former,) = master_keys(data_dir)
    (data_dir / "secrets" / "storage.key").unlink()
    refused = run(data_dir)
    assert former in str(refused.exception) and not (data_dir / "secrets" / "storage.key").exists()


def test_where_nothing_was_encrypted_yet_no_master_key_is_made(tmp_path: Path) -> None:
    """An operator's machine need not be an agent's: its own file would be a wrong one."""
    asyncio.run(require_installation(FolderStore(tmp_path / "objects"), "ins_1"))
    for command in (["rotate-key"], ["check"]):
        refused = CliRunner().invoke(storage, [*command, "--data-dir", str(tmp_path)])
        assert "master key file" in str(refused.exception) and "is missing" in str(refused.exception)
    assert not (tmp_path / "secrets").exists()
