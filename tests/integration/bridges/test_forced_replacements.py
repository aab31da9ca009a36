"""Every way in which an engine replaces what nobody asked the provider about, against both Pulumi bridges: data stays.

The calls are those that Pulumi 3.260 was seen to make (docs/decisions.md). A run is a process of its own, as with the engine.
Not here: the real CLI (tests/conformance), replacements that an edit of the program needs (test_dynamic_life.py).
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2 as pb

from integration.bridges.host_driver import running as host_running
from integration.bridges.host_driver import struct, value_of
from integration.bridges.plane_stub import API_KEY, Plane
from integration.native.plugin_driver import running as plugin_running
from spg99.bridges.pulumi.dynamic.reference import PROVIDER_KEY, provider_reference, type_token
from spg99.resources import ApiKey, Database, Resource, Tenant

PLUGIN = [sys.executable, "-c", "from spg99.bridges.native.process import main; main()"]


@dataclass
class Entry:
    """A resource in the engine's state."""

    id: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)


class Run:
    """One run of the engine: the calls it makes, in the order it makes them."""

    def __init__(self, bridge: Bridge, stub: Any) -> None:
        self._bridge, self._stub = bridge, stub

    def check(self, noun: type[Resource], name: str, props: Mapping[str, Any], old: Entry | None) -> dict[str, Any]:
        """Without `old`: as for a new object, which is also what an engine asks before it replaces one."""
        request = pb.CheckRequest(
            urn=self._bridge.urn(noun, name),
            type=self._bridge.type_of(noun),
            news=struct({**props, **self._bridge.reference(noun)}),
            olds=struct(old.inputs if old else {}),
            old_outputs=struct(old.outputs if old else {}),
            randomSeed=b"s" * 32,
        )
        answer = self._stub.Check(request, timeout=60)
        assert not answer.failures, answer.failures
        return value_of(answer.inputs)

    def diff(self, noun: type[Resource], name: str, old: Entry, news: dict[str, Any]) -> Any:
        urn, type_ = self._bridge.urn(noun, name), self._bridge.type_of(noun)
        request = pb.DiffRequest(
            id=old.id, urn=urn, type=type_, olds=struct(old.outputs), old_inputs=struct(old.inputs), news=struct(news)
        )
        return self._stub.Diff(request, timeout=60)

    def create(self, noun: type[Resource], name: str, inputs: dict[str, Any]) -> Entry:
        urn, type_ = self._bridge.urn(noun, name), self._bridge.type_of(noun)
        answer = self._stub.Create(pb.CreateRequest(urn=urn, type=type_, properties=struct(inputs)), timeout=60)
        return Entry(answer.id, inputs, value_of(answer.properties) | self._bridge.reference(noun))

    def delete(self, noun: type[Resource], name: str, entry: Entry) -> None:
        urn, type_ = self._bridge.urn(noun, name), self._bridge.type_of(noun)
        properties, old_inputs = struct(entry.outputs), struct(entry.inputs)
        request = pb.DeleteRequest(id=entry.id, urn=urn, type=type_, properties=properties, old_inputs=old_inputs)
        self._stub.Delete(request, timeout=60)

    def end(self) -> None:
        """What the real CLI calls when a run is over, and at Ctrl-C. A run that is killed has no end."""
        self._stub.Cancel(empty_pb2.Empty(), timeout=60)

    def up(self, noun: type[Resource], name: str, props: Mapping[str, Any]) -> Entry:
        """A new resource."""
        return self.create(noun, name, self.check(noun, name, props, None))

    def replace(self, noun: type[Resource], name: str, props: Mapping[str, Any], old: Entry, *, first: str) -> Entry:
        """What the engine does once it has decided to replace."""
        inputs = self.check(noun, name, props, None)
        if first == "delete":
            self.delete(noun, name, old)
            return self.create(noun, name, inputs)
        new = self.create(noun, name, inputs)
        self.delete(noun, name, old)
        return new


@dataclass
class Bridge:
    kind: str
    start: Callable[[str], AbstractContextManager[Any]]

    @contextlib.contextmanager
    def run(self, engine_address: str = "") -> Iterator[Run]:
        """A process of its own; with `engine_address` of that engine, which has others."""
        with self.start(engine_address) as process:
            yield Run(self, process.stub)

    def type_of(self, noun: type[Resource]) -> str:
        return type_token(noun.__name__) if self.kind == "dynamic" else f"spg99:index:{noun.__name__}"

    def urn(self, noun: type[Resource], name: str) -> str:
        return f"urn:pulumi:dev::proj::{self.type_of(noun)}::{name}"

    def reference(self, noun: type[Resource]) -> dict[str, str]:
        return {PROVIDER_KEY: provider_reference(noun.NOUN)} if self.kind == "dynamic" else {}


@pytest.fixture(params=["dynamic", "native"])
def bridge(request: pytest.FixtureRequest, plane: Plane, tmp_path: Path) -> Bridge:
    if request.param == "dynamic":
        config = {"spg99:url": plane.url, "spg99:apiKey": API_KEY}
        return Bridge("dynamic", lambda engine: host_running(tmp_path, config, engine_address=engine))
    settings = {"SPG99_CP_URL": plane.url, "SPG99_API_KEY": API_KEY}
    return Bridge(
        "native",
        lambda engine: plugin_running(PLUGIN, cwd=tmp_path, url=None, environment=settings, engine_address=engine),
    )


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
