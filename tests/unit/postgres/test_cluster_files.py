"""When a folder counts as a cluster, and what is never done to one that does not. Here: files, with an initdb of four
lines. Not here: PostgreSQL (tests/integration/postgres)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from spg99.errors import BadRequest, CannotWake, Internal
from spg99.postgres import Binaries, Cluster

PARTS = ("PG_VERSION", "global/pg_control")
INITDB = """#!/bin/sh
while [ "$1" != --pgdata ]; do shift; done
mkdir -p "$2/global"; echo 18 > "$2/PG_VERSION"
[ -e "$0.fails" ] && exit 1
echo control > "$2/global/pg_control"
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "initdb").write_text(INITDB)
    (tmp_path / "bin" / "initdb").chmod(0o755)
    return Cluster(tmp_path / "c" / "pg", tmp_path / "run", Binaries(tmp_path / "bin", "18.4"), None)


async def init(cluster: Cluster) -> None:
    await cluster.init()


async def create_from(cluster: Cluster) -> None:
    template = cluster.data_dir.parent.parent / "template"
    for name in PARTS:
        (template / name).parent.mkdir(parents=True, exist_ok=True)
        (template / name).write_text("x")
    await cluster.create_from(template)


Make = Callable[[Cluster], Awaitable[None]]
WAYS = pytest.mark.parametrize("make", [init, create_from], ids=lambda make: make.__name__)


@WAYS
@pytest.mark.parametrize("lost", [*PARTS, "both"])
@pytest.mark.parametrize("how", ["gone", "empty"])
async def test_a_folder_with_files_that_is_no_whole_cluster_is_left_alone(
    cluster: Cluster, make: Make, lost: str, how: str
) -> None:
    await make(cluster)
    (cluster.data_dir / "base").mkdir()
    (cluster.data_dir / "base" / "1").write_text("the only copy")
    for name in PARTS if lost == "both" else (lost,):
        (cluster.data_dir / name).unlink()
        if how == "empty":
            (cluster.data_dir / name).touch()
    assert not cluster.exists
    before = sorted(cluster.data_dir.rglob("*"))
    with pytest.raises(BadRequest, match="Nothing in it was changed") as caught:
        await make(cluster)
    named = PARTS if lost == "both" else (lost,)
    assert str(cluster.data_dir) in caught.value.message and all(name in caught.value.message for name in named)
    assert "backup" in caught.value.message and "remove the folder" in caught.value.message
    with pytest.raises(CannotWake, match=named[0]):
        await cluster.start({})
    assert sorted(cluster.data_dir.rglob("*")) == before


@WAYS
async def test_an_empty_folder_is_nobodys(cluster: Cluster, make: Make) -> None:
    cluster.data_dir.mkdir(parents=True)
    await make(cluster)
    assert cluster.exists
    await make(cluster)
    assert [path.name for path in cluster.data_dir.parent.iterdir() if path.is_dir()] == ["pg"]


async def test_an_initdb_that_is_cut_short_has_made_nothing(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "bin" / "initdb.fails").touch()
    with pytest.raises(Internal):
        await cluster.init()
    assert not cluster.exists and not cluster.data_dir.exists()
    (tmp_path / "bin" / "initdb.fails").unlink()
    await cluster.init()
    assert cluster.exists and [path.name for path in cluster.data_dir.parent.iterdir() if path.is_dir()] == ["pg"]
