"""Runs that do not come to their end: Ctrl-C, kill -9, two at once, a full disk."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import psutil
import pytest

from kit.waits import wait_for

SLOW = 'Box("quick", text="q")\nBox("slow", text="s", opts=Opts(depends_on=[]))\npulumi.export("x", 1)'


def _start_slow(house: Any, how: str = "yes") -> Any:
    """An `up` in a process of its own that waits in the create of `slow`."""
    house.behave(create__slow={"wait": how})
    house.program(SLOW)
    if not house.state_file.exists():
        assert house.call("stack", "init", "dev")[0] == 0
    process = house.command("up", "--yes", "--skip-preview", "-s", "dev")
    wait_for("the provider to wait", lambda: (house.shelf / "waiting-slow").exists() or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    wait_for("the quick one in the state", lambda: "quick" in house.names())
    return process


def _family(process: Any) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_ctrl_c_once_cancels_providers_and_keeps_the_state(house: Any) -> None:
    process = _start_slow(house)
    family = _family(process)
    assert len(family) >= 2
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 255
    assert "Stopping" in out and "slow" in out and "gave up waiting: cancelled" in out
    assert "Traceback" not in out + err and "KeyboardInterrupt" not in out + err
    assert "cancel" in house.journal("cancel")
    assert house.names() == ["quick"] and "pending_operations" not in house.state()
    assert not list((house.folder / "state/.pulumi/locks").rglob("*.json"))
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    house.check_integrity()
    house.behave()
    assert house.up().changes == {"same": 2, "create": 1}


def test_ctrl_c_twice_ends_at_once_and_the_next_run_says_what_was_open(house: Any) -> None:
    process = _start_slow(house, "stubborn")
    family = _family(process)
    process.send_signal(signal.SIGINT)
    wait_for("the provider to hear of the cancel", lambda: "cancel" in (house.shelf / "journal").read_text())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in err
    wait_for(
        "the family to end", lambda: not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    )
    assert [op["type"] for op in house.state()["pending_operations"]] == ["creating"]
    house.check_integrity()
    code, _out, _ = house.call("refresh", "--yes", "--clear-pending-creates", "-s", "dev")
    assert code == 0 and "pending_operations" not in house.state() and house.names() == ["quick"]


def test_kill_9_while_creating_then_up_again(house: Any) -> None:
    process = _start_slow(house, "stubborn")
    family = _family(process)
    process.kill()
    process.wait()
    wait_for(
        "the family to end", lambda: not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    )
    state = house.state()
    assert [(op["type"], op["resource"]["urn"].endswith("::slow")) for op in state["pending_operations"]] == [
        ("creating", True)
    ]
    house.check_integrity()
    house.behave()
    code, out, err = house.call("up", "--yes", "-s", "dev")
    assert code == 0, out + err
    assert "An earlier run was interrupted while creating" in out and "Removed the lock of" in out
    assert "pending_operations" not in house.state() and set(house.names()) == {"quick", "slow"}
    assert house.up().changes == {"same": 3} and not house.up().messages


def test_two_at_once_the_second_is_told_who_and_since_when(house: Any) -> None:
    process = _start_slow(house)
    code, _, err = house.call("up", "--yes", "--skip-preview", "-s", "dev")
    assert code == 255
    assert f"(pid {process.pid})" in err and " s (" in err and "`spg99 cancel`" in err
    code, out, _ = house.call("preview", "-s", "dev")
    assert code == 0 and "+ 1 to create" in out, "a preview needs no lock"
    (house.shelf / "go").touch()
    process.communicate(timeout=20)
    assert process.returncode == 0 and set(house.names()) == {"quick", "slow"}
    # the real CLI's lock of another machine is respected, too, until `cancel`
    lock = house.folder / "state/.pulumi/locks/organization/house/dev/11.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text('{"pid":1,"username":"ada","hostname":"elsewhere","timestamp":"2026-01-02T03:04:05.123456789Z"}')
    code, _, err = house.call("destroy", "--yes", "-s", "dev")
    assert code == 255 and "ada@elsewhere (pid 1) for" in err
    assert house.call("cancel", "--yes", "-s", "dev")[0] == 0
    assert house.call("destroy", "--yes", "-s", "dev")[0] == 0


def test_a_full_disk_leaves_the_old_state_whole(house: Any) -> None:
    house.up('Box("box", text="a")')
    before = house.state()
    limit = house.state_file.stat().st_size // 1024 + 2
    house.program('Box("box", text="a")\n' + "\n".join(f'Box("b{i}", text="{"x" * 500}")' for i in range(8)))
    process = house.command("up", "--yes", "--skip-preview", "-s", "dev")
    psutil.Process(process.pid).rlimit(psutil.RLIMIT_FSIZE, (limit * 1024, limit * 1024))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 255
    assert "size limit is reached" in out and "is intact" in out and "Traceback" not in out + err
    house.check_integrity()
    kept = {r["urn"] for r in house.state()["resources"]}
    assert {r["urn"] for r in before["resources"]} <= kept
    assert not list(house.state_file.parent.glob(".*.tmp"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user whom permissions bind, or root to mount a tiny disk")
def test_no_space_left_on_the_device(house: Any, tmp_path: Any) -> None:
    import subprocess

    disk = house.folder / "state"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        house.program('Box("box", text="a")')
        assert house.up().ok
        before = house.state_file.read_bytes()
        house.program('Box("box", text="a")\nBox("big", text="' + "x" * 30000 + '")')
        result = house.up(ok=False)
        assert "the disk is full. The state of before is intact" in house.why(result)
        assert json.loads(house.state_file.read_bytes()) == json.loads(before)
        assert "big" not in str(list(house.shelf.iterdir())), "nothing is made that could not be noted first"
    finally:
        subprocess.run(["umount", disk], check=True)
