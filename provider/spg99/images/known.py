"""What is known of a data folder since it was laid out or its last image was cut. Here: keeping that in a file beside the folder. Not
here: what follows from it (build.py)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spg99.atomic_write import write_file
from spg99.errors import BadRequest, Damaged
from spg99.images.folder_state import Seen, Signature
from spg99.images.manifest import Manifest

_KNOWN_FORMAT: Final = 1


@dataclass(frozen=True)
class Known:
    """The folder was, when `seen` was taken, what `manifest` says."""

    manifest: Manifest
    seen: Seen

    def save(self, path: Path) -> None:
        """Keeps it in a file. Not durable: after a power cut the folder itself is not trusted either."""
        content = {
            "format": _KNOWN_FORMAT,
            "at_ns": self.seen.at_ns,
            "files": self.seen.files,
            "manifest": self.manifest.to_json(),
        }
        write_file(path, json.dumps(content, separators=(",", ":")), mode=0o600, durable=False)

    @classmethod
    def load(cls, path: Path) -> Known | None:
        """What was kept; None when there is nothing that can be read: then the whole folder is."""
        try:
            content = json.loads(path.read_bytes())
            if content["format"] != _KNOWN_FORMAT:
                return None
            files = {str(name): Signature(*map(int, row)) for name, row in content["files"].items()}
            return cls(Manifest.from_json(content["manifest"]), Seen(int(content["at_ns"]), files))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, Damaged, BadRequest):
            return None
