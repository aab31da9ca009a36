"""All timelines of one safekeeper, by id. Here: which there are, making, finding and removing them. Not here: one of them (kept_timeline.py)."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Final

from spg99 import faults, log
from spg99.atomic_write import make_folders, sync_folder
from spg99.errors import Conflict, Internal, NotFound
from spg99.ids import is_id
from spg99.protocol.safekeeper import Configuration, KeeperState, TimelineBegin, require_own
from spg99.safekeeper.kept_timeline import KeptTimeline

_REPLACED: Final = ".replaced-"
REPLACED_SECONDS: Final = 7 * 86400.0

_log = log.get("safekeeper")


class KeptTimelines:
    """The timelines in one folder. What is damaged stays on disk, is told in the log, and has no vote."""

    def __init__(self, root: Path, safekeeper_id: str) -> None:
        self._root = root
        self._safekeeper_id = safekeeper_id
        self._timelines: dict[str, KeptTimeline] = {}
        self.damaged: dict[str, str] = {}
        make_folders(root, mode=0o700)
        for folder in root.iterdir():
            if folder.name.startswith("."):
                if not folder.name.startswith(_REPLACED):
                    shutil.rmtree(folder, ignore_errors=True)  # half made, or half removed
                continue
            try:
                self._timelines[folder.name] = KeptTimeline.load(folder)
            except Internal as error:
                _log.error("a timeline is damaged", timeline_id=folder.name, reason=error.message)
                self.damaged[folder.name] = error.message

    def all(self) -> list[KeptTimeline]:
        """Those that are whole."""
        return list(self._timelines.values())

    def get(self, timeline_id: str) -> KeptTimeline:
        """One of them. Raises NotFound for one that was never here or is lost: it has no vote then."""
        if (reason := self.damaged.get(timeline_id)) is not None:
            raise Internal(reason)
        if (timeline := self._timelines.get(timeline_id)) is None:
            raise NotFound(f"Safekeeper {self._safekeeper_id} knows no timeline {timeline_id}.")
        return timeline

    def begin(self, timeline_id: str, begin: TimelineBegin) -> KeptTimeline:
        """A timeline begins, or begins anew with a later attempt of its first start. Raises Conflict when a higher term was promised, or there is WAL that the catalogue
        does not know of."""
        if not is_id(timeline_id):
            raise NotFound("This is no timeline's id.")
        before = self._timelines.get(timeline_id)
        if before is not None:
            promised = before.keeper.promised_term
            if begin.attempts is not None:
                require_own(before.seen(), [*begin.attempts, begin.compute_id])
            if promised > begin.term or (promised == begin.term and before.keeper.promised_to != begin.compute_id):
                raise Conflict(f"Timeline {timeline_id} was promised to term {promised}.")
            if promised == begin.term:
                if before.has_begun:
                    raise Conflict(
                        f"Term {promised} of timeline {timeline_id} has begun before: the next start has another."
                    )
                return before
            self._put_aside(timeline_id)
        draft = self._root / f".draft-{timeline_id}"
        shutil.rmtree(draft, ignore_errors=True)
        KeptTimeline.create(draft, self._safekeeper_id, begin).close()
        faults.point("safekeeper.begin.before_rename")
        draft.rename(self._root / timeline_id)
        sync_folder(self._root)
        timeline = self._timelines[timeline_id] = KeptTimeline.load(self._root / timeline_id)
        return timeline

    def seed(self, timeline_id: str, configuration: Configuration, donor: KeeperState) -> KeptTimeline:
        """A timeline of which this safekeeper becomes a member. One that is here stays as it is."""
        if (known := self._timelines.get(timeline_id)) is not None:
            return known
        if not is_id(timeline_id) or timeline_id in self.damaged:
            raise NotFound("This timeline cannot be made here.")
        draft = self._root / f".draft-{timeline_id}"
        shutil.rmtree(draft, ignore_errors=True)
        KeptTimeline.seed(draft, self._safekeeper_id, configuration, donor)
        faults.point("safekeeper.seed.before_rename")
        draft.rename(self._root / timeline_id)
        sync_folder(self._root)
        timeline = self._timelines[timeline_id] = KeptTimeline.load(self._root / timeline_id)
        return timeline

    def _put_aside(self, timeline_id: str) -> None:
        """What an earlier attempt of a first start has left. It is nobody's by the catalogue's word; should that be of yesterday, it is there for some days."""
        before = self._timelines.pop(timeline_id)
        before.following = None
        before.close()
        os.utime(self._root / timeline_id)  # its time is that of being put aside
        (self._root / timeline_id).rename(self._root / f"{_REPLACED}{timeline_id}-{secrets.token_hex(4)}")
        sync_folder(self._root)

    def drop_replaced(self, now: float) -> None:
        """Removes what was put aside `REPLACED_SECONDS` ago or longer, as of `now` (Unix time)."""
        for folder in self._root.glob(f"{_REPLACED}*"):
            if now - folder.stat().st_mtime >= REPLACED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)

    def remove(self, timeline_id: str) -> None:
        """Removes a timeline, with what was put aside of it: its tenant's rows are in there, too. One that is not there is a success."""
        self.damaged.pop(timeline_id, None)
        if (timeline := self._timelines.pop(timeline_id, None)) is not None:
            timeline.following = None
            timeline.close()
        home = self._root / timeline_id
        if is_id(timeline_id) and home.exists():
            trash = self._root / f".trash-{timeline_id}-{secrets.token_hex(4)}"
            home.rename(trash)
            sync_folder(self._root)
            shutil.rmtree(trash, ignore_errors=True)
        if is_id(timeline_id):
            for aside in self._root.glob(f"{_REPLACED}{timeline_id}-*"):
                shutil.rmtree(aside, ignore_errors=True)
