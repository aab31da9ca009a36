"""kill -9 of every process at named points of a database's life: it goes on where it was, and nothing is left lying about."""

from __future__ import annotations

import itertools

import pytest

from faults.life import Life
from faults.orders import Orders, all_points
from faults.settled import wait_settled
from kit.platform import Platform

pytestmark = pytest.mark.slow  # broken

_numbers = itertools.count(1)

# Step, the point somebody passes in it, who is killed at that moment.
KILLS = [
    ("create", "api.before_commit", "itself"),  # of the tenant: nothing was done yet
    ("create", "api.before_answer:2", "itself"),  # of the database: it is done, and nobody was told
    ("wake", "wake.before_commit", "catalogue"),
    ("wake", "timeline.create.before_rename", "itself"),
    ("wake", "timeline.create.before_result", "catalogue"),
    ("wake", "compute.start.before_process", "control-plane"),
    ("wake", "compute.start.before_result", "itself"),
    ("update", "api.before_answer", "itself"),
    ("rotate", "api.before_answer", "gateway"),
    ("rotate", "api.before_commit", "catalogue"),
    ("sleep", "compute.stop.before_signal", "compute"),
    ("sleep", "compute.stop.before_result", "itself"),
    ("wake_again", "compute.start.before_result", "gateway"),
    ("delete", "delete.ordered", "everything"),
    ("delete", "timeline.delete.after_rename", "itself"),
]
# In which steps a point is passed, by the beginning of its name.
PASSED_IN = {
    "create.": ["create"],
    "timeline.create.": ["wake"],
    "update.": ["update"],
    "wake.": ["wake", "wake_again"],
    "compute.start.": ["wake", "wake_again"],
    "sleep.": ["sleep"],
    "compute.stop.": ["sleep", "delete"],
    "compute_ended.": ["rotate"],
    "delete.": ["delete"],
    "timeline.delete.": ["delete"],
    "reconcile.": ["wake", "sleep", "delete"],
    "task_result.": ["wake", "sleep", "delete"],
    "api.before_commit": ["create", "rotate"],
    "api.after_commit": ["sleep"],
    "api.before_answer": ["create", "update", "rotate", "delete"],
    "gateway.after_checkout": ["wake", "wake_again"],
    "gateway.after_report": ["wake"],
}
VICTIMS = ("itself", "catalogue", "control-plane", "agent", "gateway", "compute", "everything")


def victims(platform: Platform, name: str, db_id: str = "") -> list[int]:
    """Process ids of who is called so; none for whoever passes the point itself."""
    match name:
        case "itself":
            return []
        case "catalogue":
            return [
                p.pid for p in platform.processes(str(platform.data_dir / "catalogue")) if p.info["name"] == "postgres"
            ]
        case "compute":
            return [p.pid for p in platform.computes()]
        case "gateway":
            return [p.pid for p in platform.processes("spg99", " gateway ")]
        case "everything":
            return [
                p.pid for p in platform.processes() if platform.process is not None and p.pid != platform.process.pid
            ]
        case _:
            return [platform.child(name)]


@pytest.mark.parametrize(("step", "point", "victim"), KILLS)
def test_a_life_survives_a_kill(platform: Platform, orders: Orders, step: str, point: str, victim: str) -> None:
    life = Life(platform, f"life{next(_numbers)}")

    def before(name: str) -> None:
        if name == step:
            orders.arm(point, *victims(platform, victim))

    life.live(before)
    assert orders.was_taken(), f"nobody passed {point} in step {step}"
    wait_settled(platform)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("point", all_points())
def test_a_life_survives_a_kill_at_any_point(platform: Platform, orders: Orders, point: str, victim: str) -> None:
    steps = next(steps for prefix, steps in PASSED_IN.items() if point.startswith(prefix))
    for step in steps:
        life = Life(platform, f"long{next(_numbers)}")
        armed: list[bool] = []

        def before(name: str, step: str = step, life: Life = life, armed: list[bool] = armed) -> None:
            pids = victims(platform, victim)
            if name == step and (pids or victim == "itself"):  # where no compute runs yet, none can be killed
                armed.append(True)
                orders.arm(point, *pids)
                if point.startswith("compute_ended."):
                    _kill_compute(platform, life)

        life.live(before)
        assert orders.was_taken() or not armed, f"nobody passed {point} in step {step}"
        wait_settled(platform)


def _kill_compute(platform: Platform, life: Life) -> None:
    timeline = platform.database(life.name)["timeline"]
    for process in platform.computes():
        if timeline in " ".join(process.info["cmdline"]):
            process.kill()
