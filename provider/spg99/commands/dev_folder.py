"""The data folder of `spg99 dev`: its lock, dev.json (who runs where) and the admin key's file.

Here: files. Not here: starting what they speak of (supervisor.py). dev.json holds no secret.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import stat
from pathlib import Path

from pydantic import BaseModel

from spg99.atomic_write import make_folders, write_file
from spg99.errors import Conflict, Unavailable


class Running(BaseModel):
    """One process that dev started."""

    pid: int


class DevState(BaseModel):
    """What dev.json holds: how to reach a running dev, and the ports to use again at the next start."""

    pid: int | None = None
    cp_url: str = ""
    api_port: int | None = None
    gateway_host: str = "localhost"
    gateway_port: int | None = None
    ca_file: Path | None = None
    """What clients verify the Gateway against."""
    api_ca_file: Path | None = None
    """What clients verify the HTTP API against; None where it speaks plain HTTP or has a certificate of the operator."""
    ca_bundle_file: Path | None = None
    """Both in one file, for programs that take only one."""
    admin_key_file: Path | None = None
    catalogue_url: str | None = None
    """Of the embedded catalogue, which knows its user by the socket. That of another may hold a password."""
    processes: dict[str, Running] = {}


class DevFolder:
    """Paths and files of one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.expanduser().absolute()
        self.state_file = self.data_dir / "dev.json"
        self.lock_file = self.data_dir / "dev.lock"
        self.admin_key_file = self.data_dir / "secrets" / "admin.key"
        self.ca_file = self.data_dir / "gateway" / "tls" / "ca.crt"
        self.api_ca_file = self.data_dir / "control-plane" / "tls" / "ca.crt"
        self.ca_bundle_file = self.data_dir / "ca-bundle.crt"
        self._lock: int | None = None

    def prepare(self) -> None:
        """Makes the folder. Root's PostgreSQL runs as another user, who must be able to walk through it (not read it)."""
        make_folders(self.data_dir)
        seen = self.data_dir.stat()
        if os.geteuid() == 0 and seen.st_uid == 0 and not seen.st_mode & stat.S_IXOTH:
            self.data_dir.chmod(stat.S_IMODE(seen.st_mode) | stat.S_IXOTH)
        self.admin_key_file.parent.mkdir(mode=0o700, exist_ok=True)
        self.admin_key_file.parent.chmod(0o700)

    def lock(self) -> None:
        """Takes the folder for this process, until it ends in whatever way. Raises Conflict with a sentence."""
        handle = os.open(self.lock_file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(handle, 32).decode().strip() or "unknown"
            os.close(handle)
            raise Conflict(
                f"Another `spg99 dev` (pid {pid}) already runs in {self.data_dir}. Stop it, or give another --data-dir."
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._lock = handle

    def unlock(self) -> None:
        """Lets the folder go."""
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def is_locked(self) -> bool:
        """Whether some dev runs here now; a dev that was killed does not count."""
        try:
            handle = os.open(self.lock_file, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def read(self) -> DevState:
        """The last known state; an empty one where there is none or the file is damaged."""
        try:
            return DevState.model_validate_json(self.state_file.read_bytes())
        except (OSError, ValueError):
            return DevState()

    def write(self, state: DevState) -> None:
        """Replaces dev.json as a whole."""
        write_file(self.state_file, state.model_dump_json(indent=2) + "\n", mode=0o644)

    def running(self) -> DevState:
        """The state of the dev that runs here. Raises Unavailable with what to do when none does or it is not up yet."""
        state = self.read()
        if not self.is_locked():
            raise Unavailable(f"No `spg99 dev` runs in {self.data_dir}. Start it, or name its folder with --data-dir.")
        if state.pid is None:
            raise Unavailable(f"The `spg99 dev` in {self.data_dir} is still starting. Try again in a moment.")
        return state

    def write_ca_bundle(self, files: list[Path]) -> Path | None:
        """Puts the certificates of these CAs into one file; None when there are none."""
        if not files:
            self.ca_bundle_file.unlink(missing_ok=True)
            return None
        write_file(self.ca_bundle_file, "".join(file.read_text() for file in files), mode=0o644)
        return self.ca_bundle_file

    def admin_key(self) -> str:
        """The admin key of this folder's installation. Raises Unavailable, with what to do, when there is none to be read."""
        try:
            key = self.admin_key_file.read_bytes().decode("ascii").strip()
        except OSError as error:
            reason = f"cannot be read: {error.strerror}"
        except UnicodeDecodeError:
            reason = "is damaged"
        else:
            if key and key.isprintable():
                return key
            reason = "is damaged" if key else "is empty"
        raise Unavailable(
            f"The admin key {self.admin_key_file} {reason}. "
            f"`spg99 keys recover --data-dir {shlex.quote(str(self.data_dir))}` makes a new one."
        )
