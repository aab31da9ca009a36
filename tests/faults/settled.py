"""What must hold when nothing is going on any more, whatever was killed before. Here: one look at everything from outside
(catalogue, processes, folders), compared. Not here: killing.
"""

from __future__ import annotations

import os
from typing import Any

import psutil
import psycopg

from kit.platform import Platform, wait_for

SETTLED = {"stopped", "ready", "idle"}


def wait_settled(platform: Platform, *, seconds: float = 40) -> None:
    """Waits until there is nothing to complain about; fails with the complaints that stay."""
    last: list[str] = []

    def nothing() -> bool:
        last[:] = problems(platform)
        return not last

    try:
        wait_for("everything to settle", nothing, seconds=seconds, every=0.1)
    except AssertionError:
        raise AssertionError(f"not settled after {seconds:.0f} s:\n  " + "\n  ".join(last)) from None


def problems(platform: Platform) -> list[str]:
    """Everything that contradicts rest and order, in sentences."""
    try:
        with platform.catalogue() as catalogue:
            return _in_catalogue(catalogue) + _on_machine(platform, catalogue)
    except psycopg.OperationalError as error:
        return [f"the catalogue does not answer: {error}"]


def _in_catalogue(catalogue: psycopg.Connection[Any]) -> list[str]:
    questions = {
        "database {} is {} ({})": "select db_id, state, state_reason from databases where state not in ('stopped', 'ready', 'idle')",
        "tenant {} is still being deleted": "select name from tenants where state = 'deleting'",
        "operation {} {} has no end": "select op_id, kind from operations where status = 'running'",
        "task {} {} of {} is {}": "select task_id, kind, db_id, status from node_tasks where finished_at is null",
        "event {} {} was never published": "select event_seq, event_type from outbox_events where status = 'pending'",
        "compute {} of {} is {}": "select compute_id, db_id, state from computes where state in ('starting', 'stopping')",
        "compute {} runs for {}, which does not know it": """
            select c.compute_id, c.db_id from computes c left join databases d using (db_id)
             where c.state <> 'ended' and d.compute_id is distinct from c.compute_id""",
        "{} {} {} times": """
            select subject, action, count(*) from audit_logs where action in ('database.create', 'tenant.create')
             group by 1, 2 having count(*) > 1""",
        "database {} is {} without a compute that runs": """
            select d.db_id, d.state from databases d left join computes c using (compute_id)
             where d.state in ('ready', 'idle') and c.state is distinct from 'running'""",
        "timeline {} of no database is {}": """
            select t.timeline_id, t.state from timelines t left join databases d using (timeline_id)
             where d.db_id is null and t.state <> 'gone'""",
    }
    found = []
    for sentence, question in questions.items():
        found += [sentence.format(*row) for row in catalogue.execute(question).fetchall()]
    return found


def _on_machine(platform: Platform, catalogue: psycopg.Connection[Any]) -> list[str]:
    known = dict(catalogue.execute("select pid, compute_id from computes where state <> 'ended'").fetchall())
    running = {process.pid for process in platform.computes() if _is_postmaster(process)}
    found = [f"process {pid} is a compute that nobody knows" for pid in running - known.keys()]
    found += [f"compute {known[pid]} has no process {pid}" for pid in known.keys() - running]

    recorded = {t for (t,) in catalogue.execute("select timeline_id from timelines where state = 'present'")}
    folders = {path.name for path in platform.data_dir.glob("node/*/timelines/*") if path.is_dir()}
    found += [f"folder {name} belongs to no timeline" for name in folders - recorded]
    found += [f"timeline {name} has no folder" for name in recorded - folders]

    for name in ("catalogue", "control-plane", "agent", "gateway"):
        pid = platform.child(name)
        if not pid or not psutil.pid_exists(pid):
            found.append(f"spg99 dev has no {name}")
    assert platform.process is not None
    starters = {platform.process.pid, os.getpid()}
    for process in platform.processes():
        if process.pid == platform.process.pid or _is_postmaster(process):
            continue
        try:
            if not starters & {parent.pid for parent in process.parents()}:
                found.append(f"orphan process {process.pid}: {' '.join(process.info['cmdline'])}")
        except psutil.NoSuchProcess:
            continue
    return found


def _is_postmaster(process: psutil.Process) -> bool:
    return process.info["name"] == "postgres" and "-D" in process.info["cmdline"]
