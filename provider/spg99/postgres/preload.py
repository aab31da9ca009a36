"""Libraries that a server loads at its start, and what they are told. Here: the environment of such a start. Not here: which."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Preload:
    """Libraries of one folder, in their order: a call goes through the first one to the next. The loader goes on without one that it
    cannot load."""

    libraries: tuple[Path, ...]
    environment: Mapping[str, str]

    def before(self, other: Preload | None) -> Preload:
        """This one's libraries, and behind them the other's."""
        if other is None:
            return self
        return Preload((*self.libraries, *other.libraries), {**self.environment, **other.environment})

    def start_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of subprocess.Popen with the libraries in them.

        Their names are relative to the working folder, because LD_PRELOAD splits at blanks and colons, which a path may hold.
        """
        if sys.platform != "linux":
            return dict(options)
        names = ":".join(f"./{library.name}" for library in self.libraries)
        environment = {**options["env"], **self.environment, "LD_PRELOAD": names}
        return {**options, "env": environment, "cwd": self.libraries[0].parent}
