"""More of what users do with Terraform, on our own resources: meta-arguments, parallel children, retries, limits, stops, old and new states."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from proof.gadget import PACKAGE
from proof.server import API_KEY, Server
from spg99.bridges.terraform.provider import TerraformProvider
from spg99.bridges.terraform.session import encoded
from terraform_cli import Workspace
from tfplugin.interface import Call

Text = Callable[..., str]
IT = "spg99_gadget.it"
MANY = 'resource "spg99_gadget" "it" {\n  count = %d\n  shelf = "top"\n  name  = "lamp-${count.index}"\n}\n'
EACH = """
resource "spg99_gadget" "it" {
  for_each = %s
  shelf    = "top"
  name     = each.key
  note     = each.value
}
"""
AGREED = {"allow_replacement": True}


def lifecycle(text: str) -> str:
    return f"  lifecycle {{\n    {text}\n  }}\n"


def creates(server: Server) -> list[dict[str, str]]:
    """The headers of every create that came."""
    return [each.headers for each in server.requests if each.method == "POST" and each.path.endswith("/gadgets")]


# -- meta-arguments


def test_an_object_is_replaced_when_the_user_says_so(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp()).apply()
    first = work.values(IT)["gadget_id"]
    plan = work.plan(f"-replace={IT}")
    assert plan.changes[IT].actions == ["delete", "create"]
    assert server.created == 1
    work.apply(plan.path.name)
    assert work.values(IT)["gadget_id"] != first and server.created == 2
    assert work.plan().is_empty


def test_even_then_a_protected_object_is_not_deleted(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp(deletion_protection=True)).apply()
    # Terraform asks no provider about the end of an object that it replaces on order: the refusal comes in the apply.
    said = work.apply(f"-replace={IT}", check=False)
    assert said.code == 1 and "deletion_protection" in said.text
    assert server.count("DELETE", "") == 0 and server.created == 1
    assert work.plan().is_empty


def test_prevent_destroy_stops_a_replacement_and_a_destroy(work: Workspace, server: Server, lamp: Text) -> None:
    kept = lifecycle("prevent_destroy = true")
    work.write(lamp(extra=kept)).apply()
    for said in (
        work.write(lamp(material="gold", **AGREED, extra=kept)).run("plan", check=False),
        work.write(lamp(extra=kept)).run("plan", f"-replace={IT}", check=False),
        work.run("plan", "-destroy", check=False),
    ):
        assert said.code == 1 and "prevent_destroy" in said.text
    assert server.count("DELETE", "") == 0


IGNORED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("[amount, note]", {"amount": 9, "note": "mine"}, {"amount": 50, "note": "foreign"}),
    ("[limits]", {"limits": {"max_items": 4}}, {"limits": {"max_items": 1, "color": "red"}}),
    ('[labels["k"]]', {"labels": {"k": "mine", "l": ""}}, {"labels": {"k": "foreign", "l": ""}}),
    ("[material]", {"material": "gold"}, {}),
    ("all", {"amount": 9, "tags": ["x"], "material": "gold"}, {"note": "foreign", "is_on": True}),
]
"""What is ignored, what the program says all the same, what others did."""


def test_what_is_ignored_is_neither_sent_nor_taken_back(work: Workspace, server: Server, lamp: Text) -> None:
    names = [f"lamp-{number}" for number in range(len(IGNORED))]
    first = {"labels": {"k": "first", "l": ""}}
    work.write("".join(lamp(name, name=name, **first) for name in names)).apply()
    text = ""
    for name, (ignored, written, foreign) in zip(names, IGNORED, strict=True):
        server.change("gadget", f"top/{name}", **foreign)
        text += lamp(name, name=name, **(first | written), extra=lifecycle(f"ignore_changes = {ignored}"))
    assert work.write(text).plan().is_empty
    work.apply()
    assert server.count("PATCH", "") == 0 and server.created == len(IGNORED)
    for name, (_, _, foreign) in zip(names, IGNORED, strict=True):
        held = server.objects["gadget", f"top/{name}"]
        assert {field: held[field] for field in foreign} == foreign, name


def test_a_field_that_is_not_ignored_changes_alone(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp()).apply()
    server.change("gadget", "top/lamp", note="foreign")
    work.write(lamp(amount=9, extra=lifecycle("ignore_changes = [note]"))).apply()
    (patch,) = [each.body for each in server.requests if each.method == "PATCH"]
    assert patch == {"amount": 9}


def test_replace_triggered_by_another_resource(work: Workspace, server: Server, lamp: Text) -> None:
    trigger = 'resource "terraform_data" "release" {{ input = "{}" }}\n'
    text = lamp(extra=lifecycle("replace_triggered_by = [terraform_data.release]"))
    work.write(trigger.format("1") + text).apply()
    plan = work.write(trigger.format("2") + text).plan()
    assert plan.changes[IT].actions == ["delete", "create"]
    work.apply(plan.path.name)
    assert server.created == 2 and len(server.objects) == 1


def test_objects_for_each_key(work: Workspace, server: Server) -> None:
    work.write(EACH % '{ lamp = "a", torch = "b" }').apply()
    assert work.values(f'{IT}["torch"]')["note"] == "b"
    plan = work.write(EACH % '{ torch = "c", candle = "d" }').plan()
    assert {address: each.actions for address, each in plan.changes.items()} == {
        f'{IT}["lamp"]': ["delete"],
        f'{IT}["torch"]': ["update"],
        f'{IT}["candle"]': ["create"],
    }
    work.apply(plan.path.name)
    assert {key[1]: each["note"] for key, each in server.objects.items()} == {"top/torch": "c", "top/candle": "d"}
    renamed = 'moved {\n  from = spg99_gadget.it["torch"]\n  to   = spg99_gadget.it["beacon"]\n}\n'
    work.write(
        (EACH % '{ beacon = "c", candle = "d" }').replace("= each.key", '= each.key == "beacon" ? "torch" : each.key')
        + renamed
    )
    assert work.plan().changes[f'{IT}["beacon"]'].actions == ["no-op"]


@pytest.mark.slow  # again
def test_objects_by_count(work: Workspace, server: Server) -> None:
    work.write(MANY % 3).apply()
    assert work.write(MANY % 3).plan().is_empty
    plan = work.write(MANY % 1).plan()
    assert [each.actions for each in plan.changes.values()] == [["no-op"], ["delete"], ["delete"]]
    work.apply(plan.path.name)
    one = (MANY % 1).replace("  count = 1\n", "").replace("${count.index}", "0")
    moved = "moved {\n  from = spg99_gadget.it[0]\n  to   = spg99_gadget.it\n}\n"
    assert work.write(one + moved).plan().changes[IT].actions == ["no-op"]
    assert server.created == 3


def test_each_resource_of_another(work: Workspace, server: Server) -> None:
    copies = """
