"""Which compute a process of another machine is let through to, and why not. Not here: connections (tests/integration/node/kept/test_network.py)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from spg99.ids import new_id
from spg99.node.folder import NodeFolder
from spg99.node.network import Network
from spg99.postgres.cluster import wal_socket_of
from spg99.protocol.safekeeper import Configuration, Members
from spg99.protocol.tasks import ComputeStart, Kept
from spg99.resources import Size
from spg99.wire.preface import Preface, Refused

RUNS, STARTS, ALONE, NOBODY = (f"cmp_{letter * 20}" for letter in "abcd")
KEPT = Kept(
    configuration=Configuration(number=1, members=Members(safekeeper_ids=["sk_1"], quorum=1)),
    addresses={"sk_1": "10.0.0.5:7655"},
    tenant_id=new_id("ten"),
)


def network(root: Path) -> Network:
    """Of a node with a compute that runs, one that is being started (both with a safekeeper), and one that nobody else keeps."""
    order = ComputeStart(
        compute_id=STARTS, timeline_id=new_id("tl"), db_id=new_id("db"), writer_term=7, profile=Size.L1, database_name="app",
        pg_user="acme_user", kept=KEPT,
    )  # fmt: skip
    records = {
        RUNS: SimpleNamespace(record=SimpleNamespace(writer_term=7, kept=KEPT)),
        ALONE: SimpleNamespace(record=SimpleNamespace(writer_term=7, kept=None)),
    }
    computes: Any = SimpleNamespace(
        find=records.get, keeping=SimpleNamespace(starting={STARTS: SimpleNamespace(order=order)})
    )
    certificate: Any = None
    return Network(NodeFolder(root, root / "run"), computes, certificate)


@pytest.mark.parametrize(
    ("peer_id", "target", "compute_id", "term", "code"),
    [
        ("gw_1", "clients", RUNS, 7, None),
        ("sk_1", "wal", RUNS, 7, None),
        ("sk_1", "wal", STARTS, 7, None),
        ("gw_1", "clients", STARTS, 7, "not_here"),  # its safekeepers have not caught up: nobody may read yet
        ("gw_1", "clients", RUNS, 6, "stale"),
        ("gw_1", "clients", RUNS, 8, "stale"),
        ("sk_1", "wal", STARTS, 6, "stale"),
        ("gw_1", "clients", NOBODY, 7, "not_here"),
        ("gw_1", "wal", RUNS, 7, "forbidden"),
        ("sk_1", "clients", RUNS, 7, "forbidden"),
        ("node_1", "clients", RUNS, 7, "forbidden"),
        ("", "clients", RUNS, 7, "forbidden"),
        ("sk_2", "wal", RUNS, 7, "forbidden"),
        ("sk_2", "wal", STARTS, 7, "forbidden"),
        ("sk_1", "wal", ALONE, 7, "forbidden"),
    ],
)
def test_who_is_let_through_to_what(
    tmp_path: Path, peer_id: str, target: Literal["clients", "wal"], compute_id: str, term: int, code: str | None
) -> None:
    found = network(tmp_path).admit(Preface(target, compute_id, term), peer_id)
    if code is not None:
        assert isinstance(found, Refused) and found.code == code
        return
    sockets = NodeFolder(tmp_path, tmp_path / "run").socket_dir(compute_id)
    assert found == (sockets if target == "clients" else wal_socket_of(sockets)) / ".s.PGSQL.5432"
