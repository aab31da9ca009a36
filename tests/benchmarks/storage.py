"""Databases that a safekeeper keeps beside ones that only their node has: durable commits, wakes, and files made anew."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
from tests.benchmarks.gateway import Target
from tests.benchmarks.table import Table, mid, ms, ratio
from tests.benchmarks.wake import stopped, through_gateway

from kit.memory import of_spg99
from kit.platform import Platform, a_platform, wait_for

NAME = "bench"
COMMITS_GOAL = 0.95
LARGE_SCALE = 68
"""pgbench's scale for 1 GB of files."""


def target(platform: Platform, title: str, name: str = NAME) -> Target:
    """The compute's own socket: no Gateway, no TLS."""
    seen = platform.database(name=name)
    user = platform.api("GET", "/tenants/acme").json()["pg_user"]
    address = {"PGHOST": str(seen["backend_addr"]), "PGPORT": str(seen["backend_port"])}
    return Target(title, {**address, "PGUSER": user, "PGDATABASE": name})


def fill(target: Target, scale: int) -> None:
    """pgbench's tables."""
    subprocess.run(
        ["pgbench", "-i", "-q", "-s", str(scale)],
        env={**os.environ, **target.environment},
        check=True,
        capture_output=True,
    )


def files_of(platform: Platform, name: str) -> Path:
    """The folder of a database's files on its node."""
    return platform.data_dir / "node" / "node-1" / "timelines" / platform.database(name=name)["timeline"]


def lose(platform: Platform, name: str) -> None:
    """Its compute, if one runs, and all its files."""
    timeline = platform.database(name=name)["timeline"]
    aside = files_of(platform, name).with_name(".trash-lost")
    files_of(platform, name).rename(aside)
    for postmaster in platform.computes(timeline):
        family = [*postmaster.children(recursive=True), postmaster]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):  # its postmaster's end takes others along
                process.kill()
    shutil.rmtree(aside, ignore_errors=True)


def image_count(platform: Platform, name: str) -> int:
    """Images of a database in the store."""
    timeline = platform.database(name=name)["timeline"]
    return len(list((platform.data_dir / "objects").glob(f"tenants/*/timelines/{timeline}/images/*")))


def asleep_with_image(platform: Platform, name: str) -> None:
    """Puts a database to sleep, and waits for the image that follows."""
    before = image_count(platform, name)
    stopped(platform, name)
    wait_for("its image", lambda: image_count(platform, name) > before, seconds=120)


def run(*, quick: bool = False) -> list[Table]:
    """All of it."""
    with ExitStack() as platforms:
        alone = platforms.enter_context(a_platform())
        kept = platforms.enter_context(a_platform("--safekeeper"))
        for platform in (alone, kept):
            platform.create_database(name=NAME, idle_timeout_seconds=0)
            through_gateway(platform.dsn(name=NAME))
        return [
            _commits(alone, kept, quick=quick),
            _wakes(alone, kept, quick=quick),
            _rebuilds(kept, quick=quick),
            _memory(kept),
        ]


def _commits(alone: Platform, kept: Platform, *, quick: bool) -> Table:
    table = Table(
        "Durable commits: TPC-B on the compute's socket, tps", ("clients", "node alone", "one safekeeper", "ratio")
    )
    targets = [target(alone, "alone"), target(kept, "kept")]
    for one in targets:
        fill(one, 10)
    for clients in (1, 8, 32):
        seen: list[list[float]] = [[], []]
        for _ in range(1 if quick else 5):
            for number, one in enumerate(targets):
                seen[number].append(one.pgbench("-M", "prepared", "-c", str(clients), "-T", "2" if quick else "5").tps)
        goal = COMMITS_GOAL if clients == 8 else None
        table.add(
            clients,
            f"{mid(seen[0]):,.0f}",
            f"{mid(seen[1]):,.0f}",
            ratio(mid(seen[1]), mid(seen[0]), goal=goal, at_most=False),
        )
    table.notes.append(
        "Alone: fsync on. With a safekeeper the compute's own fsync is off and each commit waits for the safekeeper's. Same disk, same two cores."
    )
    return table


def _wakes(alone: Platform, kept: Platform, *, quick: bool) -> Table:
    table = Table("Wake of a small database on its own node", ("what", "median", "ratio"))
    for platform in (alone, kept):
        platform.create_database(name="small", idle_timeout_seconds=0)
        through_gateway(platform.dsn(name="small"))
    seen: dict[str, list[float]] = {"alone": [], "kept": [], "made anew": []}
    for _ in range(3 if quick else 25):
        stopped(alone, "small")
        seen["alone"].append(through_gateway(alone.dsn(name="small")))
        asleep_with_image(kept, "small")
        seen["kept"].append(through_gateway(kept.dsn(name="small")))
    for _ in range(2 if quick else 10):
        asleep_with_image(kept, "small")
        lose(kept, "small")
        seen["made anew"].append(through_gateway(kept.dsn(name="small")))
    base = mid(seen["alone"])
    table.add("node alone", ms(base), "1.00")
    table.add("one safekeeper", ms(mid(seen["kept"])), ratio(mid(seen["kept"]), base))
    table.add("one safekeeper, its files are gone", ms(mid(seen["made anew"])), ratio(mid(seen["made anew"]), base))
    return table


def _rebuilds(kept: Platform, *, quick: bool) -> Table:
    table = Table("Files made anew", ("what", "image", "WAL behind it", "until the first answer"))
    name, scale = "large", 5 if quick else LARGE_SCALE
    kept.create_database(name=name, idle_timeout_seconds=0)
    through_gateway(kept.dsn(name=name))
    fill(target(kept, "kept", name), scale)
    asleep_with_image(kept, name)
    size = sum(path.stat().st_size for path in files_of(kept, name).rglob("*") if path.is_file())
    lose(kept, name)
    took = through_gateway(kept.dsn(name=name))
    table.add("lost while it slept", f"{size / 1e6:,.0f} MB", "none", f"{took:.2f} s")
    target(kept, "kept", name).pgbench("-M", "prepared", "-c", "8", "-T", "2" if quick else "8")
    wal = sum(path.stat().st_size for path in (kept.data_dir / "safekeeper").rglob("wal/*") if path.is_file())
    lose(kept, name)
    began = time.perf_counter()
    through_gateway(kept.dsn(name=name))
    table.add(
        "killed and lost while it ran",
        f"{size / 1e6:,.0f} MB",
        f"up to {wal / 1e6:,.0f} MB",
        f"{time.perf_counter() - began:.2f} s (goal <= 2 s for 1 GB)",
    )
    return table


def _memory(kept: Platform) -> Table:
    table = Table("Memory of `spg99 dev --safekeeper`", ("what", "PSS"))
    weights = of_spg99(kept)
    for name, megabytes in weights.items():
        table.add(f"spg99 {name}", f"{megabytes:.1f} MB")
    table.add("all of it", f"{sum(weights.values()):.1f} MB (goal <= 220 MB with the pageserver)")
    return table
