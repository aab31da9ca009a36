"""What the provider answers to calls that need no network: checks, plans, states of older versions, moves, identity, functions."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest

from spg99.bridges.shared.objects import Created
from spg99.bridges.shared.unknown import UNKNOWN
from spg99.bridges.terraform import planning
from spg99.bridges.terraform.provider import TerraformProvider
from spg99.bridges.terraform.session import decoded, encoded
from spg99.errors import BadRequest, Conflict
from tfplugin import messages
from tfplugin.interface import Call
from unit.bridges.terraform.asking import ask, nothing, provider, read, value
from unit.bridges.terraform.shop import BLOCK, PACKAGE, answer, config

GADGET = "shop_gadget"
NEW_CLI = {"write_only_attributes_allowed": True}


def checked(capabilities: dict[str, bool] | None = NEW_CLI, **written: Any) -> list[tuple[int, str, list[str]]]:
    said = ask(
        provider(),
        "ValidateResourceConfig",
        type_name=GADGET,
        config=value(config(**written)),
        client_capabilities=capabilities,
    )
    return [
        (
            each["severity"],
            f"{each['summary']} | {each['detail']}",
            [s["attribute_name"] for s in (each["attribute"] or {"steps": []})["steps"]],
        )
        for each in said["diagnostics"]
    ]


def test_all_that_is_wrong_is_said_at_once_on_the_first_step_of_its_path() -> None:
    found = checked(
        color="green",
        weight=Decimal("1.5"),
        rules=[{"host": "h", "port": UNKNOWN, "note": None}],
        box={"width": None, "depth": Decimal("0.5")},
    )
    assert [(severity, path) for severity, _, path in found] == [(1, ["color"]), (1, ["weight"]), (1, ["box"])]
    assert "box.depth" in found[2][1] and "red, blue" in found[0][1]


def test_whole_numbers_beyond_doubles_are_exact() -> None:
    assert checked(weight=2**70) == []
    made = provider()
    planned = ask(
        made,
        "PlanResourceChange",
        type_name=GADGET,
        prior_state=value(None),
        config=value(config(weight=2**70)),
        proposed_new_state=value(None),
    )
    assert read(planned["planned_state"])["weight"] == 2**70


def test_unknown_values_are_left_for_later() -> None:
    everything = {
        name: UNKNOWN
        for name, each in BLOCK.named.items()
        if each.role in ("input", "version", "write_only", "timeouts")
    }
    assert [found for found in checked(**everything) if found[0] == 1] == []


def test_a_write_only_secret_is_refused_where_it_would_be_stored() -> None:
    for old in (None, {"write_only_attributes_allowed": False}):
        found = checked(old, passphrase_wo="geheim")
        assert [path for _, _, path in found] == [["passphrase_wo"]]
        assert "Terraform 1.11" in found[0][1] and "geheim" not in found[0][1]
    assert checked(None) == []
    assert checked(passphrase_wo="geheim") == []


def test_deprecated_fields_warn_with_what_to_use() -> None:
    assert checked(old_name="x") == [(2, "old_name is deprecated | is deprecated: Use `name`.", ["old_name"])]


def test_time_limits_and_versions_are_checked() -> None:
    limits = dict.fromkeys(("create", "read", "update", "delete"))
    assert checked(timeouts=limits | {"create": "1h30m", "read": "0.5s"}) == []
    found = checked(timeouts=limits | {"create": "soon", "delete": "0s"}, passphrase_wo_version=Decimal("1.5"))
    assert [path for _, _, path in found] == [["timeouts"], ["timeouts"], ["passphrase_wo_version"]]


def test_a_destroy_is_planned_or_refused() -> None:
    made = provider()
    state = planning.reached(BLOCK, {}, answer(locked=True))
    said = ask(
        made,
        "PlanResourceChange",
        type_name=GADGET,
        prior_state=value(state),
        proposed_new_state=value(None),
        config=value(None),
    )
    assert said["diagnostics"][0]["attribute"] == {
        "steps": [{"attribute_name": "locked", "element_key_string": None, "element_key_int": None}]
    }
    free = ask(
        made,
        "PlanResourceChange",
        type_name=GADGET,
        prior_state=value(state | {"locked": False}),
        proposed_new_state=value(None),
        config=value(None),
    )
    assert free["diagnostics"] == [] and read(free["planned_state"]) is None


def test_private_state_is_handed_on() -> None:
    said = ask(
        provider(),
        "PlanResourceChange",
        type_name=GADGET,
        prior_state=value(None),
        proposed_new_state=value(None),
        config=value(config()),
        prior_private=b"kept",
    )
    assert said["planned_private"] == b"kept"


def test_a_failed_create_leaves_nothing_and_a_failed_update_or_delete_what_was() -> None:
    made = provider()
    made.reach = lambda: (_ for _ in ()).throw(Conflict("Not today.", request_id="req_1"))  # type: ignore[method-assign]
    planned = planning.create(BLOCK, config()).state
    state = planning.answered(BLOCK, planned, answer())
    created = ask(
        made,
        "ApplyResourceChange",
        type_name=GADGET,
        prior_state=value(None),
        planned_state=value(planned),
        config=value(config()),
    )
    assert read(created["new_state"]) is None
    assert "Not today." in created["diagnostics"][0]["detail"] and "req_1" in created["diagnostics"][0]["detail"]
    wanted = config(color="blue")
    changed = ask(
        made,
        "ApplyResourceChange",
        type_name=GADGET,
        prior_state=value(state),
        planned_state=value(planning.change(BLOCK, state, wanted).state),
        config=value(wanted),
    )
    assert read(changed["new_state"]) == state and len(changed["diagnostics"]) == 1
    deleted = ask(
        made,
        "ApplyResourceChange",
        type_name=GADGET,
        prior_state=value(state),
        planned_state=value(None),
        config=value(None),
    )
    assert (
        read(deleted["new_state"]) == state
        and "Deleting gadget 'top/one' failed" in deleted["diagnostics"][0]["summary"]
    )


def test_a_fault_of_ours_tells_no_value_and_no_traceback() -> None:
    made = provider()
    made.reach = lambda: (_ for _ in ()).throw(RuntimeError("topsecret"))  # type: ignore[method-assign]
    planned = planning.create(BLOCK, config()).state
    said = ask(
        made,
        "ApplyResourceChange",
        type_name=GADGET,
        prior_state=value(None),
        planned_state=value(planned),
        config=value(config()),
    )
    text = repr(said)
    assert "topsecret" not in text and "Traceback" not in text and "RuntimeError" in text and "bug" in text


def test_settings_alone_are_applied_without_a_call() -> None:
    made = provider()
    made.reach = lambda: pytest.fail("asked")  # type: ignore[method-assign]
    state = planning.reached(BLOCK, {}, answer())
    planned = planning.change(BLOCK, state, config(allow_replacement=True)).state
    said = ask(
        made,
        "ApplyResourceChange",
        type_name=GADGET,
        prior_state=value(state),
        planned_state=value(planned),
        config=value(config(allow_replacement=True)),
    )
    assert read(said["new_state"])["allow_replacement"] is True and said["diagnostics"] == []


def test_a_state_of_another_version_is_taken_over_without_a_call() -> None:
    made = provider()
    made.reach = lambda: pytest.fail("asked")  # type: ignore[method-assign]
    old = {
        "shelf": "top",
        "name": "one",
        "weight": 1e2,
        "ratio": 0.1,
        "gone_field": {"a": 1},
        "labels": None,
        "rules": [{"host": "h", "old": 1}],
    }
    said = ask(made, "UpgradeResourceState", type_name=GADGET, version=1, raw_state={"json": json.dumps(old).encode()})
    state = read(said["upgraded_state"])
    assert set(state) == set(BLOCK.named)
    assert (state["weight"], state["ratio"], state["note"]) == (100, Decimal("0.1"), None)
    assert state["rules"] == [{"host": "h", "port": None, "note": None}]


def test_an_input_that_the_writer_of_a_state_did_not_know_has_its_default() -> None:
    """Null would plan a change of it, and where it cannot change, another object in place of the one that is there."""
    inputs = [each for each in BLOCK.attributes if each.role == "input" and each.field is not None]
    known = next(each.name for each in inputs if each.field is not None and each.field.default is not None)
    raw = json.dumps({"id": "x", known: None}).encode()
    said = ask(provider(), "UpgradeResourceState", type_name=GADGET, version=0, raw_state={"json": raw})
    state = read(said["upgraded_state"])
    with_default = [each.name for each in inputs if each.field is not None and each.field.default is not None]
    assert len(with_default) > 2 and state[known] is None  # written as null: that is what it was
    assert [name for name in with_default if name != known and state[name] is None] == []
    assert [each.name for each in inputs if each.name not in with_default and state[each.name] is not None] == []


def test_a_state_that_makes_no_sense_is_an_error() -> None:
    made = provider()
    with pytest.raises(ValueError) as problem:
        ask(made, "UpgradeResourceState", type_name=GADGET, version=1, raw_state={"json": b'{"weight": "topsecret"}'})
    said = made.diagnose(problem.value, {"type_name": GADGET}, Call("UpgradeResourceState"))
    assert said and "topsecret" not in repr(said)


def test_without_a_known_address_a_refresh_changes_nothing_and_a_read_says_why() -> None:
    made = TerraformProvider(PACKAGE, {})
    block = made.tables.provider
    unknown = encoded(block.type, dict.fromkeys(block.named) | {"url": UNKNOWN, "api_key": "k"})
    assert ask(made, "ConfigureProvider", config=unknown)["diagnostics"] == []
    state = value(planning.reached(BLOCK, {}, answer()))
    assert ask(made, "ReadResource", type_name=GADGET, current_state=state)["new_state"]["msgpack"] == state["msgpack"]
    with pytest.raises(Exception, match="known only after apply"):
        made.reach()


def test_an_unconfigured_provider_is_explained() -> None:
    made = TerraformProvider(PACKAGE, {})
    said = ask(made, "ConfigureProvider", config=nothing(made))["diagnostics"]
    assert len(said) == 1 and "`url` and `api_key` are missing" in said[0]["summary"]
    with pytest.raises(BadRequest):
        made.reach()


def test_functions_answer_or_blame_an_argument() -> None:
    made = TerraformProvider(PACKAGE, {})
    assert decoded("number", ask(made, "CallFunction", name="twice", arguments=[encoded("number", 21)])["result"]) == 42
    wrong = ask(made, "CallFunction", name="twice", arguments=[encoded("number", 101)])["error"]
    assert wrong == {"text": "Must be at most 100.", "function_argument": 0}
    assert "twice" in ask(made, "GetFunctions")["functions"]


def test_a_resource_has_an_identity() -> None:
    made = provider()
    schemas = ask(made, "GetResourceIdentitySchemas")["identity_schemas"]
    assert [each["name"] for each in schemas[GADGET]["identity_attributes"]] == ["shelf", "name"]
    planned = ask(
        made,
        "PlanResourceChange",
        type_name=GADGET,
        prior_state=value(None),
        proposed_new_state=value(None),
        config=value(config()),
    )
    kind = made.tables.identities[GADGET].type
    assert decoded(kind, planned["planned_identity"]["identity_data"]) == {"shelf": "top", "name": "one"}
    unknown = ask(
        made,
        "PlanResourceChange",
        type_name=GADGET,
        prior_state=value(None),
        proposed_new_state=value(None),
        config=value(config(name=UNKNOWN)),
    )
    assert unknown["planned_identity"] is None
    old = ask(
        made,
        "UpgradeResourceIdentity",
        type_name=GADGET,
        version=0,
        raw_identity={"json": b'{"shelf": "top", "more": 1}'},
    )
    assert decoded(kind, old["upgraded_identity"]["identity_data"]) == {"shelf": "top", "name": None}


class Answers:
    """Operations whose answers are given."""

    def __init__(self, found: list[dict[str, Any]]) -> None:
        self.found = found

    def run(self, work: Any) -> Any:
        return self._ended(work(self))

    run_client = run

    def _ended(self, work: Any) -> Any:
        try:
            work.send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("nothing here waits")

    async def find_all(self, noun: Any, values: Any, filters: Any) -> list[dict[str, Any]]:
        return [each for each in self.found if all(each[name] == wanted for name, wanted in values.items())]

    async def read(self, noun: Any, human_id: str, *, old: Any, seconds_max: float | None = None) -> Any:
        from spg99.bridges.shared.operations import Found

        found = next((each for each in self.found if noun.id_of(each) == human_id), None)
        return None if found is None else Found(human_id, found, {})

    async def read_by_uid(self, noun: Any, uid: str) -> dict[str, Any]:
        from spg99.errors import NotFound

        for each in self.found:
            if each[noun.uid_field] == uid:
                return each
        raise NotFound


def test_a_list_tells_identities_and_whole_objects_where_asked() -> None:
    made = provider()
    made.reach = lambda: Answers([answer(), answer(name="two")])  # type: ignore[method-assign,assignment,return-value]
    block = made.tables.lists[GADGET]
    query = {"type_name": GADGET, "config": encoded(block.type, {"shelf": "top"})}
    events = list(made.list_resource(query | {"include_resource_object": False, "limit": 1}, Call("ListResource")))
    assert [event["display_name"] for event in events] == ["top/one"] and "resource_object" not in events[0]
    whole = list(made.list_resource(query | {"include_resource_object": True, "limit": 0}, Call("ListResource")))
    assert read(whole[1]["resource_object"])["name"] == "two"
    for event in whole:
        messages.encode("ListResource.Event", event)


@pytest.mark.parametrize("wanted", ["top/one", "gad_1"])
def test_an_import_takes_the_human_id_and_the_uid(wanted: str) -> None:
    made = provider()
    made.reach = lambda: Answers([answer(note="n")])  # type: ignore[method-assign,assignment,return-value]
    said = ask(made, "ImportResourceState", type_name=GADGET, id=wanted)["imported_resources"]
    state = read(said[0]["state"])
    assert (state["id"], state["note"], state["gadget_id"]) == ("top/one", "n", "gad_1")


def test_an_import_takes_an_identity() -> None:
    made = provider()
    made.reach = lambda: Answers([answer()])  # type: ignore[method-assign,assignment,return-value]
    identity = encoded(made.tables.identities[GADGET].type, {"shelf": "top", "name": "one"})
    said = ask(made, "ImportResourceState", type_name=GADGET, identity={"identity_data": identity})
    assert read(said["imported_resources"][0]["state"])["gadget_id"] == "gad_1"
    with pytest.raises(BadRequest, match="identity with shelf, name"):
        ask(made, "ImportResourceState", type_name=GADGET)


def test_an_import_explains_a_malformed_id() -> None:
    made = provider()
    made.reach = lambda: Answers([])  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(BadRequest, match=r"has the form <shelf>/<name>, not 'one', or its gadget_id"):
        ask(made, "ImportResourceState", type_name=GADGET, id="one")
    stub = read(ask(made, "ImportResourceState", type_name=GADGET, id="top/nobody")["imported_resources"][0]["state"])
    assert (stub["id"], stub["shelf"], stub["gadget_id"]) == ("top/nobody", "top", None)


def test_metadata_names_everything() -> None:
    said = ask(provider(), "GetMetadata")
    assert {each["type_name"] for each in said["resources"]} == {"shop_gadget", "shop_ticket"}
    assert {each["type_name"] for each in said["data_sources"]} == {
        "shop_gadget",
        "shop_gadgets",
        "shop_ticket",
        "shop_tickets",
    }


def test_a_process_that_only_plans_a_new_object_loads_no_heavy_module() -> None:
    code = """
