"""Every way in which an engine replaces what nobody asked the provider about, against both Pulumi bridges: data stays.

The calls are those that Pulumi 3.260 was seen to make (docs/decisions.md). A run is a process of its own, as with the engine.
Not here: the real CLI (tests/conformance), replacements that an edit of the program needs (test_dynamic_life.py).
"""

from __future__ import annotations

import contextlib
import socket

import grpc
import pytest

from integration.bridges.engine_calls import Bridge, Entry
from integration.bridges.plane_stub import Plane
from spg99.resources import ApiKey, Database, Tenant


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


ACME = {"name": "acme"}
APP = {"tenant": "acme", "name": "app"}


@pytest.fixture
def app(bridge: Bridge) -> Entry:
    """A database that an earlier run has made and recorded."""
    with bridge.run() as run:
        run.up(Tenant, "acme", ACME)
        return run.up(Database, "app", APP)


def uid(plane: Plane) -> str | None:
    found = plane.objects.get(("database", "acme/app"))
    return None if found is None or found["state"] == "deleting" else found["db_id"]


def refused(error: pytest.ExceptionInfo[grpc.RpcError], bridge: Bridge) -> bool:
    """Whether the sentence says what to do, in the words of the tool."""
    said = error.value.details() or ""
    option, agree = (
        ("delete_before_replace", "allow_replacement")
        if bridge.kind == "dynamic"
        else ("deleteBeforeReplace", "allowReplacement")
    )
    return "acme/app" in said and option in said and agree in said and "Traceback" not in said


SEEN = {
    "a replacement trigger, replace_on_changes": ("check", "create"),
    "replace_on_changes of a change that is no replacement": ("check", "delete"),
    "--replace, --target-replace, a taint": ("", "create"),
    "the same, delete_before_replace": ("", "delete"),
}


@pytest.mark.parametrize(("before", "first"), SEEN.values(), ids=SEEN)
def test_a_replacement_that_nobody_agreed_to_keeps_the_data(
    bridge: Bridge, plane: Plane, app: Entry, before: str, first: str
) -> None:
    was = uid(plane)
    with bridge.run() as run:
        if before:
            run.check(Database, "app", APP, app)
        with pytest.raises(grpc.RpcError) as error:
            run.replace(Database, "app", APP, app, first=first)
    assert refused(error, bridge)
    assert uid(plane) == was is not None


@pytest.mark.parametrize(("before", "first"), SEEN.values(), ids=SEEN)
def test_an_agreed_replacement_destroys_only_when_the_old_one_goes_first(
    bridge: Bridge, plane: Plane, app: Entry, before: str, first: str
) -> None:
    was, agreed = uid(plane), APP | {"allowReplacement": True}
    with bridge.run() as run:
        if before:
            run.check(Database, "app", agreed, app)
        if first == "delete":
            new = run.replace(Database, "app", agreed, app, first=first)
            assert uid(plane) == new.outputs["dbId"] != was
            return
        with pytest.raises(grpc.RpcError) as error:
            run.replace(Database, "app", agreed, app, first=first)
    assert refused(error, bridge) and uid(plane) == was


@pytest.mark.parametrize("agreed", [False, True])
def test_a_replaced_provider_deletes_only_what_its_successor_may_lose(
    bridge: Bridge, plane: Plane, app: Entry, agreed: bool
) -> None:
    """`--replace '**'` with delete_before_replace: the new provider's process hears the Check, the old one's the Delete."""
    engine, props = f"127.0.0.1:{unused_port()}", APP | {"allowReplacement": agreed}
    with bridge.run(engine) as old, bridge.run(engine) as new:
        new.check(Database, "app", props, None)
        with contextlib.nullcontext() if agreed else pytest.raises(grpc.RpcError) as error:
            old.delete(Database, "app", app)
    assert agreed or (refused(error, bridge) and uid(plane) == app.outputs["dbId"])
    assert not agreed or uid(plane) is None
    if not agreed:
        with bridge.run(engine) as old:  # another run, whose program does not have it
            old.delete(Database, "app", app)
        assert uid(plane) is None


def test_a_renamed_one_that_is_replaced_is_kept(bridge: Bridge, plane: Plane, app: Entry) -> None:
    """With an alias and delete_before_replace the engine checks the new URN and deletes by the old one."""
    with bridge.run() as run:
        run.check(Database, "renamed", APP, None)
        with pytest.raises(grpc.RpcError) as error:
            run.delete(Database, "app", app)
    assert refused(error, bridge) and uid(plane) == app.outputs["dbId"]


