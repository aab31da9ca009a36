"""What a safekeeper is told of the compute that it should follow, and what its answer asks of the agent (pure). Not here: asking (safekeepers.py)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from spg99.node.folder import NodeFolder
from spg99.postgres.cluster import wal_socket_of
from spg99.protocol.safekeeper import Follow, KeeperSeen, history_said
from spg99.protocol.tasks import Kept
from spg99.wal.fence import TermHistory

BACKEND_PORT: Final = 5432
"""Part of a socket's name only: each compute has folders of its own."""


@dataclass(frozen=True)
class Reached:
    """Where safekeepers of other machines reach this node's computes; without anything: nowhere."""

    node_id: str | None = None
    network_address: str | None = None


def follow_of(
    folder: NodeFolder, reached: Reached, compute_id: str, term: int, kept: Kept, terms: TermHistory
) -> Follow:
    """What those who keep a timeline are told of the compute that writes it now."""
    return Follow(
        term=term,
        compute_id=compute_id,
        configuration=kept.configuration,
        history=history_said(terms),
        backend_addr=str(wal_socket_of(folder.socket_dir(compute_id))),
        backend_port=BACKEND_PORT,
        node_id=reached.node_id,
        node_address=reached.network_address,
        peers=kept.addresses,
        peer_network_addresses=kept.network_addresses,
    )


class Standing(StrEnum):
    """How a safekeeper stands with the compute that runs."""

    FOLLOWS = "follows"
    """It takes its WAL, or tries to."""
    IS_TO_FOLLOW = "is to follow"
    """It was not reached when this compute began, or has been away since: it has to be asked."""
    CUT_OFF = "cut off"
    """It follows, and will never have what comes next."""
    OUTDONE = "outdone"
    """A later compute has its promise: this one's turn is over."""


def standing(seen: KeeperSeen, term: int) -> Standing:
    """How this safekeeper stands with the compute of that term."""
    if seen.promised_term > term:
        return Standing.OUTDONE
    if seen.following_term != term:
        return Standing.IS_TO_FOLLOW
    return Standing.CUT_OFF if seen.is_cut_off else Standing.FOLLOWS