import sys
sys.path[:0] = %r
from spg99.bridges.terraform.provider import load
from tfplugin import messages
from tfplugin.interface import Call
from spg99.bridges.terraform.session import encoded
made = load()
made.environment = {"SPG99_CP_URL": "http://127.0.0.1:9/v2", "SPG99_API_KEY": "k"}
made.schema_bytes()
def ask(rpc, **fields):
    from tfplugin.dispatch import method_name
    request = messages.decode(rpc + ".Request", messages.encode(rpc + ".Request", fields))
    return messages.encode(rpc + ".Response", getattr(made, method_name(rpc))(request, Call(rpc)))
block = made.tables.resources["spg99_database"]
value = encoded(block.type, dict.fromkeys(block.named) | {"tenant": "acme", "name": "app"})
none = encoded(block.type, None)
ask("ConfigureProvider", config=encoded(made.tables.provider.type, dict.fromkeys(made.tables.provider.named)))
ask("ValidateResourceConfig", type_name="spg99_database", config=value, client_capabilities={"write_only_attributes_allowed": True})
ask("PlanResourceChange", type_name="spg99_database", prior_state=none, proposed_new_state=none, config=value)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    import spg99

    paths = [str(next(iter(spg99.__path__)).rpartition("/")[0])]
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code % paths], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"pydantic", "httpx", "httpcore", "asyncio", "pulumi", "grpc", "google", "ssl", "click", "rich"}


def test_an_object_that_was_made_is_kept_even_when_its_answer_makes_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    made = provider()

    class Made:
        def run(self, work: Any) -> Any:
            return Created("top/one", answer(), was_there=False)

    made.reach = lambda: Made()  # type: ignore[method-assign,assignment,return-value]
    real = planning.answered
    monkeypatch.setattr(
        planning,
        "answered",
        lambda block, planned, values, **more: real(block, planned, values) if not values else 1 / 0,
    )
    planned = planning.create(BLOCK, config()).state
    said = ask(
        made,
        "ApplyResourceChange",
        type_name=GADGET,
        prior_state=value(None),
        planned_state=value(planned),
        config=value(config()),
    )
    assert read(said["new_state"])["id"] == "top/one" and "ZeroDivisionError" in said["diagnostics"][0]["detail"]
