"""The traps of Terraform's contract (terraform-facts 1.4), run against our own provider from the outside: over its socket, as core does.

mistake of a provider                                    | shown not to happen by (here, where no file is named)
---------------------------------------------------------+---------------------------------------------------------------
plans a value that the configuration does not have       | test_lives_that_core_finds_nothing_wrong_with
the result of an apply differs from the plan             | test_an_answer_that_differs_from_the_plan_is_drift_and_no_error
[] or "" for null after an apply                         | test_an_answer_that_differs_from_the_plan_is_drift_and_no_error
something unknown is left after an apply                 | test_lives_that_core_finds_nothing_wrong_with
a value for a write-only attribute                       | test_lives_that_core_finds_nothing_wrong_with
an apply answers null                                    | test_a_create_without_a_usable_answer_keeps_the_object
a call without an answer, or a dead process              | test_plugin_calls.py::test_an_update_that_raises_and_even_an_exit_ends_nothing
                                                         | test_terraform_stops.py::test_a_killed_provider_makes_no_second_object
a read answers [] for null, or another form              | test_a_read_keeps_null_and_the_users_form
something unknown in a read                              | test_lives_that_core_finds_nothing_wrong_with
a set of objects with a computed member                  | test_there_is_no_set_in_any_schema
leaving out an optional field does not clear it          | test_what_is_left_out_is_cleared_by_an_explicit_null
a path deeper than an attribute                          | test_a_diagnostic_names_one_step_and_says_the_rest
                                                         | test_terraform_life.py::test_what_is_wrong_is_told_at_once_on_its_line
a create that fails half way is lost                     | test_terraform_life.py::test_a_create_that_ends_half_way_is_kept_with_its_id
an update that fails forgets what was                    | test_terraform_life.py::test_a_failed_update_keeps_what_was_before
legacy_type_system is set                                | test_the_loose_rules_of_old_providers_are_not_asked_for
the plan of a replacement's second half, the second plan | test_lives_that_core_finds_nothing_wrong_with
an update makes unknown what stays                       | test_an_update_leaves_known_what_does_not_move
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from conformance.package import ALSO_MOUNTED, NOUNS, PACKAGE
from conformance.values import candidates, good_values, is_right
from integration.terraform import core_rules
from integration.terraform.core_rules import Broken, Core, Refused, Values
from integration.tfplugin.plugin_driver import UNLIMITED, Client
from proof.gadget import GADGET
from proof.server import API_KEY, Server, running
from spg99.bridges.shared.unknown import UNKNOWN
from spg99.bridges.terraform.json_values import to_terraform
from spg99.bridges.terraform.provider import TerraformProvider
from spg99.bridges.terraform.schema import Block, tables
from spg99.bridges.terraform.session import encoded
from spg99.shapes import Noun
from terraform_cli import Workspace
from tfplugin.serving import Attached

Text = Callable[..., str]
TABLES = tables(PACKAGE)
IT = "spg99_gadget.it"


@pytest.fixture(scope="module")
def plane() -> Iterator[Server]:
    with running(PACKAGE, also=ALSO_MOUNTED) as server:
        yield server


class Configured(Client):
    """Calls on a provider that is configured anew for every walk, as core does it."""

    configured: dict[str, Any]

    def begin_walk(self) -> None:
        answer = self.call("ConfigureProvider", self.configured)
        assert answer["diagnostics"] == []


def core_of(client: Configured, noun: Noun) -> Core:
    client.begin_walk()
    return Core(client, block_of(noun), begin_walk=client.begin_walk)


@pytest.fixture(scope="module")
def client(plane: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    """Calls on a configured provider over its socket."""
    provider = TerraformProvider(PACKAGE, {"TF_DATA_DIR": str(tmp_path_factory.mktemp("data"))})
    with Attached(lambda: provider, "registry.terraform.io/spg99/spg99") as attached:
        channel = grpc.insecure_channel(attached.target, options=[("grpc.use_local_subchannel_pool", 1), *UNLIMITED])
        made = Configured(channel)
        config = dict.fromkeys(TABLES.provider.named) | {"url": plane.url, "api_key": API_KEY}
        made.configured = {"config": encoded(TABLES.provider.type, config), "terraform_version": "1.11.4"}
        yield made
        channel.close()


def block_of(noun: Noun) -> Block:
    return TABLES.resources[f"{PACKAGE.name}_{noun.noun}"]


def config_of(noun: Noun, values: Values, **settings: Any) -> Values:
    """These inputs as a configuration: every attribute is there, what is write-only under its own name."""
    block = block_of(noun)
    write_only = {field.name for field in noun.write_only()}
    config = dict.fromkeys(block.named) | settings
    for name, value in values.items():
        attribute = block.named[f"{name}_wo" if name in write_only else name]
        config[attribute.name] = to_terraform(attribute, value)
    return config


def any_values(noun: Noun, chance: random.Random, number: int) -> Values:
    """Right inputs of this noun, each optional one left out, null, or something."""
    for _ in range(200):
        values = {
            name: value for name, value in good_values(noun, number).items() if noun.input_fields()[name].required
        }
        for field in noun.inputs:
            if field.name in noun.id_fields() or field.name == noun.protected_by or chance.random() < 0.5:
                continue
            values[field.name] = chance.choice(list(candidates(field))[:6])
        if is_right(noun, values):
            return values
    raise AssertionError(f"no right values of {noun.noun}")


def partly_unknown(config: Values, noun: Noun, chance: random.Random) -> Values:
    """The same configuration before some of its values are known."""
    inputs = {name for name in config if name.removesuffix("_wo") in noun.input_fields()}
    return {
        name: UNKNOWN if value is not None and name in inputs and chance.random() < 0.3 else value
        for name, value in config.items()
    }


def still(noun: Noun, state: Values | None) -> Values:
    """What of a state does not move by itself."""
    moving = {field.name for field in noun.outputs if field.volatile}
    return {name: value for name, value in (state or {}).items() if name not in moving}


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.noun)
def test_lives_that_core_finds_nothing_wrong_with(client: Configured, plane: Server, noun: Noun) -> None:
    chance = random.Random(f"lives of {noun.noun}")
    refusals: list[str] = []
    changed = 0
    for number in range(1, 9):
        core = core_of(client, noun)
        for _ in range(5):
            settings: Values = {"allow_replacement": True} if noun.holds_data and chance.random() < 0.7 else {}
            if chance.random() < 0.2:
                settings["timeouts"] = {"create": "9s", "read": None, "update": None, "delete": "1m"}
            settings |= {f"{field.name}_wo_version": chance.choice([None, 1, 2]) for field in noun.write_only()}
            now = config_of(noun, any_values(noun, chance, number), **settings)
            before = core.state
            try:
                core.apply(partly_unknown(now, noun, chance), now)
            except Refused as refusal:
                refusals.append(str(refusal))
                if core.state != before:
                    raise
                continue
            told = still(noun, core.state)
            core.refresh()
            assert core.state is not None and still(noun, core.state) == told, "the apply told what a read tells"
            planned, replaces, _ = core.plan(now, prior=core.state)
            assert (planned, replaces) == (core.state, []), "the next plan is empty"
            changed += 1
        core.destroy()
    # Losing data unasked is refused: in the plan or, where it was not known yet, in the final plan.
    assert [each for each in refusals if "would be replaced and its data destroyed" not in each] == []
    assert not [key for key in plane.objects if key[0] == noun.noun]
    assert changed > len(refusals), "most lives went on"


def test_the_judge_finds_what_is_wrong() -> None:
    block = block_of(GADGET)
    config = config_of(GADGET, {"shelf": "top", "name": "lamp", "limits": {"max_items": 2}})
    planned = dict.fromkeys(block.named) | config | {"amount": 3, "gadget_id": UNKNOWN}
    core_rules.check_plan(block, None, config, planned)
    for wrong in (
        {"name": "LAMP"},
        {"note": "made up"},
        {"pass_phrase_wo": "told"},
        {"limits": None},
        {"limits": {"max_items": 3, "color": "red"}},
        {"name": UNKNOWN},
    ):
        with pytest.raises(Broken):
            core_rules.check_plan(block, None, config, planned | wrong)
    for after in ({"amount": 4}, {"note": ""}, {"amount": None}):
        with pytest.raises(Broken):
            core_rules.check_agreement(planned, planned | after, "it", words="inconsistent")
    core_rules.check_agreement(planned, planned | {"gadget_id": "g"}, "it", words="inconsistent")
    for left in ({"gadget_id": UNKNOWN}, {"gadget_id": "g", "pass_phrase_wo": "told"}):
        with pytest.raises(Broken):
            core_rules.check_state(block, planned | left, words="after apply")


def answering(server: Server, method: str, **otherwise: Any) -> None:
    """Makes the server tell other values than it has, in its answers to these requests."""
    answer = server.answer

    def told(request: Any) -> Any:
        status, body, drop = answer(request)
        if request.method in method and isinstance(body, dict) and status < 300:
            body = body | {name: value for name, value in otherwise.items() if name in body}
        return status, body, drop

    server.answer = told  # type: ignore[method-assign]


def test_an_answer_that_differs_from_the_plan_is_drift_and_no_error(
    work: Workspace, server: Server, lamp: Text
) -> None:
    answering(server, "POST GET PATCH", note="", limits={"max_items": 9, "color": "blue"}, color="blue", tags=["A"])
    said = work.write(lamp(tags=["a"])).apply()
    assert "inconsistent" not in said.text and "tainted" not in work.resources()[IT]
    values = work.values(IT)
    assert (values["note"], values["limits"], values["color"], values["tags"]) == (None, None, "red", ["a"])
    assert work.plan().changes[IT].changed == {"note", "limits", "color", "tags"}, (
        "what is different is told in the next plan"
    )


def test_a_read_keeps_null_and_the_users_form(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp(until="2030-01-01T01:00:00+01:00", note="n", tags=[], labels={})).apply()
    answering(server, "GET", until="2030-01-01T00:00:00Z", ratio=0.50)
    work.refresh()
    values = work.values(IT)
    assert values["until"] == "2030-01-01T01:00:00+01:00"
    assert (values["tags"], values["labels"], values["limits"], values["big_number"]) == ([], {}, None, None)
    assert work.plan().is_empty


def test_a_create_without_a_usable_answer_keeps_the_object(work: Workspace, server: Server, lamp: Text) -> None:
    # A provider that is installed has this folder, one that is attached has not.
    (work.folder / ".terraform").mkdir()
    answer = server.answer

    def cut(request: Any) -> Any:
        status, body, drop = answer(request)
        return (status, {"name": "lamp"}, drop) if request.method == "POST" else (status, body, drop)

    server.answer = cut  # type: ignore[method-assign]
    said = work.write(lamp()).apply(check=False)
    assert said.code == 1 and "does not understand" in said.text and "Root object" not in said.text
    server.answer = answer  # type: ignore[method-assign]
    work.apply()
    assert server.created == 1, "the next run finds it by its key"
    assert work.plan().is_empty


def test_there_is_no_set_in_any_schema(client: Configured) -> None:
    schema = client.call("GetProviderSchema")
    nestings, types = set(), []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            nestings.update({value["nesting"]} if "nesting" in value else ())
            types.extend([value["type"]] if isinstance(value.get("type"), bytes) else ())
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                walk(item)

    walk(schema)
    assert len(types) > 100 and nestings <= {1, 2, 4}, "single, list and map; 3 is a set"
    assert not [each for each in types if b'"set"' in each]


def test_what_is_left_out_is_cleared_by_an_explicit_null(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp(note="n", limits={"max_items": 1}, tags=["a"], amount=9, big_number=1)).apply()
    work.write(lamp()).apply()
    (patch,) = [each.body for each in server.requests if each.method == "PATCH"]
    assert patch == {"note": None, "limits": None, "tags": [], "amount": 3, "big_number": None}
    assert work.plan().is_empty


def test_a_diagnostic_names_one_step_and_says_the_rest(client: Configured) -> None:
    core = core_of(client, GADGET)
    wrong = {"limits": {"max_items": 0}, "steps": [{"max_items": 1}, {"max_items": 1, "color": "no"}]}
    with pytest.raises(Refused) as refused:
        core.validate(config_of(GADGET, {"shelf": "top", "name": "lamp", **wrong}))
    told = {each["attribute"]["steps"][0]["attribute_name"]: each for each in refused.value.diagnostics}
    assert set(told) == {"limits", "steps"} and all(len(each["attribute"]["steps"]) == 1 for each in told.values())
    assert "limits.max_items" in told["limits"]["summary"] + told["limits"]["detail"]
    assert "steps[1].color" in told["steps"]["summary"] + told["steps"]["detail"]


def test_the_loose_rules_of_old_providers_are_not_asked_for(client: Configured) -> None:
    block = block_of(GADGET)
    config = encoded(block.type, config_of(GADGET, {"shelf": "top", "name": "old"}))
    from tfplugin import messages

    asked = messages.encode(
        "PlanResourceChange.Request",
        {
            "type_name": block.name,
            "config": config,
            "prior_state": encoded(block.type, None),
            "proposed_new_state": config,
        },
    )
    fields = dict(top_level(client.raw("/tfplugin6.Provider/PlanResourceChange", asked)))
    assert 1 in fields and 4 not in fields, "planned, without diagnostics"
    assert 5 not in fields, "legacy_type_system"
    assert "legacy_type_system" not in str(messages.__dict__)


def top_level(message: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protobuf message, by number."""

    def number(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = message[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at

    at = 0
    while at < len(message):
        key, at = number(at)
        length, at = number(at) if key & 7 == 2 else (0, number(at)[1])
        yield key >> 3, message[at : at + length]
        at += length


def test_an_update_leaves_known_what_does_not_move(client: Configured) -> None:
    core = core_of(client, GADGET)
    values = {"shelf": "top", "name": "known"}
    core.apply(*[config_of(GADGET, values)] * 2)
    for name, value, moved in (("note", "n", set()), ("amount", 7, set()), ("pin", "12345", set())):
        planned, replaces, _ = core.plan(config_of(GADGET, values | {name: value}), prior=core.state)
        assert {each for each, now in planned.items() if now is UNKNOWN} == moved and not replaces
    phrase = config_of(GADGET, values | {"pass_phrase": "long enough"}, pass_phrase_wo_version=1)
    planned, _, _ = core.plan(phrase, prior=core.state)
    assert {each for each, now in planned.items() if now is UNKNOWN} == {"pass_phrase_version"}
    core.destroy()


def test_every_test_that_the_table_names_is_there() -> None:
    tests = Path(__file__).resolve().parents[2]
    named = re.findall(r"\| (?:(test_\w+)\.py::)?(test_\w+)$", __doc__ or "", re.MULTILINE)
    assert len(named) == 19
    for file, function in named:
        (path,) = tests.rglob(f"{file or Path(__file__).stem}.py")
        assert re.search(rf"^def {function}\(", path.read_text(), re.MULTILINE), function
