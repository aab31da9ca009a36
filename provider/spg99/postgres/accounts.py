"""The unprivileged user that runs PostgreSQL when we are root. Here: finding and making it, folders for it, whether it can
reach one, files that were another's. Not here: starting anything. Nothing here changes the mode of a folder that we did
not make."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from spg99 import log
from spg99.atomic_write import sync_folder
from spg99.errors import BadRequest, Internal

DEFAULT_ACCOUNT: Final = "spg99"
"""Of its own: whatever else runs as the same user could read every database."""
SHARED_ACCOUNT: Final = "nobody"
"""Where there is no account of its own and none can be made (a read-only system)."""
_MAKE_SECONDS_MAX: Final = 30

_log = log.get("postgres")


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

    `run_as` None: the account of our own, where there is one, else one that others share.

    Raises BadRequest when `run_as` names nobody on this machine, or root, or another user while we are not root.
    """
    import pwd  # not on Windows, where this module must still import

    if os.geteuid() != 0:
        if run_as is not None and run_as != pwd.getpwuid(os.geteuid()).pw_name:
            raise BadRequest(f"Only root can run PostgreSQL as another user ('{run_as}'). Leave out run_as.")
        return None
    name = run_as or (DEFAULT_ACCOUNT if account_exists(DEFAULT_ACCOUNT) else SHARED_ACCOUNT)
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


def prepare_account(run_as: str | None) -> Account | None:
    """As `service_account`, and makes the account of our own where it is missing and this system lets us."""
    if os.geteuid() == 0 and run_as is None and not account_exists(DEFAULT_ACCOUNT):
        _make_account(DEFAULT_ACCOUNT)
    return service_account(run_as)


def account_exists(name: str) -> bool:
    """Whether this machine knows a user of this name."""
    import pwd  # not on Windows, where this module must still import

    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def command_for_account(name: str) -> list[str] | None:
    """The command by which this system makes a user without home, shell or password; None when it has none."""
    if (useradd := shutil.which("useradd")) is not None:
        return [useradd, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
                "--shell", "/usr/sbin/nologin", "--comment", "PostgreSQL of SPG99", name]  # fmt: skip
    if (adduser := shutil.which("adduser")) is not None:  # busybox
        return [adduser, "-S", "-D", "-H", "-h", "/nonexistent", "-s", "/sbin/nologin", name]
    return None


def _make_account(name: str) -> None:
    command = command_for_account(name)
    reason = "this system has neither useradd nor adduser"
    if command is not None:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_MAKE_SECONDS_MAX, check=False)
            reason = (done.stderr or done.stdout).strip()
        except (OSError, subprocess.SubprocessError) as error:
            reason = str(error)
    if account_exists(name):  # also when another process of ours was faster
        _log.info("made an account that runs PostgreSQL and nothing else", account=name)
    else:
        _log.warning("no account of its own for PostgreSQL: it shares one", account=SHARED_ACCOUNT, reason=reason)


def take_over(folder: Path, account: Account | None) -> None:
    """Gives the files of a stopped cluster to the account that runs it from now on, where they were of one that ran it by
    default before. Whoever else owns them is not our business: PostgreSQL says so.

    The folder itself comes last, so what is cut short is done again. Only what the former account owned is given on, and
    no second name of a file: somebody else of that account may have put a name of a foreign file there.
    """
    former = folder.lstat().st_uid
    if account is None or former == account.uid or former not in _own_uids():
        return
    _log.info("the files go to another account", folder=str(folder), account=account.name)
    for place, folders, files in os.walk(folder, topdown=False):
        for name in (*files, *folders):
            path = os.path.join(place, name)
            seen = os.lstat(path)
            if seen.st_uid == former and (stat.S_ISDIR(seen.st_mode) or seen.st_nlink == 1):
                os.chown(path, account.uid, account.gid, follow_symlinks=False)
    os.chown(folder, account.uid, account.gid)


def _own_uids() -> set[int]:
    import pwd  # not on Windows, where this module must still import

    return {pwd.getpwnam(name).pw_uid for name in (DEFAULT_ACCOUNT, SHARED_ACCOUNT) if account_exists(name)}


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


def make_folder(folder: Path, *, mode: int, owner: Account | None = None, durable: bool = True) -> None:
    """Makes `folder` with exactly this mode whatever the umask, owned by `owner`, and missing parents open for walking.
    `durable`: its name lasts through a power cut. Folders that exist stay as they are."""
    if not folder.parent.exists():
        make_folder(folder.parent, mode=0o755, durable=durable)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise Internal(f"{folder} is in the way: a folder must stand there.") from None
        return
    if owner is not None:
        os.chown(folder, owner.uid, owner.gid)
    folder.chmod(mode)
    if durable:
        sync_folder(folder.parent)
