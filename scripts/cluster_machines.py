"""Machines for a demonstration on one computer: network namespaces where we are root, else addresses of the loopback interface.

Here: making them, running programs on them, killing all of one, cutting its cable. Not here: what runs there (demo_cluster.py).
A machine in a namespace sees its own folder and not those of the others, so that they really meet over the network: a unix socket can be entered from
every namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

SPG99: Final = [str(Path(sys.executable).with_name("spg99"))]
READY_SECONDS_MAX: Final = 180.0


class Machines:
    """All of them. Use it as `with`: afterwards nothing of them is left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own = folder / "m"
        self.own.mkdir()
        self.own.chmod(0o755)
        self.has_namespaces = os.geteuid() == 0 and shutil.which("ip") is not None and _works("unshare -n -m true")
        number = os.getpid() % 200 + 20
        self.tag = f"spgc{os.getpid() % 10000}"
        self.network = f"10.99.{number}"
        self.machines: dict[str, Machine] = {}

    def __enter__(self) -> Machines:
        if self.has_namespaces:
            _run(f"ip link add {self.tag} type bridge")
            _run(f"ip addr add {self.network}.1/24 dev {self.tag}")
            _run(f"ip link set {self.tag} up")
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self.machines.values():
            machine.kill()
            machine.remove()
        if self.has_namespaces:
            _run(f"ip link del {self.tag}", check=False)

    @property
    def outside(self) -> str:
        """The address of this computer as the machines see it."""
        return f"{self.network}.1" if self.has_namespaces else "127.0.0.1"

    def add(self, name: str) -> Machine:
        """Another machine."""
        machine = self.machines[name] = Machine(self, name, len(self.machines) + 2)
        return machine


class Machine:
    """One of them."""

    def __init__(self, machines: Machines, name: str, number: int) -> None:
        self.name = name
        self.folder = machines.own / name
        self.folder.mkdir()
        self.folder.chmod(0o711)
        self.is_cut = False
        self._all = machines
        self._processes: list[subprocess.Popen[bytes]] = []
        self._namespace = f"{machines.tag}-{name}"
        self._cable = f"{machines.tag}{number}"
        self.address = f"{machines.network}.{number}" if machines.has_namespaces else f"127.0.0.{number}"
        if machines.has_namespaces:
            _run(f"ip netns add {self._namespace}")
            _run(f"ip link add {self._cable} type veth peer name eth0 netns {self._namespace}")
            _run(f"ip link set {self._cable} master {machines.tag} up")
            for command in ("ip link set lo up", f"ip addr add {self.address}/24 dev eth0", "ip link set eth0 up"):
                _run(f"ip netns exec {self._namespace} {command}")

    def start(self, *command: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
        """Runs `spg99 <command>` there; answers what it says when it is ready."""
        words = [*SPG99, *command, "--data-dir", str(self.folder)]
        if self._all.has_namespaces:
            words = ["ip", "netns", "exec", self._namespace, "unshare", "-m", "sh", "-c", self._alone(words)]
        with (self.folder.parent.parent / f"{self.name}.log").open("ab") as log:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
                env=os.environ | {"SPG99_LOG_JSON": "true"} | (environment or {}),
            )  # fmt: skip
        self._processes.append(process)
        return ready(process, f"{self.name}: spg99 {command[0]}")

    def _alone(self, words: list[str]) -> str:
        """The program with the folders of all other machines out of its sight."""
        held = self._all.folder / f"held-{self.name}"
        held.mkdir(exist_ok=True)
        place = shlex.quote(str(self._all.own))
        mine, held_ = shlex.quote(str(self.folder)), shlex.quote(str(held))
        return (
            f"mount --make-rprivate / && mount --bind {mine} {held_} && mount -t tmpfs -o mode=755 tmpfs {place} && mkdir {mine} && "
            f"mount --move {held_} {mine} && exec {shlex.join(words)}"
        )

    def kill(self) -> None:
        """Ends every process of it at once, as a power cut does."""
        if self._all.has_namespaces:
            for _ in range(20):
                pids = _run(f"ip netns pids {self._namespace}", check=False).split()
                if not pids:
                    break
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                time.sleep(0.02)
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if not self._all.has_namespaces:
            self._kill_by_folder()
        self._processes.clear()

    def _kill_by_folder(self) -> None:
        for status in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if f"{self.folder}/".encode() in status.read_bytes():
                    os.kill(int(status.parent.name), signal.SIGKILL)

    def cut(self) -> None:
        """Pulls its cable: no packet goes either way, and nobody is told."""
        self.is_cut = True
        _run(f"ip link set {self._cable} down")

    def heal(self) -> None:
        """Puts the cable back."""
        self.is_cut = False
        _run(f"ip link set {self._cable} up")

    def remove(self) -> None:
        """Takes the namespace away."""
        if self._all.has_namespaces:
            _run(f"ip netns del {self._namespace}", check=False)


class Balancer:
    """Hands connections to whichever of several servers takes them: what stands before Control Planes."""

    def __init__(self, host: str, targets: list[tuple[str, int]]) -> None:
        self._host, self._targets = host, targets
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="balancer", daemon=True)
        self._next = 0
        self.port = 0

    def __enter__(self) -> Balancer:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(_end_all(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _open(self) -> None:
        server = await asyncio.start_server(self._serve, self._host, 0)
        self.port = server.sockets[0].getsockname()[1]

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        for _ in self._targets:
            self._next += 1
            host, port = self._targets[self._next % len(self._targets)]
            try:
                server, to_server = await asyncio.wait_for(asyncio.open_connection(host, port), 1.0)
                break
            except (OSError, TimeoutError):
                continue
        else:
            to_client.close()
            return
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(_carry(client, to_server), _carry(server, to_client))


async def _end_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _carry(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            to.write(data)
            await to.drain()
    to.close()


def ready(process: subprocess.Popen[bytes], what: str) -> dict[str, Any]:
    """What a program says when it is ready. Ends this program when it does not."""
    assert process.stdout is not None
    line: list[bytes] = []
    reading = threading.Thread(target=lambda: line.append(process.stdout.readline()), daemon=True)  # type: ignore[union-attr]
    reading.start()
    reading.join(READY_SECONDS_MAX)
    try:
        said: dict[str, Any] = json.loads(line[0])
    except (IndexError, ValueError):
        raise SystemExit(
            f"{what} did not become ready (exit code {process.poll()}); its log is beside the machines' folders."
        ) from None
    return said


def _run(command: str, *, check: bool = True) -> str:
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise SystemExit(f"{command}: {done.stderr.strip()}")
    return done.stdout


def _works(command: str) -> bool:
    return subprocess.run(shlex.split(command), capture_output=True, check=False).returncode == 0
