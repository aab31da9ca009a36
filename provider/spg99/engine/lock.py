"""The lock on a stack, in Pulumi's file format. Here: taking and leaving it. Not here: what happens under it."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spg99 import pids
from spg99.atomic_write import write_file
from spg99.engine.backend import ATTRIBUTES, StackFile
from spg99.errors import Conflict, Unavailable

_STARTED = "spg99Started"
"""Not Pulumi's, which passes over it: when the owner began, so that a later process of its number is not taken for it."""


@contextlib.contextmanager
def held(stack: StackFile) -> Iterator[list[str]]:
    """Holds the stack's lock; gives sentences about locks of dead processes that were removed.

    Raises Conflict that names the owner and the age of a lock somebody else holds.
    """
    file = stack.lock_folder / f"{uuid.uuid4()}.json"
    notes = _refuse_when_held(stack)
    content = {
        "pid": os.getpid(),
        "username": _username(),
        "hostname": socket.gethostname(),
        "timestamp": datetime.now(UTC).isoformat(),
        _STARTED: pids.started(os.getpid()),
    }
    try:
        stack.lock_folder.mkdir(parents=True, exist_ok=True)
        # In there every file counts as a lock, a draft too.
        write_file(file, json.dumps(content), durable=False, draft_folder=stack.lock_folder.parent)
    except OSError as error:
        raise Unavailable(f"The lock {file} cannot be written: {error.strerror}.") from error
    try:
        # Two that came at once see each other here, and both step back: nobody works unlocked.
        _refuse_when_held(stack, own=file)
        yield notes
    finally:
        file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            stack.lock_folder.rmdir()


def locks(stack: StackFile) -> list[tuple[Path, dict[str, Any]]]:
    """Every lock on the stack with what is written in it (empty when unreadable)."""
    found = []
    # Beside each lock Pulumi's backend keeps its attributes (`<lock>.attrs`), which are no lock.
    for file in sorted(f for f in stack.lock_folder.glob("*") if f.suffix != ATTRIBUTES):
        try:
            content = json.loads(file.read_text())
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            content = {}
        found.append((file, content if isinstance(content, dict) else {}))
    return found


def break_locks(stack: StackFile) -> int:
    """Removes every lock (`cancel`); answers how many there were."""
    found = locks(stack)
    for file, _ in found:
        _remove(file)
    return len(found)


def holders(stack: StackFile) -> list[str]:
    """Who works on the stack now, as far as anybody can tell."""
    return [describe(content) for _, content in locks(stack) if not _is_dead(content)]


def _remove(file: Path) -> None:
    for each in (file, file.with_name(file.name + ATTRIBUTES)):
        each.unlink(missing_ok=True)


def _refuse_when_held(stack: StackFile, own: Path | None = None) -> list[str]:
    notes: list[str] = []
    held_by: list[str] = []
    for file, content in locks(stack):
        if file == own:
            continue
        owner = describe(content)
        if _is_dead(content):
            _remove(file)
            notes.append(f"Removed the lock of {owner}: that process is gone.")
        else:
            held_by.append(f"{owner} ({file})")
    if held_by:
        raise Conflict(
            f"The stack '{stack.name}' is locked by {'; '.join(held_by)}. "
            "Wait for it to end, or remove the lock with `spg99 cancel` if nobody is at work."
        )
    return notes


def describe(content: dict[str, Any]) -> str:
    """Owner and age of a lock."""
    text = f"{content.get('username', '?')}@{content.get('hostname', '?')} (pid {content.get('pid', '?')})"
    taken = _taken_at(content)
    if taken is None:
        return text
    return f"{text} for {max(0, int((datetime.now(UTC) - taken).total_seconds()))} s"


def _taken_at(content: dict[str, Any]) -> datetime | None:
    # Go writes nanoseconds and `Z`; Python 3.11 reads both
    try:
        taken = datetime.fromisoformat(str(content.get("timestamp")))
    except ValueError:
        return None
    return taken if taken.tzinfo else taken.replace(tzinfo=UTC)


def _is_dead(content: dict[str, Any]) -> bool:
    """Whether the owner was a process of this machine that runs no more. Its timestamp tells nothing: the wall clock may have
    been set meanwhile. Pulumi's own locks name no start, so whatever lives under their number counts as their owner."""
    pid, since = content.get("pid"), content.get(_STARTED)
    if content.get("hostname") != socket.gethostname() or not isinstance(pid, int) or pid <= 0:
        return False
    return not pids.lives(pid, since if isinstance(since, str) else "")


def _username() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
