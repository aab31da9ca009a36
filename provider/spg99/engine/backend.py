"""Pulumi's file backend: where state lies and how it is replaced. Here: files. Not here: what is in them (state.py), locks (lock.py).

DIR/.pulumi/meta.yaml                                    version: 1
DIR/.pulumi/stacks/<project>/<stack>.json                the checkpoint; <stack>.json.bak is the one before this run
DIR/.pulumi/locks/organization/<project>/<stack>/*.json  whoever works on it
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

from spg99 import faults
from spg99.atomic_write import make_folders, write_file
from spg99.engine.project import Project, check_stack_name
from spg99.engine.state import DEPLOYMENT_VERSION, Damaged, check_version
from spg99.errors import BadRequest, Conflict, NotFound, Unavailable

_META_VERSION = 1
ATTRIBUTES = ".attrs"
"""Ending of the files in which the Pulumi CLI's file store keeps attributes beside what it writes."""


def backend_url(given: str | None, environment: Mapping[str, str], project: Project | None) -> str:
    """Which backend to use: the flag, PULUMI_BACKEND_URL, Pulumi.yaml's `backend`, `pulumi login`'s choice, else `file://~`."""
    if url := given or environment.get("PULUMI_BACKEND_URL") or (project.backend_url if project else None):
        return url
    home = Path(environment.get("PULUMI_HOME") or Path.home() / ".pulumi")
    with contextlib.suppress(OSError, ValueError):
        if url := json.loads((home / "credentials.json").read_text()).get("current"):
            return str(url)
    return "file://~"


class Backend:
    """One folder of stacks."""

    def __init__(self, url: str, *, cwd: Path) -> None:
        if not url.startswith("file://"):
            raise BadRequest(
                f"The backend is {url.split('?')[0]}; the embedded engine keeps state in files only. "
                "Use the Pulumi CLI with it, or choose a folder: --backend file://./state or PULUMI_BACKEND_URL."
            )
        text = unquote(url.removeprefix("file://").partition("?")[0])
        self.url = url
        self.folder = (cwd / Path(text or ".").expanduser()).resolve()
        self.pulumi = self.folder / ".pulumi"

    def open(self) -> None:
        """Makes the layout when the folder is new. Raises BadRequest on one it does not know."""
        meta = self.pulumi / "meta.yaml"
        try:
            if meta.is_file():
                version = (yaml.safe_load(meta.read_text()) or {}).get("version")
                if version != _META_VERSION:
                    raise BadRequest(
                        f"{meta} says layout version {version}; this engine knows {_META_VERSION}. "
                        + ("Run `pulumi state upgrade` first." if version == 0 else "Go on with the Pulumi CLI.")
                    )
                return
            if any((self.pulumi / "stacks").glob("*.json")):
                raise BadRequest(f"{self.pulumi} has Pulumi's old layout; run `pulumi state upgrade` first.")
            make_folders(self.pulumi)
            write_file(meta, b"version: 1\n")
        except yaml.YAMLError as error:
            raise BadRequest(f"{meta} cannot be read: {error}") from error
        except OSError as error:
            raise _cannot(meta, "be written", error) from error

    def stacks(self, project: str | None = None) -> Iterator[tuple[str, str]]:
        """(project, stack) of every stack."""
        for file in sorted((self.pulumi / "stacks").glob(f"{project or '*'}/*.json")):
            yield file.parent.name, file.stem

    def stack(self, project: str, name: str) -> StackFile:
        """A stack's files; they need not exist."""
        return StackFile(self, project, check_stack_name(name))