@pytest.mark.parametrize("agreed", [False, True])
def test_the_old_name_of_an_imported_one_goes_and_its_object_stays(
    bridge: Bridge, plane: Plane, app: Entry, agreed: bool
) -> None:
    """Renamed without an alias, then imported: the state has the object twice. Who agrees to lose data in a replacement has not
    agreed to lose it in this."""
    with bridge.run() as run:
        run.check(Database, "renamed", APP | {"allowReplacement": agreed}, app)
        run.delete(Database, "app", app)
    assert uid(plane) == app.outputs["dbId"]


@pytest.mark.parametrize("first", ["create", "delete"])
def test_what_an_ended_run_has_recorded_is_never_answered_as_new(bridge: Bridge, plane: Plane, first: str) -> None:
    with bridge.run() as run:
        run.up(Tenant, "acme", ACME)
        app = run.up(Database, "app", APP)
        run.end()
    was = uid(plane)
    assert len(plane.acknowledged) == 2
    with bridge.run() as run:
        inputs = run.check(Database, "app", APP, None)
        with pytest.raises(grpc.RpcError) as error:
            run.create(Database, "app", inputs) if first == "create" else run.delete(Database, "app", app)
    assert refused(error, bridge) and uid(plane) == was
    if first == "create":
        assert "import" in (error.value.details() or ""), "a state may have been lost as well"


def test_a_new_life_after_an_ended_run_is_a_create(bridge: Bridge, plane: Plane) -> None:
    with bridge.run() as run:
        run.up(Tenant, "acme", ACME)
        app = run.up(Database, "app", APP)
        run.end()
    with bridge.run() as run:
        run.delete(Database, "app", app)
        run.end()
    with bridge.run() as run:
        again = run.up(Database, "app", APP)
    assert again.outputs["dbId"] == uid(plane) != app.outputs["dbId"]
    with bridge.run() as run:  # that answer was lost: the run had no end
        assert run.up(Database, "app", APP).outputs["dbId"] == uid(plane)


def test_a_replaced_key_of_an_ended_run_is_a_new_one(bridge: Bridge, plane: Plane) -> None:
    with bridge.run() as run:
        old = run.up(ApiKey, "ci", {"name": "ci"})
        run.end()
    with bridge.run() as run:
        new = run.replace(ApiKey, "ci", {"name": "ci"}, old, first="create")
    assert [human_id for noun, human_id in plane.objects if noun == "api_key"] == [new.id] != [old.id]


def test_what_the_refusal_left_in_the_state_is_dropped_and_nothing_is_deleted(
    bridge: Bridge, plane: Plane, app: Entry
) -> None:
    was = uid(plane)
    with bridge.run() as run:
        again = run.create(Database, "app", run.check(Database, "app", APP, None))
        with pytest.raises(grpc.RpcError):
            run.delete(Database, "app", app)
    with bridge.run() as run:  # the state has the database twice now, the old entry marked to be deleted
        run.check(Database, "app", APP | {"allowReplacement": True}, again)
        run.delete(Database, "app", app)
    assert uid(plane) == was
    with bridge.run() as run:  # a destroy is one
        run.delete(Database, "app", again)
    assert uid(plane) is None


def test_a_lost_answer_of_a_create_is_still_told_again(bridge: Bridge, plane: Plane) -> None:
    with bridge.run() as run:
        run.up(Tenant, "acme", ACME)
        lost = run.up(Database, "app", APP)  # the engine was killed: its state does not hold it
    with bridge.run() as run:
        found = run.up(Database, "app", APP)
    assert found.id == "acme/app" and found.outputs["dbId"] == lost.outputs["dbId"]
    assert plane.count("POST", "/dbs$") == 2 and plane.posts == 2, "a tenant and one database"


def test_an_answer_lost_in_the_same_call_belongs_to_this_call(bridge: Bridge, plane: Plane) -> None:
    with bridge.run() as run:
        run.up(Tenant, "acme", ACME)
        plane.cut_answers = 1
        made = run.up(Database, "app", APP)
        run.delete(Database, "app", made)
    assert uid(plane) is None


def test_a_replaced_object_that_holds_no_data_is_a_new_one(bridge: Bridge, plane: Plane) -> None:
    with bridge.run() as run:
        old = run.up(ApiKey, "ci", {"name": "ci"})
    with bridge.run() as run:
        run.check(ApiKey, "ci", {"name": "ci"}, old)
        new = run.replace(ApiKey, "ci", {"name": "ci"}, old, first="create")
    assert new.id != old.id
    assert [human_id for noun, human_id in plane.objects if noun == "api_key"] == [new.id]


def test_an_object_that_went_in_an_interrupted_replacement_is_made_again(
    bridge: Bridge, plane: Plane, app: Entry
) -> None:
    plane.delete_outside("database", "acme/app")
    with bridge.run() as run:
        run.check(Database, "app", APP, app)
        new = run.create(Database, "app", run.check(Database, "app", APP, None))
    assert uid(plane) == new.outputs["dbId"] != app.outputs["dbId"]
