"""The unprivileged user that runs PostgreSQL when we are root. Here: finding it, folders for it, whether it can reach
one. Not here: starting anything. Nothing here changes the mode of a folder that we did not make."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spg99.errors import BadRequest, Internal

DEFAULT_ACCOUNT = "nobody"


@dataclass(frozen=True)
class Account:
    """A user of this machine under whose id processes run and files are kept."""

    name: str
    uid: int
    gid: int

    def popen_options(self) -> dict[str, Any]:
        """What makes subprocess.Popen run as this account, with none of root's groups."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def service_account(run_as: str | None) -> Account | None:
    """The account for PostgreSQL when this process is root (PostgreSQL refuses uid 0), else None: our own user does.

    Raises BadRequest when `run_as` names nobody on this machine, or root, or another user while we are not root.
    """
    import pwd  # not on Windows, where this module must still import

    if os.geteuid() != 0:
        if run_as is not None and run_as != pwd.getpwuid(os.geteuid()).pw_name:
            raise BadRequest(f"Only root can run PostgreSQL as another user ('{run_as}'). Leave out run_as.")
        return None
    name = run_as or DEFAULT_ACCOUNT
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise BadRequest(
            f"PostgreSQL refuses to run as root, and the user '{name}' that should run it does not exist on this machine. "
            "Name another one with run_as (SPG99_RUN_AS)."
        ) from None
    if entry.pw_uid == 0:
        raise BadRequest(f"PostgreSQL refuses to run as root; '{name}' has uid 0. Name another user with run_as.")
    return Account(name, entry.pw_uid, entry.pw_gid)


def require_reachable(folder: Path, account: Account | None) -> None:
    """Raises BadRequest, naming the folder in the way, when `account` cannot walk to `folder`. Changes nothing."""
    if (blocked := blocking_folder(folder, account)) is not None:
        assert account is not None
        raise BadRequest(
            f"The user '{account.name}', who runs PostgreSQL here, cannot enter {blocked}, so it cannot reach {folder}. "
            "Choose another data folder with --data-dir (SPG99_DATA_DIR), or let others enter that folder (chmod o+x)."
        )


def blocking_folder(folder: Path, account: Account | None) -> Path | None:
    """The first folder on the way to `folder` (itself included) that `account` cannot enter; None when it can walk."""
    if account is None:
        return None
    resolved = folder.resolve()
    for step in [*reversed(resolved.parents), resolved]:
        if step.exists() and not _may_enter(step.stat(), account):
            return step
    return None


def _may_enter(status: os.stat_result, account: Account) -> bool:
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def make_folder(folder: Path, *, mode: int, owner: Account | None = None) -> None:
    """Makes `folder` with exactly this mode whatever the umask, owned by `owner`, and missing parents open for walking.
    Folders that exist stay as they are."""
    if not folder.parent.exists():
        make_folder(folder.parent, mode=0o755)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise Internal(f"{folder} is in the way: a folder must stand there.") from None
        return
    if owner is not None:
        os.chown(folder, owner.uid, owner.gid)
    folder.chmod(mode)