class StackFile:
    """The files of one stack."""

    def __init__(self, backend: Backend, project: str, name: str) -> None:
        self.backend = backend
        self.project = project
        self.name = name
        self.file = backend.pulumi / "stacks" / project / f"{name}.json"
        self.lock_folder = backend.pulumi / "locks" / "organization" / project / name

    @property
    def qualified_name(self) -> str:
        """The stack's name as state files spell it."""
        return f"organization/{self.project}/{self.name}"

    def exists(self) -> bool:
        """Whether the stack is there."""
        for suffix in (".gz", ".zst"):
            packed = self.file.with_name(self.file.name + suffix)
            if packed.exists():
                raise BadRequest(f"{packed} is compressed, which the embedded engine does not do. Use the Pulumi CLI.")
        return self.file.is_file()

    @property
    def _backup(self) -> Path:
        return self.file.with_name(self.file.name + ".bak")

    def create(self) -> None:
        """Makes an empty stack. Raises Conflict when it exists."""
        if self.exists():
            raise Conflict(f"The stack '{self.name}' of project '{self.project}' exists already.")
        self.write(None)

    def read(self) -> dict[str, Any] | None:
        """The deployment as it stands in the checkpoint. Raises NotFound, or BadRequest on one that cannot be used."""
        if not self.exists():
            missing = f"No stack named '{self.name}' in project '{self.project}' at {self.backend.url}. "
            if (kept := self._backup).is_file():
                raise NotFound(
                    f"{missing}Its state {self.file.name} is gone, and {kept} beside it is the one before the last run: copy it "
                    f"to {self.file.name} and run `spg99 refresh`. A new stack would make everything a second time."
                )
            raise NotFound(f"{missing}Make it with `spg99 stack init {self.name}`.")
        try:
            raw = _json_object(self.file)
        except OSError as error:
            raise _cannot(self.file, "be read", error) from error
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"The state {self.file} is damaged ({error}). {self.after_damage()}") from error
        try:
            check_version(raw, f"The state {self.file}")
        except Damaged as error:
            raise BadRequest(f"{error.message} {self.after_damage()}") from error
        latest = (raw.get("checkpoint") or {}).get("latest")
        return latest if isinstance(latest, dict) else None

    def after_damage(self) -> str:
        """What to do about a state that cannot be used, in a sentence or two: it depends on whether the one before is whole."""
        try:
            _json_object(self._backup)
        except (OSError, ValueError, RecursionError):
            return (
                f"There is no whole {self._backup.name} beside it. Move {self.file.name} away, run `spg99 stack init {self.name}`, "
                "then `spg99 orphans --import`, which takes in what this stack made (or `spg99 import-file` and `spg99 import "
                "--file`, for what you name). Before that, `spg99 up` would make everything a second time."
            )
        return (
            f"{self._backup.name} beside it is the one of before the last run: copy it over {self.file.name} and run `spg99 up`, "
            "which settles what was under way; `spg99 orphans` then lists what is left that the state does not hold."
        )

    def write(self, deployment: bytes | None) -> None:
        """Replaces the checkpoint, atomically and durably: at every moment the old or the new one is whole on disk."""
        head = f'{{"version":{DEPLOYMENT_VERSION},"checkpoint":{{"stack":{json.dumps(self.qualified_name)}'.encode()
        body = b"" if deployment is None else b',"latest":' + deployment
        try:
            make_folders(self.file.parent)
            write_file(
                self.file,
                head + body + b"}}\n",
                before_rename=lambda: faults.point("engine.state.before_rename"),
            )
            self.remove_torn_attributes()
        except OSError as error:
            raise _cannot(self.file, "be written", error) from error

    def torn_attributes(self) -> list[Path]:
        """What the Pulumi CLI was killed in the middle of writing beside the state (`NAME.json.attrs`, the attributes of its file store).

        While one is no JSON the CLI cannot load the stack ("failed to load checkpoint: EOF", measured with 3.274), though the state
        is whole; without one it can. We need none.
        """
        return [file for file in self._attributes() if _is_torn(file)]

    def remove_torn_attributes(self) -> list[Path]:
        """Removes them; answers which. The stack is locked by the caller, or nobody works on it."""
        torn = self.torn_attributes()
        for file in torn:
            file.unlink(missing_ok=True)
        return torn

    def _attributes(self) -> list[Path]:
        return sorted(self.file.parent.glob(f"{glob.escape(self.file.name)}*{ATTRIBUTES}"))

    def back_up(self) -> None:
        """Keeps the checkpoint of before this run."""
        if self.file.is_file():
            try:
                write_file(self._backup, self.file.read_bytes())
            except OSError as error:
                raise _cannot(self.file, "be copied", error) from error

    def remove(self) -> None:
        """Removes the stack's state."""
        for file in (self.file, self._backup, *self._attributes()):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.file.parent.rmdir()


def _json_object(file: Path) -> dict[str, Any]:
    """What a file holds. Raises OSError, ValueError, RecursionError."""
    found = json.loads(file.read_bytes())
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def _is_torn(file: Path) -> bool:
    try:
        return not isinstance(json.loads(file.read_bytes()), dict)
    except OSError:
        return False
    except ValueError:
        return True


def _cannot(file: Path, what: str, error: OSError) -> Unavailable:
    why = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.EFBIG: "the disk or file size limit is reached",
        errno.EACCES: "permission denied",
        errno.EROFS: "the file system is read-only",
    }.get(error.errno or 0, error.strerror or str(error))
    kept = f" The state of before is intact in {file.name}." if file.is_file() and what == "be written" else ""
    return Unavailable(f"The state {file} cannot {what}: {why}.{kept}")
