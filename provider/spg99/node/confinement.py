"""What a running compute may take of its node besides disk: memory, CPU, open files, its place when memory runs out.

Here: bounds by size, and setting them on processes and control groups. Not here: storage (storage.py), looking at what
sessions take (memory.py). Every bound that the system does not know is left out, and `Means` says which hold.

Three fences for memory, from the gentle to the hard: a session that asks for more than `session_bytes` gets "out of memory"
for its statement (RLIMIT_DATA); the agent ends the statement of the largest session of a compute that takes more than
`compute_bytes` (memory.py); the kernel ends a process of a group that takes more than `group_bytes` (control group), which
ends that compute, and it wakes with the next connection.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from spg99 import log
from spg99.node.profiles import PROFILES
from spg99.resources import Size

CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
GROUP: Final = "spg99"
MB: Final = 1 << 20
OOM_SESSION: Final = 900
"""When the node has no memory left, sessions of tenants die first (0 is usual, 1000 dies first),"""
OOM_SERVER: Final = 600
"""then the servers themselves; catalogue, Control Plane, agent and Gateway keep theirs and are last."""
NICE: Final = 5
"""Where there are no control groups: behind our own processes, which are what keeps every other tenant alive."""
AFTER_SECONDS: Final = 1.0
"""After its start a server goes into its groups: the kernel takes 10 to 30 ms for it, and meanwhile no process of the whole machine is
made or ends: beside a wake it keeps the client's own session waiting, and nine other starts. Until then each process has its limit."""

_log = log.get("node")


@dataclass(frozen=True)
class MemoryBounds:
    """Memory of a compute of one size, in bytes."""

    session_bytes: int
    compute_bytes: int
    group_bytes: int


def memory_bounds(size: Size) -> MemoryBounds:
    """Bounds that follow from the memory a size promises; room for what every server takes is on top."""
    promised = PROFILES[size].memory_mb * MB
    return MemoryBounds(
        session_bytes=promised,
        compute_bytes=promised + promised // 2 + 64 * MB,
        group_bytes=4 * promised + 256 * MB,  # the system's cache of its files counts in there
    )


@dataclass(frozen=True)
class Means:
    """What this system has for it."""

    session_limit: bool
    """RLIMIT_DATA."""
    groups: str
    """`v2`, `v1` or `none`."""

    def sentence(self) -> str:
        """For `spg99 doctor` and the log."""
        group = {"none": "no control groups: CPU by nice, memory by watching"}.get(
            self.groups, f"control groups {self.groups} for memory and CPU"
        )
        return f"{'a memory limit for each session' if self.session_limit else 'no memory limit for sessions'}; {group}"


def probe(root: Path = CGROUP_ROOT) -> Means:
    """What there is, without making anything: for `spg99 doctor`."""
    if sys.platform != "linux":
        return Means(session_limit=False, groups="none")
    may = os.geteuid() == 0 and os.access(root, os.W_OK)
    with contextlib.suppress(OSError):
        if may and {"memory", "cpu"} <= set((root / "cgroup.controllers").read_text().split()):
            return Means(session_limit=True, groups="v2")
    v1 = os.geteuid() == 0 and any(os.access(root / kind / "cgroup.procs", os.W_OK) for kind in ("memory", "cpu"))
    return Means(session_limit=True, groups="v1" if v1 else "none")


