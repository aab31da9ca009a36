"""Runs that do not come to their end: Ctrl-C, kill -9, two at once, a full disk."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import psutil
import pytest

from kit.waits import wait_for

pytestmark = pytest.mark.slow  # broken

SLOW = 'Box("quick", text="q")\nBox("slow", text="s", opts=Opts(depends_on=[]))\npulumi.export("x", 1)'


def _start_slow(project: Any, how: str = "yes") -> Any:
    """An `up` in a process of its own that waits in the create of `slow`."""
    project.behave(create__slow={"wait": how})
    project.program(SLOW)
    if not project.state_file.exists():
        assert project.call("stack", "init", "dev")[0] == 0
    process = project.command("up", "--yes", "--skip-preview", "-s", "dev")
    wait_for("the provider to wait", lambda: (project.shelf / "waiting-slow").exists() or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    wait_for("the quick one in the state", lambda: "quick" in project.names())
    return process


def _family(process: Any) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_ctrl_c_once_cancels_providers_and_keeps_the_state(project: Any) -> None:
    process = _start_slow(project)
    family = _family(process)
    assert len(family) >= 2
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 255
    assert "Stopping" in out and "slow" in out and "gave up waiting: cancelled" in out
    assert "Traceback" not in out + err and "KeyboardInterrupt" not in out + err
    assert "cancel" in project.journal("cancel")
    assert project.names() == ["quick"] and "pending_operations" not in project.state()
    assert not list((project.folder / "state/.pulumi/locks").rglob("*.json"))
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    project.check_integrity()
    project.behave()
    assert project.up().changes == {"same": 2, "create": 1}


def test_ctrl_c_twice_ends_at_once_and_the_next_run_says_what_was_open(project: Any) -> None:
    process = _start_slow(project, "stubborn")
    family = _family(process)
    process.send_signal(signal.SIGINT)
    wait_for("the provider to hear of the cancel", lambda: "cancel" in (project.shelf / "journal").read_text())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in err
    wait_for(
        "the family to end", lambda: not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    )
    assert [op["type"] for op in project.state()["pending_operations"]] == ["creating"]
    project.check_integrity()
    code, _out, _ = project.call("refresh", "--yes", "--clear-pending-creates", "-s", "dev")
    assert code == 0 and "pending_operations" not in project.state() and project.names() == ["quick"]


def test_kill_9_while_creating_then_up_again(project: Any) -> None:
    process = _start_slow(project, "stubborn")
    family = _family(process)
    process.kill()
    process.wait()
    wait_for(
        "the family to end", lambda: not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    )
    state = project.state()
    assert [(op["type"], op["resource"]["urn"].endswith("::slow")) for op in state["pending_operations"]] == [
        ("creating", True)
    ]
    project.check_integrity()
    project.behave()
    code, out, err = project.call("up", "--yes", "-s", "dev")
    assert code == 0, out + err
    assert "An earlier run was interrupted while creating" in out and "Removed the lock of" in out
    assert "pending_operations" not in project.state() and set(project.names()) == {"quick", "slow"}
    assert project.up().changes == {"same": 3} and not project.up().messages


def test_two_at_once_the_second_is_told_who_and_since_when(project: Any) -> None:
    process = _start_slow(project)
    code, _, err = project.call("up", "--yes", "--skip-preview", "-s", "dev")
    assert code == 255
    assert f"(pid {process.pid})" in err and " s (" in err and "`spg99 cancel`" in err
    code, out, _ = project.call("preview", "-s", "dev")
    assert code == 0 and "+ 1 to create" in out, "a preview needs no lock"
    (project.shelf / "go").touch()
    process.communicate(timeout=20)
    assert process.returncode == 0 and set(project.names()) == {"quick", "slow"}
    # the real CLI's lock of another machine is respected, too, until `cancel`
    lock = project.folder / "state/.pulumi/locks/organization/project/dev/11.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text('{"pid":1,"username":"ada","hostname":"elsewhere","timestamp":"2026-01-02T03:04:05.123456789Z"}')
    code, _, err = project.call("destroy", "--yes", "-s", "dev")
    assert code == 255 and "ada@elsewhere (pid 1) for" in err
    assert project.call("cancel", "--yes", "-s", "dev")[0] == 0
    assert project.call("destroy", "--yes", "-s", "dev")[0] == 0


def test_a_full_disk_leaves_the_old_state_whole(project: Any) -> None:
    project.up('Box("box", text="a")')
    before = project.state()
    limit = project.state_file.stat().st_size // 1024 + 2
    project.program('Box("box", text="a")\n' + "\n".join(f'Box("b{i}", text="{"x" * 500}")' for i in range(8)))
    process = project.command("up", "--yes", "--skip-preview", "-s", "dev")
    psutil.Process(process.pid).rlimit(psutil.RLIMIT_FSIZE, (limit * 1024, limit * 1024))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 255
    assert "size limit is reached" in out and "is intact" in out and "Traceback" not in out + err
    project.check_integrity()
    kept = {r["urn"] for r in project.state()["resources"]}
    assert {r["urn"] for r in before["resources"]} <= kept
    assert not list(project.state_file.parent.glob(".*.tmp"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user whom permissions bind, or root to mount a tiny disk")
def test_no_space_left_on_the_device(project: Any, tmp_path: Any) -> None:
    import subprocess

    disk = project.folder / "state"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        project.program('Box("box", text="a")')
        assert project.up().ok
        before = project.state_file.read_bytes()
        project.program('Box("box", text="a")\nBox("big", text="' + "x" * 30000 + '")')
        result = project.up(ok=False)
        assert "the disk is full. The state of before is intact" in project.why(result)
        assert json.loads(project.state_file.read_bytes()) == json.loads(before)
        assert "big" not in str(list(project.shelf.iterdir())), "nothing is made that could not be noted first"
    finally:
        subprocess.run(["umount", disk], check=True)