resource "spg99_gadget" "copy" {
  for_each = spg99_gadget.it
  shelf    = "bottom"
  name     = each.value.name
  note     = each.value.gadget_id
}
"""
    work.write(EACH % '{ lamp = "a", torch = "b" }' + copies).apply()
    assert server.objects["gadget", "bottom/torch"]["note"] == server.objects["gadget", "top/torch"]["gadget_id"]
    assert work.plan().is_empty


def test_a_default_that_is_written_down_is_no_change(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp()).apply()
    written = {"material": "steel", "amount": 3, "ratio": 0.5, "color": "red", "tags": [], "labels": {}, "note": None}
    assert work.write(lamp(**written)).plan().is_empty
    work.apply()
    assert work.write(lamp()).plan().is_empty and server.count("PATCH", "") == 0


# -- parallel children, refusals, retries


@pytest.mark.parametrize("status", [409, 423])
def test_a_refusal_because_of_the_parent_is_told_clearly(
    work: Workspace, server: Server, lamp: Text, status: int
) -> None:
    # Our Control Plane lets children of one parent wait for each other, so it answers neither; a gateway in front might.
    server.on("POST", "/gadgets$", status=status)
    said = work.write(lamp()).apply(check=False)
    assert said.code == 1 and "Creating gadget 'top/lamp' failed" in said.text
    assert "On order of the test" in said.text and "Request id: req_" in said.text and "Traceback" not in said.text
    assert work.resources() == {} and not server.objects
    work.apply()
    assert server.created == 1 and work.plan().is_empty


@pytest.mark.slow  # again
def test_children_that_were_refused_for_being_too_many_at_once_are_made_all_the_same(
    work: Workspace, server: Server
) -> None:
    for _ in range(3):
        server.on("POST", "/gadgets$", status=429, retry_after=0.1, times=3)
        server.on("POST", "/gadgets$", status=503, times=3)
    work.write(MANY % 10).apply("-parallelism=10")
    assert len(server.objects) == server.created == 10
    assert work.plan().is_empty


def test_every_create_has_a_key_and_keeps_it_when_it_is_sent_again(work: Workspace, server: Server) -> None:
    server.on("POST", "/gadgets$", drop="after")
    server.on("POST", "/gadgets$", drop="before")
    server.on("POST", "/gadgets$", status=503)
    work.write(MANY % 2).apply("-parallelism=1")
    keys = [each["idempotency-key"] for each in creates(server)]
    assert len(keys) == 5 and len(set(keys)) == 2
    assert [keys.count(key) for key in dict.fromkeys(keys)] == [4, 1]
    assert server.created == 2


@pytest.mark.slow  # again
def test_a_hundred_at_once_ask_no_more_than_the_client_has_room_for(
    work: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Terraform makes as many calls as its user allows; the client of the process has room for fewer."""
    monkeypatch.setattr("spg99.client.sockets.SOCKETS_MAX", 15)
    count, most, lock, answer = 0, 0, threading.Lock(), server.answer

    def counted(request: Any) -> Any:
        nonlocal count, most
        with lock:
            count += 1
            most = max(most, count)
        try:
            return answer(request)
        finally:
            with lock:
                count -= 1

    server.answer = counted  # type: ignore[method-assign]
    server.on("POST", "/gadgets$", seconds=0.05, times=100)
    work.write(MANY % 100).apply("-parallelism=100")
    assert server.created == 100
    assert 8 <= most <= 15