class Confinement:
    """Sets the bounds of this node's computes. `root` is where control groups are mounted."""

    def __init__(self, node_name: str, *, root: Path = CGROUP_ROOT) -> None:
        self._parents = _parents(root, node_name) if sys.platform == "linux" and os.geteuid() == 0 else {}
        self._v2 = "unified" in self._parents
        groups = "v2" if self._v2 else "v1" if self._parents else "none"
        self.after_seconds = AFTER_SECONDS
        self.means = Means(session_limit=sys.platform == "linux", groups=groups)

    def rank(self, compute_id: str, postmaster_pid: int) -> None:
        """Gives a server that has just started its place when memory runs out, and its niceness where there are no control groups.
        What the system refuses is logged and left."""
        if sys.platform != "linux":
            return
        try:
            # Only upwards, which everybody may do: the postmaster's children get theirs by `oom_environment`.
            Path(f"/proc/{postmaster_pid}/oom_score_adj").write_text(str(OOM_SERVER))
            if not self._parents:
                os.setpriority(os.PRIO_PROCESS, postmaster_pid, NICE)
        except OSError as error:
            _log.warning("cannot rank a compute", compute_id=compute_id, reason=str(error))

    def confine(self, compute_id: str, size: Size, postmaster_pid: int) -> None:
        """Moves a server into its control groups; what it makes from then on is born there. What the system refuses is logged and left."""
        within = memory_bounds(size)
        try:
            for kind, parent in self._parents.items():
                self._join(kind, parent / compute_id, size, within, postmaster_pid)
        except (OSError, psutil.Error) as error:
            _log.warning("cannot confine a compute", compute_id=compute_id, reason=str(error))

    def release(self, compute_id: str) -> None:
        """The server has ended: its groups go."""
        for parent in self._parents.values():
            with contextlib.suppress(OSError):
                (parent / compute_id).rmdir()

    def sweep(self, running: set[str]) -> None:
        """Removes groups of computes that run no more (an agent was killed)."""
        for parent in self._parents.values():
            for group in parent.iterdir():
                if group.is_dir() and group.name not in running:
                    with contextlib.suppress(OSError):
                        group.rmdir()

    def _join(self, kind: str, group: Path, size: Size, within: MemoryBounds, postmaster_pid: int) -> None:
        group.mkdir(exist_ok=True)
        weight = list(Size).index(size) + 1
        settings = {
            "unified": {"memory.max": within.group_bytes, "memory.oom.group": 0, "cpu.weight": 100 * weight},
            "memory": {"memory.limit_in_bytes": within.group_bytes},
            "cpu": {"cpu.shares": 1024 * weight},
        }[kind]
        for name, value in settings.items():
            with contextlib.suppress(FileNotFoundError):
                (group / name).write_text(str(value))
        processes = group / "cgroup.procs"
        with contextlib.suppress(ProcessLookupError):
            processes.write_text(str(postmaster_pid))
        for child in _children(postmaster_pid):  # read after that: what is made since is born in the group
            with contextlib.suppress(ProcessLookupError):
                processes.write_text(str(child))


def _children(pid: int) -> list[int]:
    """One file where the kernel keeps it (CONFIG_PROC_CHILDREN); else a look at every process of the machine, some 5 ms of our one
    core while other databases wait to be woken."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return [child.pid for child in psutil.Process(pid).children()]


def oom_environment() -> dict[str, str]:
    """What makes PostgreSQL give each of its children a place of its own in the order of death."""
    if sys.platform != "linux":
        return {}
    return {"PG_OOM_ADJUST_FILE": "/proc/self/oom_score_adj", "PG_OOM_ADJUST_VALUE": str(OOM_SESSION)}


def _parents(root: Path, node_name: str) -> dict[str, Path]:
    """A folder of ours for each controller, made if need be; {} where none may be made."""
    try:
        controllers = (root / "cgroup.controllers").read_text().split()
    except OSError:
        controllers = []
    try:
        if {"memory", "cpu"} <= set(controllers):
            return {"unified": _unified(root, node_name)}
        found = {}
        for kind in ("memory", "cpu"):
            if (root / kind / "cgroup.procs").exists():
                found[kind] = root / kind / GROUP / node_name
                found[kind].mkdir(parents=True, exist_ok=True)
        return found
    except OSError as error:
        _log.warning("no control groups", reason=str(error))
        return {}


def _unified(root: Path, node_name: str) -> Path:
    parent = root
    for step in (GROUP, node_name):
        (parent / "cgroup.subtree_control").write_text("+memory +cpu")
        parent = parent / step
        parent.mkdir(exist_ok=True)
    (parent / "cgroup.subtree_control").write_text("+memory +cpu")
    return parent
