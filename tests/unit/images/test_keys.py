"""What a tenant's key does with bytes, and the file of master keys. Not here: whole images (tests/integration/images)."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spg99.errors import BadRequest, Damaged, Forbidden, NotFound, PreconditionFailed
from spg99.images import MasterKeyFile, TenantKey, TenantKeys
from spg99.images.keys import key_of_tenant
from spg99.objects import FolderStore

KEY = TenantKey("ten_a", b"a" * 32)


@pytest.mark.parametrize("raw", [b"", b"x", bytes(300_000), os.urandom(300_000)])
def test_what_was_sealed_opens_where_it_was_sealed(raw: bytes) -> None:
    name = KEY.name(raw)
    sealed = KEY.seal(raw, name)
    assert KEY.open_chunk(sealed, name) == raw
    assert sealed != KEY.seal(raw, name)  # the nonce is another one
    with pytest.raises(Damaged):
        KEY.open(sealed, "elsewhere")
    for other in (TenantKey("ten_a", b"b" * 32), TenantKey("ten_b", b"b" * 32)):
        with pytest.raises(Forbidden):
            other.open(sealed, name)
    with pytest.raises(Damaged):
        TenantKey("ten_b", b"a" * 32).open(sealed, name)


def test_every_changed_bit_and_every_cut_is_seen() -> None:
    sealed = KEY.seal(b"content", "place")
    for bit in range(len(sealed) * 8):
        torn = bytearray(sealed)
        torn[bit // 8] ^= 1 << bit % 8
        with pytest.raises((Damaged, Forbidden)):
            KEY.open(bytes(torn), "place")
    for length in range(len(sealed)):
        with pytest.raises((Damaged, Forbidden)):
            KEY.open(sealed[:length], "place")


def test_a_chunk_under_a_wrong_name_is_damaged() -> None:
    wrong = KEY.name(b"something else")
    with pytest.raises(Damaged, match="hash"):
        KEY.open_chunk(KEY.seal(b"content", wrong), wrong)


def test_names_tell_nothing_without_the_key() -> None:
    assert KEY.name(b"x") == TenantKey("ten_b", b"a" * 32).name(b"x") != TenantKey("ten_a", b"b" * 32).name(b"x")
    assert KEY.name(b"x")[:32] != KEY.digest(b"x")


def test_master_keys_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "master.json"
    MasterKeyFile.at(path)
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    MasterKeyFile.at(path)
    assert path.read_text() == text
    path.chmod(0o640)
    with pytest.raises(BadRequest, match="can be read by others"):
        MasterKeyFile.at(path)
    path.chmod(0o600)
    for wrong in (
        "",
        "{}",
        "[]",
        '{"format": 1, "current": "mk_x", "keys": {}}',
        text.replace('"format": 1', '"format": 2'),
        text[:-20],
    ):
        path.write_text(wrong)
        with pytest.raises(BadRequest, match="holds no master keys") as raised:
            MasterKeyFile.at(path)
        assert raised.value.__cause__ is None


async def test_a_key_is_made_once_and_wrapped_anew(tmp_path: Path) -> None:
    store, service = FolderStore(tmp_path / "store"), MasterKeyFile.at(tmp_path / "master.json")
    keys = TenantKeys(store, service)
    with pytest.raises(NotFound):
        await keys.get("ten_a")
    sealed = (await keys.get_or_make("ten_a")).seal(b"content", "place")
    assert (await TenantKeys(store, service).get_or_make("ten_a")).open(sealed, "place") == b"content"

    before = json.loads((await store.get(key_of_tenant("ten_a"))).content)
    service.rotate(datetime.now(UTC))
    assert (await TenantKeys(store, service).get("ten_a")).open(sealed, "place") == b"content"
    assert await keys.rewrap("ten_a")
    after = json.loads((await store.get(key_of_tenant("ten_a"))).content)
    assert before["master_key_id"] != after["master_key_id"] == await service.current_id()
    service.forget(datetime.now(UTC) + timedelta(hours=2))
    assert (await TenantKeys(store, service).get("ten_a")).open(sealed, "place") == b"content"

    await store.put(key_of_tenant("ten_a"), json.dumps(before).encode())
    with pytest.raises(Forbidden, match="does not hold"):
        await TenantKeys(store, service).get("ten_a")
    swapped = after | {"tenant_id": "ten_b"}
    await store.put(key_of_tenant("ten_b"), json.dumps(swapped).encode())
    with pytest.raises(Damaged):
        await TenantKeys(store, service).get("ten_b")
    await store.close()


async def test_a_key_that_another_has_wrapped_anew_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    store, service = FolderStore(tmp_path / "store"), MasterKeyFile.at(tmp_path / "master.json")
    await TenantKeys(store, service).get_or_make("ten_a")
    service.rotate(datetime.now(UTC))

    class Late(MasterKeyFile):
        async def unwrap(self, wrapped: object, bound_to: str) -> bytes:
            await TenantKeys(store, service).rewrap(bound_to)
            return await service.unwrap(wrapped, bound_to)  # type: ignore[arg-type]

    late = Late.at(tmp_path / "master.json")
    with pytest.raises(PreconditionFailed):
        await TenantKeys(store, late).rewrap("ten_a")
    await store.close()
