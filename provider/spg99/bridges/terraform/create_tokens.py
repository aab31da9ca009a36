"""Tokens under which objects are created, kept in Terraform's data folder until the answer is in its hands.

Terraform has no name for a declaration that a provider could see, so a create is recognised by a random token. It is
written down before the request goes out and taken away when the result is handed over: what is found later was left by a
process that died in between, and the next create of the same thing goes on with it instead of making a second object.
Each is claimed once, so two declarations of the same name never share an object. Without a folder to write to, tokens
live as long as the process: a lost answer is still asked for again, only a killed process is not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from spg99.errors import Internal, Spg99Error, Unavailable
from spg99.shapes import Noun

FOLDER = "spg99-creates"
LEFT = "left"
"""In place of a process: whoever comes first may have it."""
KEPT_SECONDS = 24 * 3600.0
"""The Control Plane forgets a create after a day; an older token means nothing to it."""


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
) -> Iterator[str]:
    """A token for one create; `address` tells Control Planes apart.

    It is forgotten when the block ends. It is left for the next create when the object may be there and nobody will know:
    after an error without an answer of the Control Plane, and when Terraform has gone (`nobody_hears`).
    """
    prefix = _prefix(address, noun, inputs)
    claimed = _claimed(folder, prefix) or _written(folder, prefix)
    token = claimed.name.split(".")[1] if claimed is not None else secrets.token_hex(16)
    try:
        yield token
    except (Unavailable, Internal):
        _leave(claimed)
        raise
    except Spg99Error:
        (_leave if nobody_hears() else _forget)(claimed)
        raise
    (_leave if nobody_hears() else _forget)(claimed)


def _leave(path: Path | None) -> None:
    if path is not None:
        with contextlib.suppress(OSError):
            path.rename(path.with_name(f"{path.name.rpartition('.')[0]}.{LEFT}"))


def _forget(path: Path | None) -> None:
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink()


def _prefix(address: str, noun: Noun, inputs: Mapping[str, Any]) -> str:
    """What a create is of: the object's name where it has one, else all of its inputs but secrets."""
    hidden = noun.secrets()
    names = noun.id_fields() if noun.has_name() else tuple(name for name in sorted(inputs) if name not in hidden)
    what = json.dumps([address, noun.noun, {name: inputs.get(name) for name in names}], sort_keys=True, default=str)
    return hashlib.sha256(what.encode()).hexdigest()[:32]


def _claimed(folder: Path | None, prefix: str) -> Path | None:
    """A token of a process that is dead, now ours."""
    if folder is None or not folder.is_dir():
        return None
    for left in sorted(folder.glob(f"{prefix}.*")):
        token, _, owner = left.name.partition(".")[2].partition(".")
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
    import time

    return time.time() - path.stat().st_mtime


def _me() -> str:
    return f"{os.getpid()}-{_started(os.getpid())}"


def _lives(owner: str) -> bool:
    pid, _, started = owner.partition("-")
    return pid.isdigit() and _started(int(pid)) == started and started != ""


def _started(pid: int) -> str:
    """When a process began, as the system counts it; empty when it is gone. Tells a process from a later one of its number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _alive_elsewhere(pid)
    state, *rest = stat.rpartition(")")[2].split()
    # A dead process that nobody has buried yet still has its line.
    return "" if state in ("Z", "X") else rest[18]


def _alive_elsewhere(pid: int) -> str:
    """Systems without /proc: only whether a process of this number lives."""
    if os.path.isdir("/proc/self"):
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        return "0"
    return "0"
