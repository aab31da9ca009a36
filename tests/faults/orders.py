"""Orders to die: arms a named point of `spg99.faults` in a running platform. Not here: what must hold afterwards (settled.py)."""

from __future__ import annotations

import os
import re
from pathlib import Path

POINT = re.compile(r"""faults\.point\(\s*["']([a-z_.]+)["']""")


def all_points() -> list[str]:
    """Every named point that is passed in the life of a database. (The engine's are for test_up_killed.py; a cluster is made before
    any life: tests/integration/postgres.)"""
    source = Path(__file__).parents[2] / "provider" / "spg99"
    found = {name for file in source.rglob("*.py") for name in POINT.findall(file.read_text())}
    return sorted(name for name in found if not name.startswith(("engine.", "cluster.init.")))


class Orders:
    """The order file of one platform (`SPG99_FAULT_FILE`)."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._taken = file.with_name(file.name + ".taken")

    @property
    def environment(self) -> dict[str, str]:
        """What the platform must be started with."""
        return {"SPG99_FAULT_FILE": str(self.file)}

    def arm(self, point: str, *victims: int) -> None:
        """Whoever passes `point` (with `:2` for the second time from now) kills `victims`, itself when none is named. Once."""
        self._taken.unlink(missing_ok=True)
        draft = self.file.with_name(self.file.name + ".draft")
        draft.write_text(f"{point} {' '.join(map(str, victims))}\n")
        os.replace(draft, self.file)

    def was_taken(self) -> bool:
        """Whether the kill has happened."""
        return self._taken.exists()

    def disarm(self) -> None:
        """Withdraws an order nobody took."""
        self.file.unlink(missing_ok=True)
