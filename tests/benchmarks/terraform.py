"""Our Terraform provider against a minimal one in Go and the frameworks from PyPI: handshake, and commands with 1, 100 and 1,000 resources.

All of them start for real, from one file-system mirror, in turn within each round.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tests.benchmarks.table import Table, mid, ms, ratio
from tests.benchmarks.terraform_peers import FRAMEWORKS, PEERS, Missing, Peer, go_floor, ours_small, python_floor

from integration.tfplugin.plugin_driver import certificate
from proof.server import API_KEY, Server, running
from spg99 import __version__
from spg99.bridges.terraform import installation
from spg99.bridges.terraform.provider import TerraformProvider
from spg99.prepared import PACKAGE
from spg99.shapes import Package
from terraform_cli import Workspace, block, settings_of, terraform
from tfplugin import handshake

STEPS = {
    "plan (new)": (2, ("plan", "-input=false", "-detailed-exitcode")),
    "apply": (0, ("apply", "-input=false", "-auto-approve")),
    "plan (no change)": (0, ("plan", "-input=false", "-detailed-exitcode")),
    "destroy": (0, ("destroy", "-input=false", "-auto-approve")),
}
"""Commands in their order, each with the exit status that says it did what its name says."""
ROUNDS = {1: 5, 100: 3, 1000: 2}
"""How often, by the number of resources."""
HANDSHAKES = 10
GOALS = {1: 1.7, 1000: 1.15}
"""`plan` of so many new resources, at most so many times that of the Go floor with a resource of the same size."""
FLOOR, WIDE, OURS, SMALL = "floor_database", "floor_wide_database", "spg99_database", "small_database"
BASES = {OURS: WIDE, FLOOR: "", WIDE: ""}
"""What a resource is compared with; all others with FLOOR."""
IN_PROCESS = Peer("terraform_data (inside Terraform)", "terraform_data", Path(), "terraform_data")
ALL_COMMANDS_MAX = {FLOOR: 1000, OURS: 1000}
"""Up to how many resources all four commands are measured; for others 100, and beyond it `plan (new)` alone: they take minutes."""
PLAN_MAX = {"pyfloor_database": 100}
"""Up to how many resources there is a plan at all."""
ROUNDS_MAX = {("pyfloor_database", 1): 3, ("pyfloor_database", 100): 2, ("tffloor_database", 1): 3, (WIDE, 1000): 1}
"""They are so far away that a few rounds tell; each is seconds."""


@dataclass
class Entrant:
    """One provider with a workspace for each number of resources."""

    peer: Peer
    workspaces: dict[int, Workspace]


def run(*, quick: bool = False) -> list[Table]:
    """The Terraform tables of issue 4, section 7."""
    began = os.getloadavg()[0]
    sizes = {1: 2, 20: 1} if quick else ROUNDS
    with tempfile.TemporaryDirectory(prefix="tfb") as scratch, running(PACKAGE, also=_small().nouns) as server:
        peers, missing = _peers(Path(scratch))
        entrants = [_entrant(peer, Path(scratch), server.url, sizes) for peer in (IN_PROCESS, *peers)]
        tables = [_handshakes(peers, 3 if quick else HANDSHAKES, Path(scratch)), _commands(entrants, sizes, server)]
    tables[0].notes += missing
    tables[1].notes.append(
        f"Load average of the machine before and after: {began:.1f}, {os.getloadavg()[0]:.1f}"
        + (" (it was not idle: look at ratios only)." if began > 1 else ".")
    )
    return tables


def _small() -> Package:
    sys.path.append(str(PEERS / "small"))
    return importlib.import_module("small_package").SMALL  # type: ignore[no-any-return]


def _peers(scratch: Path) -> tuple[list[Peer], list[str]]:
    """The providers in the mirror, and a line for each that cannot be had."""
    mirror = scratch / "mirror"
    (ours,) = installation.install(mirror, __version__, names=("terraform",))
    width = len(TerraformProvider(PACKAGE).tables.resources[OURS].attributes)
    peers, missing = [], []
    for make in (
        lambda: go_floor(mirror, scratch),
        lambda: ours_small(mirror),
        *(partial(python_floor, framework, mirror, scratch) for framework in FRAMEWORKS),
    ):
        try:
            peers.append(make())
        except Missing as reason:
            missing.append(f"Left out: {reason}.")
            print(f"   left out: {reason}", flush=True)
    if peers[0].type_name == FLOOR:
        wide = replace(peers[0], title=f"Go floor, {width} attributes", resource=WIDE)
        peers.insert(len(peers), wide)
    return [*peers, Peer(f"spg99, {width} attributes", "spg99", ours)], missing


def _entrant(peer: Peer, scratch: Path, url: str, sizes: dict[int, int]) -> Entrant:
    workspaces = {}
    for count in sizes:
        folder = scratch / f"{peer.type_name}-{count}"
        if peer is IN_PROCESS:
            work = Workspace(folder, binary=terraform(), mirror=scratch / "mirror").write("", "versions.tf")
            work.write(f'resource "terraform_data" "it" {{\n  count = {count}\n  input = "db${{count.index}}"\n}}\n')
        else:
            settings = settings_of(url, API_KEY) if peer.type_name in (OURS, SMALL) else None
            work = Workspace(folder, mirror=scratch / "mirror", name=peer.name, settings=settings)
            named = f'  count = {count}\n  name = "db${{count.index}}"\n'
            work.write(block("resource", peer.type_name, "it", {"tenant": f"{peer.name}{count}"}, extra=named))
        work.init()
        workspaces[count] = work
    return Entrant(peer, workspaces)


def _commands(entrants: list[Entrant], sizes: dict[int, int], server: Server) -> Table:
    table = Table(
        "Terraform: a whole command with real starts of the provider, in seconds (times the Go floor)",
        ("resources", "provider", *STEPS),
    )
    asked: dict[str, set[float]] = {}
    for count, rounds in sizes.items():
        took: dict[tuple[str, str], list[float]] = {}
        for turn in range(rounds):
            for step, (status, command) in STEPS.items():
                for entrant in entrants[turn % len(entrants) :] + entrants[: turn % len(entrants)]:
                    name = entrant.peer.type_name
                    if not _takes_part(name, step, count, turn):
                        continue
                    before, began = len(server.requests), time.perf_counter()
                    done = entrant.workspaces[count].run(*command, check=False, seconds=300)
                    took.setdefault((name, step), []).append(time.perf_counter() - began)
                    if name == OURS:
                        asked.setdefault(step, set()).add(round((len(server.requests) - before) / count, 1))
                    assert done.code == status, f"{name}, {step} of {count}: {done.code}, {done.text[-2000:]}"
        for entrant in entrants:
            cells = (_cell(took, entrant.peer.type_name, step, count) for step in STEPS)
            table.add(f"{count:,}", entrant.peer.title, *cells)
    table.notes.append(
        "In brackets: times the Go floor with a resource of the same size, and for the whole of spg99 also times the one of 3"
        " attributes. Medians of "
        + ", ".join(f"{rounds} rounds of {count:,}" for count, rounds in sizes.items())
        + " (fewer"
        " of what takes long). The peers keep what they are given and talk to nobody; ours talks to a server in"
        " the benchmark's own process, on the same cores. Requests that it got for each database: "
        + ", ".join(f"{step} {' or '.join(f'{each:g}' for each in sorted(seen))}" for step, seen in asked.items())
        + "."
    )
    return table


def _takes_part(name: str, step: str, count: int, turn: int) -> bool:
    if count > PLAN_MAX.get(name, count) or turn >= ROUNDS_MAX.get((name, count), turn + 1):
        return False
    return step == "plan (new)" or (count <= ALL_COMMANDS_MAX.get(name, 100) and (count < 1000 or turn == 0))


def _cell(took: dict[tuple[str, str], list[float]], name: str, step: str, count: int) -> str:
    if (name, step) not in took:
        return "not measured"
    seconds = mid(took[name, step])
    goal = GOALS.get(count) if name in (OURS, SMALL) and step == "plan (new)" else None
    ratios = [
        ratio(seconds, mid(took[base, step]), goal=goal if base == BASES.get(name, FLOOR) else None)
        for base in dict.fromkeys((BASES.get(name, FLOOR), FLOOR if BASES.get(name, FLOOR) else ""))
        if (base, step) in took
    ]
    return f"{seconds:.2f} ({'; '.join(ratios)})" if ratios else f"{seconds:.2f}"


def _handshakes(peers: list[Peer], rounds: int, scratch: Path) -> Table:
    table = Table(
        "Terraform provider: from the start of the process to the handshake line",
        ("provider", "least", "median", "times the Go floor"),
    )
    client = certificate()[0].decode()
    starting = [peer for peer in peers if peer.type_name not in (WIDE, SMALL)]
    took: dict[str, list[float]] = {}
    for _ in range(rounds + 1):  # the first warms files and caches, and is not counted
        for peer in starting:
            with _started(peer, client, scratch) as seconds:
                took.setdefault(peer.type_name, []).append(seconds)
    for peer in starting:
        seen = took[peer.type_name][1:]
        base = mid(took[FLOOR][1:]) if FLOOR in took else 0.0
        table.add(peer.title, ms(min(seen)), ms(mid(seen)), ratio(mid(seen), base) if base else "no floor here")
    return table


@contextmanager
def _started(peer: Peer, client_certificate: str, scratch: Path) -> Iterator[float]:
    """Seconds that a provider took until its line; it is killed afterwards."""
    folder = scratch / "s"
    folder.mkdir(exist_ok=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TF_", "SPG99_"))},
        handshake.COOKIE[0]: handshake.COOKIE[1],
        "PLUGIN_PROTOCOL_VERSIONS": "5,6",
        "PLUGIN_MIN_PORT": "10000",
        "PLUGIN_MAX_PORT": "25000",
        "PLUGIN_CLIENT_CERT": client_certificate,
        "TMPDIR": str(folder),
    }
    began = time.perf_counter()
    process = subprocess.Popen(
        [peer.executable],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - began
        assert line.startswith(b"1|6|"), f"{peer.title} said {line!r}"
        yield seconds
    finally:
        process.kill()
        process.communicate()
