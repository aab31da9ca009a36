"""pg_control as we read it, against what pg_controldata says, of both formats. Not here: clusters that are started."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from spg99.errors import Damaged
from spg99.postgres import Cluster, find_binaries, service_account
from spg99.postgres.control_file import (
    NAME,
    ClusterState,
    end_of_checkpoint,
    parse_control_file,
    read_control_file,
)
from spg99.wal.lsn import Segment, format_lsn, parse_lsn, segment_name, segment_number


@pytest.mark.parametrize("major", [18, pytest.param(16, marks=pytest.mark.slow)])
async def test_as_pg_controldata_reads_it(data_dir: Path, major: int) -> None:
    account = service_account(None)
    binaries = find_binaries(None, copy_to=data_dir / "bin", account=account, major=major)
    cluster = Cluster(data_dir / "c" / "pg", data_dir / "run", binaries, account)
    await cluster.init()
    command = [binaries.program("pg_controldata"), cluster.data_dir]
    said = {
        name: text.strip()
        for name, _, text in (
            line.partition(":")
            for line in subprocess.run(
                command, capture_output=True, text=True, check=True, env={"LC_ALL": "C"}
            ).stdout.splitlines()
        )
    }
    found = read_control_file(cluster.data_dir)
    assert str(found.control_version) == said["pg_control version number"]
    assert str(found.catalog_version) == said["Catalog version number"]
    assert str(found.system_identifier) == said["Database system identifier"]
    assert found.state is ClusterState.SHUT_DOWN and said["Database cluster state"] == "shut down"
    assert found.checkpoint_lsn == parse_lsn(said["Latest checkpoint location"])
    assert found.redo_lsn == parse_lsn(said["Latest checkpoint's REDO location"])
    assert str(found.tli) == said["Latest checkpoint's TimeLineID"]
    assert str(found.segment_bytes) == said["Bytes per WAL segment"]
    assert found.checksums == (said["Data page checksum version"] == "1")
    assert segment_name(Segment(found.tli, segment_number(found.redo_lsn))) == said["Latest checkpoint's REDO WAL file"]

    end = end_of_checkpoint(cluster.data_dir, found)
    assert 100 < end - found.checkpoint_lsn < 300
    segment = cluster.data_dir / "pg_wal" / segment_name(Segment(found.tli, segment_number(found.checkpoint_lsn)))
    whole = segment.read_bytes()
    for place in (found.checkpoint_lsn, found.checkpoint_lsn + 40, end - 8):
        torn = bytearray(whole)
        torn[place % found.segment_bytes] ^= 1
        segment.write_bytes(torn)
        with pytest.raises(Damaged, match=format_lsn(found.checkpoint_lsn)):
            end_of_checkpoint(cluster.data_dir, found)
    segment.unlink()
    with pytest.raises(Damaged, match="missing"):
        end_of_checkpoint(cluster.data_dir, found)

    control = (cluster.data_dir / NAME).read_bytes()
    for place in range(0, 288, 7):
        torn = bytearray(control)
        torn[place] ^= 1
        with pytest.raises((Damaged,) if not 8 <= place < 12 else (Exception,)):
            parse_control_file(bytes(torn))
    with pytest.raises(Damaged, match="cut short"):
        parse_control_file(control[:4096])
