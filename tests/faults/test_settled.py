"""The check after every kill sees what it is there for: whatever is left lying about is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from faults.settled import problems, wait_settled
from kit.platform import Platform

# Starts a process that names the node's folder, tells its pid and leaves it alone.
ORPHAN = """
import subprocess, sys
sleeper = [sys.executable, "-c", "import time; time.sleep(60)", sys.argv[1]]
print(subprocess.Popen(sleeper, stdout=subprocess.DEVNULL, start_new_session=True).pid)
"""


def test_disorder_is_seen(platform: Platform) -> None:
    platform.create_database("disorder", "app")
    with platform.connect("disorder", "app") as connection:
        connection.execute("select 1")
    wait_settled(platform)
    (node,) = platform.data_dir.glob("node/*")

    stray = node / "timelines" / "tl_stray"
    stray.mkdir()
    seen = problems(platform)
    if stray.exists():  # the agent removes what belongs to nobody by itself
        stray.rmdir()
    assert "folder tl_stray belongs to no timeline" in seen

    pid = int(
        subprocess.run([sys.executable, "-c", ORPHAN, node], stdout=subprocess.PIPE, text=True, check=True).stdout
    )
    try:
        assert any(line.startswith(f"orphan process {pid}") for line in problems(platform))
    finally:
        os.kill(pid, signal.SIGKILL)

    with platform.catalogue() as catalogue:
        catalogue.execute("insert into operations (op_id, kind) values ('op_lost', 'database.create')")
        assert "operation op_lost database.create has no end" in problems(platform)
        catalogue.execute("delete from operations where op_id = 'op_lost'")
        pid_of = "update computes set pid = pid + %s where state = 'running' returning pid"
        catalogue.execute(pid_of, (1_000_000,))
        seen = problems(platform)
        catalogue.execute(pid_of, (-1_000_000,))
    assert any("is a compute that nobody knows" in line for line in seen), seen
    assert any("has no process" in line for line in seen), seen
    wait_settled(platform)
    platform.api("DELETE", "/tenants/disorder?cascade=true&force=true").raise_for_status()
    wait_settled(platform)
