"""A library that a server loads at its start, and what it is told. Here: the environment of such a start. Not here: which."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Preload:
    """One library and its settings. The loader goes on without a library that it cannot load."""

    library: Path
    environment: Mapping[str, str]

    def start_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of subprocess.Popen with the library in them.

        The name is relative to the working folder, because LD_PRELOAD splits at blanks and colons, which a path may hold.
        """
        if sys.platform != "linux":
            return dict(options)
        environment = {**options["env"], **self.environment, "LD_PRELOAD": f"./{self.library.name}"}
        return {**options, "env": environment, "cwd": self.library.parent}