# -- stops


def test_a_stop_ends_every_wait_within_a_second_and_keeps_what_was_made(server: Server, tmp_path: Path) -> None:
    provider = TerraformProvider(PACKAGE, {"TF_DATA_DIR": str(tmp_path)})
    settings = provider.tables.provider
    config = dict.fromkeys(settings.named) | {"url": server.url, "api_key": API_KEY}
    provider.configure_provider(
        {"config": encoded(settings.type, config), "terraform_version": "1.11.4"}, Call("ConfigureProvider")
    )
    block = provider.tables.resources["spg99_gadget"]
    server.settle_seconds = -1

    def create(number: int) -> Any:
        from spg99.bridges.terraform import planning

        wanted = dict.fromkeys(block.named) | {"shelf": "top", "name": f"lamp-{number}"}
        request = {
            "type_name": "spg99_gadget",
            "prior_state": encoded(block.type, None),
            "planned_state": encoded(block.type, planning.create(block, wanted).state),
            "config": encoded(block.type, wanted),
            "planned_private": b"",
        }
        return provider.apply_resource_change(request, Call("ApplyResourceChange"))

    with ThreadPoolExecutor(40) as threads:
        under_way = [threads.submit(create, number) for number in range(40)]
        end = time.monotonic() + 30
        while server.created < 40 and time.monotonic() < end:
            time.sleep(0.01)
        assert server.created == 40 and not any(each.done() for each in under_way)
        began = time.monotonic()
        provider.stop()
        assert time.monotonic() - began < 0.2, "the answer to the stop itself does not wait"
        answers = [each.result(timeout=10) for each in under_way]
        assert time.monotonic() - began < 1.0
    for answer in answers:
        assert "was interrupted" in answer["diagnostics"][0].detail
        assert b"gadget_" in answer["new_state"]["msgpack"]


# -- states


def test_a_state_of_a_newer_provider_is_refused_and_left_alone(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp()).apply()
    path = work.folder / "terraform.tfstate"
    state = json.loads(path.read_text())
    state["resources"][0]["instances"][0]["schema_version"] = 99
    path.write_text(json.dumps(state))
    before = path.read_text()
    said = work.run("plan", check=False)
    assert said.code == 1 and "newer provider version" in said.text and "Traceback" not in said.text
    assert path.read_text() == before


def test_a_state_with_what_nobody_knows_any_more_is_read(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp(note="n")).apply()
    path = work.folder / "terraform.tfstate"
    state = json.loads(path.read_text())
    attributes = state["resources"][0]["instances"][0]["attributes"]
    attributes["dropped_long_ago"] = {"a": [1]}
    del attributes["labels"]
    path.write_text(json.dumps(state))
    asked = len(server.requests)
    assert work.run("state", "show", IT).code == 0
    assert len(server.requests) == asked, "taking over a state asks nobody"
    assert work.plan().is_empty
