"""Where a node keeps what on disk. Here: paths. Not here: what is in them.

    <data>/node/<name>/  identity.json  certificate.json  agent.lock  reserve  pg/  lib/  template/  extensions/
                         spares/  copies of the template that no timeline has yet
                         chunks/  parts of images that were fetched
                         timelines/<timeline_id>/  pgdata/  writer.json  begun.json  life.json  pg_hba.conf  storage.page  postgres.log
                                                   of a kept one also: history.json  image.json  standbys.conf  pages.map  wake_set.json  evicted
    <data>/run/<id>/     sockets of one compute (elsewhere when the path is too long: postgres/socket_folder.py)

Everything is root's (or ours) except pgdata/ and the socket folders, which belong to the account that runs PostgreSQL.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from spg99.errors import BadRequest
from spg99.ids import is_id
from spg99.postgres import Account, require_reachable
from spg99.postgres.accounts import make_folder
from spg99.postgres.socket_folder import socket_folder

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def checked_id(text: str) -> str:
    """The id, if it can stand in a path. Raises BadRequest otherwise."""
    if not is_id(text):
        raise BadRequest(f"'{text[:80]}' is not an id.")
    return text


@dataclass(frozen=True)
class TimelineFolder:
    """The folder of one timeline."""

    root: Path

    @property
    def timeline_id(self) -> str:
        """Its name."""
        return self.root.name

    @property
    def data_dir(self) -> Path:
        """PostgreSQL's own folder."""
        return self.root / "pgdata"

    @property
    def writer_file(self) -> Path:
        """Which compute wrote last, and its term: the fence."""
        return self.root / "writer.json"

    @property
    def begun_file(self) -> Path:
        """The same of a compute that is being started, until the fence lasts."""
        return self.root / "begun.json"

    @property
    def life_file(self) -> Path:
        """What became of that compute's process."""
        return self.root / "life.json"

    @property
    def standbys_file(self) -> Path:
        """A kept compute's configuration: the template's, and whom its commits wait for (standbys.py)."""
        return self.root / "standbys.conf"

    @property
    def hba_file(self) -> Path:
        """Who may log in; outside of pgdata, so that PostgreSQL can read it and never write it."""
        return self.root / "pg_hba.conf"

    @property
    def storage_page_file(self) -> Path:
        """Limits and counts that the agent and the running server share."""
        return self.root / "storage.page"

    @property
    def evicted_file(self) -> Path:
        """How many bytes it took when its files were given up."""
        return self.root / "evicted"

    @property
    def map_file(self) -> Path:
        """Which chunks of its large files are here; not there when all are (node/lazy_map.py)."""
        return self.root / "pages.map"

    @property
    def wake_set_file(self) -> Path:
        """Which chunks its last wakes used (node/wake_set.py)."""
        return self.root / "wake_set.json"

    @property
    def log_file(self) -> Path:
        """What PostgreSQL says."""
        return self.root / "postgres.log"


def check_path(data_dir: Path) -> None:
    """Raises BadRequest for a new data folder in which extensions could not be found: PostgreSQL parts their folders at colons, and
    there is no way to quote one. Nothing has been written by then. One that holds databases already goes on without them."""
    resolved = data_dir.expanduser().resolve()
    if ":" in str(resolved) and not (resolved / "node").exists():
        raise BadRequest(
            f"The path of the data folder, {resolved}, has a colon in it, and PostgreSQL would find no extension there. "
            "Give a --data-dir without one."
        )


@dataclass(frozen=True)
class NodeFolder:
    """The folder of one node, `<data>/node/<name>`, and the folder of its sockets."""

    root: Path
    run_dir: Path

    @classmethod
    def prepare(cls, data_dir: Path, name: str, account: Account | None) -> NodeFolder:
        """Makes what is missing. Raises BadRequest when the name cannot be a folder, the path will not do, or the account cannot
        get there."""
        if not _NAME.fullmatch(name):
            raise BadRequest(f"'{name}' cannot be the name of a node: letters, digits, dots, dashes, underscores.")
        check_path(data_dir)
        try:
            folder = cls(data_dir.expanduser().resolve() / "node" / name, socket_folder(data_dir))
            for path in (folder.root, folder.timelines_dir, folder.spares_dir):
                make_folder(path, mode=0o755)
        except OSError as error:
            raise BadRequest(
                f"The data folder {data_dir} cannot be used: {error.strerror} ({error.filename})."
            ) from error
        for path in (folder.timelines_dir, folder.run_dir):
            require_reachable(path, account)
        return folder

    @property
    def identity_file(self) -> Path:
        """Who this node is to the Control Plane; nobody else may read it."""
        return self.root / "identity.json"

    @property
    def certificate_file(self) -> Path:
        """What it shows to other machines, with its key."""
        return self.root / "certificate.json"

    @property
    def lock_file(self) -> Path:
        """Held by the one agent that works here."""
        return self.root / "agent.lock"

    @property
    def pg_dir(self) -> Path:
        """Copies of PostgreSQL's programs."""
        return self.root / "pg"

    @property
    def chunks_dir(self) -> Path:
        """Chunks of images that were fetched, shared by the databases of a tenant."""
        return self.root / "chunks"

    @property
    def lib_dir(self) -> Path:
        """Libraries that servers load."""
        return self.root / "lib"

    @property
    def reserve_file(self) -> Path:
        """Disk space that is given up when there is none left."""
        return self.root / "reserve"

    @property
    def template_dir(self) -> Path:
        """Clusters that new timelines are copies of, one per version."""
        return self.root / "template"

    @property
    def spares_dir(self) -> Path:
        """Copies of the template, made ahead of the timelines that will take them."""
        return self.root / "spares"

    @property
    def extensions_dir(self) -> Path:
        """Control files of the extensions that tenants may create."""
        return self.root / "extensions"

    @property
    def timelines_dir(self) -> Path:
        """All timelines of this node."""
        return self.root / "timelines"

    def timeline(self, timeline_id: str) -> TimelineFolder:
        """The folder of a timeline, there or not."""
        return TimelineFolder(self.timelines_dir / checked_id(timeline_id))

    def draft(self, timeline_id: str) -> TimelineFolder:
        """Where a timeline is made before it gets its name."""
        return TimelineFolder(self.timelines_dir / f".draft-{checked_id(timeline_id)}")

    def sandbox(self, timeline_id: str) -> TimelineFolder:
        """What is needed beside that meanwhile, and nobody may see afterwards."""
        return TimelineFolder(self.timelines_dir / f".draft-{checked_id(timeline_id)}-source")

    def timelines(self) -> list[TimelineFolder]:
        """All that are there."""
        with os.scandir(self.timelines_dir) as entries:
            return [TimelineFolder(Path(entry.path)) for entry in entries if not entry.name.startswith(".")]

    def remains(self) -> list[Path]:
        """What a cut-short creation or removal left."""
        with os.scandir(self.timelines_dir) as entries:
            return [Path(entry.path) for entry in entries if entry.name.startswith((".draft-", ".trash-"))]

    def socket_dir(self, compute_id: str) -> Path:
        """Sockets of one compute. 60 bits of the id: the path has to stay short, and nothing else is in there."""
        return self.run_dir / checked_id(compute_id).partition("_")[2][-12:]
