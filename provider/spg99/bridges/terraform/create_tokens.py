"""Tokens under which objects are created, kept in Terraform's data folder until its state is known to hold the object.

Terraform has no name for a declaration that a provider could see, so a create is recognised by a random token. It is
written down before the request goes out. What an ended run left is taken up by the next create of the same thing, which so
goes on with its object instead of making a second one: after an error (nobody knows what came of the request) and after
success, since a state that Terraform has been told is written up to twenty seconds later, and it may be killed before. When
it shows that its state holds the object, the token goes (handed_over.py).

Each is claimed once, and never in the run of Terraform that wrote it, so two declarations of the same name do not share an
object. A workspace and a backend are part of what a token is for: their states hold objects of their own. Without a folder
to write to, tokens live as long as the process: a lost answer is still asked for again, only a killed process is not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from spg99 import pids
from spg99.bridges.terraform.handed_over import FOLDER, KEPT_SECONDS
from spg99.shapes import Noun

LEFT = "left"
"""In place of a process: whoever comes first may have it."""


class Create:
    """One create that is under way."""

    def __init__(self, token: str, path: Path | None) -> None:
        self.token = token
        self.uid = ""
        self._path = path
        self._terraform = _of(os.getppid())

    def made(self, uid: Any) -> None:
        """The object that came of it, by its uid."""
        self.uid = uid if isinstance(uid, str) and uid.replace("_", "").replace("-", "").isalnum() else ""

    def leave(self) -> None:
        """For the next create of the same thing."""
        self._become(LEFT)

    def hand_over(self) -> None:
        """Terraform is told of the object. While it runs nobody else may have the token; when it has gone already, anybody."""
        # An orphan's parent is somebody else, who may live for ever.
        is_there = _lives(self._terraform) and _of(os.getppid()) == self._terraform
        self._become(f"{self._terraform}.{self.uid}" if is_there and self.uid else LEFT)

    def _become(self, owner: str) -> None:
        if self._path is not None:
            with contextlib.suppress(OSError):
                prefix, token = self._path.name.split(".")[:2]
                self._path = self._path.rename(self._path.with_name(f"{prefix}.{token}.{owner}"))


def data_folder(environment: Mapping[str, str]) -> Path | None:
    """Terraform's data folder of the configuration that is being applied; None when there is none."""
    folder = Path(environment.get("TF_DATA_DIR") or ".terraform")
    return folder / FOLDER if folder.is_dir() else None


@contextlib.contextmanager
def token_for(
    folder: Path | None,
    address: str,
    noun: Noun,
    inputs: Mapping[str, Any],
    nobody_hears: Callable[[], bool] = lambda: False,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Create]:
    """A token for one create; `address` tells Control Planes apart, `environment` names the workspace.

    After an error it is left for the next create: the request may have been carried out. A token under which nothing was
    made costs nothing. It is also left when Terraform has gone (`nobody_hears`).
    """
    prefix = _prefix(_place(folder, environment or {}), address, noun, inputs)
    claimed = _claimed(folder, prefix) or _written(folder, prefix)
    create = Create(claimed.name.split(".")[1] if claimed is not None else secrets.token_hex(16), claimed)
    try:
        yield create
    except BaseException:
        # An object that is there but not as wanted yet is told to Terraform, like one that is.
        (create.leave if nobody_hears() or not create.uid else create.hand_over)()
        raise
    (create.leave if nobody_hears() else create.hand_over)()


def _place(folder: Path | None, environment: Mapping[str, str]) -> list[Any]:
    """Which state this is about: its workspace and its backend, as Terraform's data folder tells."""
    if folder is None:
        return []
    workspace, backend = environment.get("TF_WORKSPACE", ""), None
    with contextlib.suppress(OSError):
        workspace = workspace or (folder.parent / "environment").read_text().strip()
    with contextlib.suppress(OSError, ValueError, AttributeError):
        backend = json.loads((folder.parent / "terraform.tfstate").read_text()).get("backend")
    return [workspace or "default", backend]


def _prefix(place: list[Any], address: str, noun: Noun, inputs: Mapping[str, Any]) -> str:
    """What a create is of: the object's name where it has one, else all of its inputs but secrets."""
    hidden = noun.secrets()
    names = noun.id_fields() if noun.has_name() else tuple(name for name in sorted(inputs) if name not in hidden)
    which = {name: inputs.get(name) for name in names}
    what = json.dumps([place, address, noun.noun, which], sort_keys=True, default=str)
    return hashlib.sha256(what.encode()).hexdigest()[:32]


def _claimed(folder: Path | None, prefix: str) -> Path | None:
    """A token of a run that has ended, now ours."""
    if folder is None or not folder.is_dir():
        return None
    for left in sorted(folder.glob(f"{prefix}.*")):
        token, owner = left.name.split(".")[1:3]
        with contextlib.suppress(OSError):
            if _lives(owner):
                continue
            if _age(left) > KEPT_SECONDS:
                left.unlink()
                continue
            ours = folder / f"{prefix}.{token}.{_me()}"
            left.rename(ours)  # fails for all but one of those who try
            return ours
    return None


def _written(folder: Path | None, prefix: str) -> Path | None:
    if folder is None:
        return None
    path = folder / f"{prefix}.{secrets.token_hex(16)}.{_me()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError:
        return None
    os.close(descriptor)
    return path


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def _me() -> str:
    return _of(os.getpid())


def _of(pid: int) -> str:
    return f"{pid}-{pids.started(pid)}"


def _lives(owner: str) -> bool:
    pid, _, since = owner.partition("-")
    return pid.isdigit() and since != "" and pids.lives(int(pid), since)
