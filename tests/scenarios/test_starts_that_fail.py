"""A compute that cannot start because of the node's files: what the API and the client are told, and that it heals."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from kit.platform import Platform, wait_for

Mend = Callable[[], None]


def create_used(platform: Platform, name: str) -> None:
    """A database that has slept in again after its first start, which has made its files."""
    platform.create_database(name=name, idle_timeout_seconds=300)
    platform.connect(name=name).close()
    # Refused while the Gateway has not told yet that our connection has ended.
    wait_for("its stop", lambda: platform.api("POST", f"/tenants/acme/dbs/{name}/stop").status_code == 202)
    platform.database(name=name, wait_for="stopped")


def timeline_folder(platform: Platform, name: str) -> Path:
    timeline = platform.database(name=name)["timeline"]
    (found,) = (platform.data_dir / "node").glob(f"*/timelines/{timeline}")
    return found


def take_files_away(home: Path) -> Mend:
    """The files belong to somebody else, as after a restore by root; without root: nobody may enter."""
    data = home / "pgdata"
    status = data.stat()
    if os.geteuid() == 0:
        os.chown(data, 0, 0)
        return lambda: os.chown(data, status.st_uid, status.st_gid)
    data.chmod(0)
    return lambda: data.chmod(status.st_mode & 0o777)


def take_one_file_away(home: Path) -> Mend:
    control = home / "pgdata" / "global" / "pg_control"
    status = control.stat()
    if os.geteuid() == 0:
        os.chown(control, 0, 0)
        return lambda: os.chown(control, status.st_uid, status.st_gid)
    control.chmod(0)
    return lambda: control.chmod(status.st_mode & 0o777)


def folder_for_the_access_rules(home: Path) -> Mend:
    (home / "pg_hba.conf").unlink(missing_ok=True)
    (home / "pg_hba.conf").mkdir()
    return (home / "pg_hba.conf").rmdir


def folder_for_the_log(home: Path) -> Mend:
    (home / "postgres.log").unlink(missing_ok=True)
    (home / "postgres.log").mkdir()
    return (home / "postgres.log").rmdir


AS_ROOT = os.geteuid() == 0
MUST_BELONG = "', with mode 0700 and 0600." if AS_ROOT else "check owner and mode"


@pytest.mark.parametrize(
    ("name", "break_it", "place", "advice"),
    [
        ("taken", take_files_away, "pgdata" if AS_ROOT else "PG_VERSION", MUST_BELONG),
        ("control", take_one_file_away, "pg_control", MUST_BELONG if AS_ROOT else "with mode 0700 and 0600."),
        ("rules", folder_for_the_access_rules, "pg_hba.conf)", "A folder stands where the agent needs a file: move it"),
        ("log", folder_for_the_log, "postgres.log)", "A folder stands where the agent needs a file: move it away."),
    ],
)
def test_what_is_wrong_and_what_to_do_is_told_and_it_heals(
    platform: Platform, name: str, break_it: Callable[[Path], Mend], place: str, advice: str
) -> None:
    create_used(platform, name)
    home = timeline_folder(platform, name)
    mend = break_it(home)
    try:
        with pytest.raises(psycopg.OperationalError) as refused:
            platform.connect(name=name)
        failed = platform.database(name=name)
        assert failed["state"] == "error", failed
        # The owner of a database reads no path of the node; whoever runs it finds the whole in the agent's log.
        assert str(home.parent) not in failed["state_reason"] and f"…/{place}" in failed["state_reason"]
        assert "The agent's log has the whole path under task" in failed["state_reason"]
        assert advice in failed["state_reason"]
        assert f"FATAL:  {failed['state_reason']}" in str(refused.value)
        assert platform.computes(home.name) == []
    finally:
        mend()
    with platform.connect(name=name) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    healed = platform.database(name=name)
    assert (healed["state"], healed["state_reason"]) == ("ready", None)


def test_one_that_the_api_started_is_tried_again_until_the_cause_is_gone(platform: Platform) -> None:
    create_used(platform, "patient")
    mend = take_files_away(timeline_folder(platform, "patient"))
    try:
        platform.api("POST", "/tenants/acme/dbs/patient/start").raise_for_status()
        first = platform.database(name="patient", wait_for="error")
        wait_for(
            "a further attempt",
            lambda: (
                (now := platform.database(name="patient"))["state"] == "error"
                and now["writer_term"] > first["writer_term"]
            ),
        )
    finally:
        mend()
    running = wait_for(
        "a start without any client",
        lambda: (now := platform.database(name="patient"))["state"] in ("ready", "idle") and now,
    )
    assert running["state_reason"] is None
