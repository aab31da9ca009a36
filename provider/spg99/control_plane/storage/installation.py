"""The id of this installation, by which its object store is known from others'. Not here: asking a store whose it is (spg99/objects)."""

from __future__ import annotations

from spg99.control_plane.store import Transaction


class Installation:
    """The id; it never changes, so it is read once."""

    def __init__(self) -> None:
        self._id: str | None = None

    async def id(self, tx: Transaction) -> str:
        """`ins_...`, made with the catalogue."""
        if self._id is None:
            self._id = str(await tx.value("installation_id"))
        return self._id


async def take(tx: Transaction, installation_id: str) -> None:
    """This is that installation from now on: its catalogue was lost. Processes that have read the id before are started anew."""
    await tx.execute("take_installation_id", installation_id=installation_id)
