"""The dynamic provider when things go wrong: lost answers, kills, time limits, Ctrl-C, names taken, many at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from integration.bridges.host_driver import Failed, Host, Stored, running
from integration.bridges.plane_stub import API_KEY, Plane
from kit.waits import wait_for
from spg99.resources import ApiKey, Database, Tenant


@pytest.fixture(autouse=True)
def _tenant(request: pytest.FixtureRequest) -> None:
    if "host" in request.fixturenames:
        host: Host = request.getfixturevalue("host")
        host.create(Stored(Tenant, "acme"), name="acme")


def app(host: Host, name: str = "app", *, timeout: float = 0) -> Stored:
    return host.create(Stored(Database, name), timeout=timeout, tenant="acme", name=name)


def test_a_lost_answer_makes_no_second_object(host: Host, plane: Plane) -> None:
    plane.cut_answers = 3
    before = plane.posts
    assert app(host).outputs["dbId"] == plane.objects["database", "acme/app"]["db_id"]
    key = host.create(Stored(ApiKey, "ci"), name="ci")
    assert plane.posts == before + 2 and key.outputs["token"].startswith("topsecret")


@pytest.mark.slow  # broken
def test_an_up_killed_after_the_create_finds_its_object_again(plane: Plane, tmp_path: Path) -> None:
    config = {"spg99:url": plane.url, "spg99:apiKey": API_KEY}
    plane.settle_seconds = -1
    with running(tmp_path, config) as first:
        first.create(Stored(Tenant, "acme"), name="acme")
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(app, first)
            wait_for("the database to be made", lambda: ("database", "acme/app") in plane.objects)
            first.process.kill()
            assert isinstance(call.exception(30), Failed)
    plane.settle()
    with running(tmp_path, config) as second:
        assert app(second).outputs["dbId"] == plane.objects["database", "acme/app"]["db_id"]
    assert plane.posts == 2


@pytest.mark.slow  # broken
def test_an_up_killed_after_the_create_and_then_edited_finds_its_object(plane: Plane, tmp_path: Path) -> None:
    config = {"spg99:url": plane.url, "spg99:apiKey": API_KEY}
    plane.settle_seconds = -1
    with running(tmp_path, config) as first, ThreadPoolExecutor(1) as pool:
        first.create(Stored(Tenant, "acme"), name="acme")
        call = pool.submit(app, first)
        wait_for("the database to be made", lambda: ("database", "acme/app") in plane.objects)
        first.process.kill()
        assert isinstance(call.exception(30), Failed)
    uid = plane.objects["database", "acme/app"]["db_id"]
    plane.settle()
    with running(tmp_path, config) as second:
        made = second.create(Stored(Database, "app"), tenant="acme", name="app", idleTimeoutSeconds=77)
    assert made.outputs["dbId"] == uid
    assert plane.objects["database", "acme/app"]["idle_timeout_seconds"] == made.outputs["idleTimeoutSeconds"] == 77
    assert plane.posts == 2


@pytest.mark.slow  # broken
def test_created_deleted_and_created_again_are_two_objects(host: Host, plane: Plane) -> None:
    uids = []
    for _ in range(3):
        res = app(host)
        uids.append(res.outputs["dbId"])
        host.delete(res)
    assert len(set(uids)) == 3


def test_a_name_that_is_just_being_freed_is_waited_for(host: Host, plane: Plane) -> None:
    old = app(host)
    plane.delete_seconds = 0.5
    with ThreadPoolExecutor(1) as pool:
        deleting = pool.submit(host.delete, old)
        wait_for("the deletion to begin", lambda: plane.objects["database", "acme/app"]["state"] == "deleting")
        new = host.create(Stored(Database, "again"), tenant="acme", name="app")
        deleting.result(30)
    assert new.outputs["dbId"] != old.outputs["dbId"]


def test_a_name_that_somebody_else_has_is_explained(host: Host, plane: Plane) -> None:
    app(host)
    with pytest.raises(Failed) as caught:
        host.create(Stored(Database, "mine"), tenant="acme", name="app")
    message = caught.value.message
    assert "exists already" in message and "import-file dbs:acme/app" in message and "aliases" in message
    assert caught.value.kept is None and "Traceback" not in message


def test_a_create_that_takes_too_long_is_kept_and_the_next_up_goes_on(host: Host, plane: Plane) -> None:
    plane.settle_seconds = -1
    res = Stored(Database, "slow")
    began = time.monotonic()
    with pytest.raises(Failed, match="was created, but is still creating .* Nothing is lost") as caught:
        host.create(res, timeout=1.2, tenant="acme", name="slow")
    assert 1 < time.monotonic() - began < 5
    kept = caught.value.kept
    assert kept is not None and kept.id == "acme/slow" and list(kept.reasons) == [caught.value.message]
    host.adopt(res, kept)
    assert "value" in res.raw_outputs["connectionString"] and res.outputs["dbId"]
    plane.settle()
    host.update(res, tenant="acme", name="slow")
    assert res.outputs["state"] == "stopping" and plane.count("PATCH", "slow") == 0
    host.delete(res)


@pytest.mark.slow  # broken
def test_progress_stands_on_the_resource_while_it_waits(host: Host, plane: Plane) -> None:
    plane.settle_seconds = 2.2
    res = app(host)
    wait_for("two lines of progress", lambda: len(host.engine.lines) >= 2)
    line = host.engine.lines[0]
    assert line.urn == res.urn and line.ephemeral
    assert line.message == "database acme/app is creating, waiting until it is settled, 1 s"


@pytest.mark.slow  # broken
def test_a_database_in_error_is_kept_with_the_reason(host: Host, plane: Plane, tmp_path: Path) -> None:
    plane.settle_seconds = 0.1
    plane.fail_state_reason = "no disk space on node-1"
    with pytest.raises(Failed, match="no disk space on node-1") as caught:
        app(host, timeout=1.5)
    assert caught.value.kept is not None and caught.value.kept.id == "acme/app"


@pytest.mark.slow  # broken
def test_an_error_that_heals_by_itself_is_no_error(host: Host, plane: Plane) -> None:
    plane.settle_seconds = 0.1
    plane.fail_state_reason = "agent is away"
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(app, host)
        wait_for(
            "the database to fail", lambda: plane.objects.get(("database", "acme/app"), {}).get("state") == "error"
        )
        plane.fail_state_reason = None
        plane.settle()
        assert call.result(30).outputs["state"] == "stopping"


@pytest.mark.slow  # broken
@pytest.mark.parametrize("how", ["cancel", "sigint"])
def test_stopping_ends_all_waits_and_keeps_what_was_made(host: Host, plane: Plane, how: str) -> None:
    plane.settle_seconds = -1
    with ThreadPoolExecutor(32) as pool:
        calls = [pool.submit(app, host, f"db{n}") for n in range(32)]
        wait_for("all creates to wait", lambda: plane.posts == 33 and plane.streams >= 1)
        began = time.monotonic()
        if how == "cancel":
            host.cancel()
            assert time.monotonic() - began < 0.5
        else:
            os.kill(host.process.pid, signal.SIGINT)
        failures = [call.exception(30) for call in calls]
        assert time.monotonic() - began < 5
    kept = {failure.kept.id for failure in failures if isinstance(failure, Failed) and failure.kept}
    assert kept == {f"acme/db{n}" for n in range(32)}
    assert all("was interrupted" in str(failure) for failure in failures)
    if how == "cancel":
        with pytest.raises(Failed, match="Interrupted before anything was done") as caught:
            app(host, "late")
        assert caught.value.kept is None and ("database", "acme/late") not in plane.objects
    else:
        assert host.process.wait(10) is not None


def test_64_creates_are_in_flight_at_once(host: Host, plane: Plane) -> None:
    plane.answer_seconds = 0.5
    with ThreadPoolExecutor(64) as pool:
        began = time.monotonic()
        calls = [pool.submit(app, host, f"db{n}") for n in range(64)]
        assert {call.result(60).id for call in calls} == {f"acme/db{n}" for n in range(64)}
        took = time.monotonic() - began
    assert took < 4, f"64 creates of 0.5 s took {took:.1f} s: one after the other is 32 s, by fours 8 s"


@pytest.mark.slow  # broken
def test_many_waits_are_one_stream(host: Host, plane: Plane) -> None:
    plane.settle_seconds = -1
    with ThreadPoolExecutor(64) as pool:
        calls = [pool.submit(app, host, f"db{n}") for n in range(64)]
        wait_for("all creates to wait", lambda: plane.posts == 65 and plane.streams == 1)
        threading.Event().wait(2.5)  # the waits themselves: nothing may be asked meanwhile
        looks = plane.count("GET", "/dbs/db")
        plane.settle()
        for call in calls:
            call.result(30)
    assert plane.streams == 1
    assert looks <= 64 * 2.5, f"{looks} looks at 64 databases in 2.5 s"


@pytest.mark.slow  # broken
def test_without_the_event_stream_everybody_looks_by_himself(host: Host, plane: Plane) -> None:
    plane.events_refused = True
    plane.settle_seconds = 1.0
    assert app(host).outputs["state"] == "stopping"
    assert plane.count("GET", "/events") == 1


@pytest.mark.slow  # broken
def test_a_control_plane_that_is_not_there_is_a_sentence_and_leaves_the_state_alone(
    plane: Plane, tmp_path: Path
) -> None:
    config = {"spg99:url": plane.url.replace("127.0.0.1", "127.0.0.2"), "spg99:apiKey": API_KEY}
    with running(tmp_path, config) as host:
        with pytest.raises(Failed, match="cannot be reached: connection refused"):
            host.get(Stored(Tenant, "t"), "acme")
