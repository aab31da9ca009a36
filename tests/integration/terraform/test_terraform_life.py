"""The life of an object under the real Terraform: plan, apply, update, drift, import, destroy, and what goes wrong on the way."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from kit.tiers import others_slow
from proof.server import SECRET, Server
from terraform_cli import Workspace

Text = Callable[..., str]
IT = "spg99_gadget.it"
FULL: dict[str, Any] = {
    "amount": 7,
    "ratio": 0.1,
    "is_on": True,
    "color": "blue",
    "tags": ["b", "a"],
    "labels": {"A-b": "c"},
    "limits": {"max_items": 2},
    "steps": [{"max_items": 1}, {"max_items": 2, "color": "blue"}],
    "by_zone": {"eu": {"max_items": 3}},
    "note": "why",
    "big_number": 123456789012345678901234567890,
    "until": "2030-01-01T01:00:00+01:00",
    "pin": "12345",
}


def test_a_plan_writes_nothing_and_shows_defaults(work: Workspace, server: Server, lamp: Text) -> None:
    plan = work.write(lamp()).plan()
    change = plan.changes[IT]
    assert change.actions == ["create"]
    assert change.after is not None
    assert (change.after["amount"], change.after["color"], change.after["id"]) == (3, "red", "top/lamp")
    assert change.unknown["gadget_id"] is True and "amount" not in change.unknown
    assert [request.method for request in server.requests if request.method != "GET"] == []


def test_an_object_with_every_kind_of_field_is_settled_after_one_apply(
    work: Workspace, server: Server, lamp: Text
) -> None:
    work.write(lamp(**FULL)).apply()
    kept = server.objects["gadget", "top/lamp"]
    assert kept["big_number"] == FULL["big_number"] and kept["ratio"] == 0.1
    assert kept["limits"]["color"] == "red", "the default of a field inside an object"
    assert work.plan().is_empty and work.plan(refresh=False).is_empty
    values = work.values(IT)
    assert values["until"] == FULL["until"], "the user's form is kept"
    assert "123456789012345678901234567890" in work.raw_state()
    work.destroy()
    assert not server.objects


CHANGES: list[tuple[str, Any, Any]] = [
    ("amount", 4, set()),
    ("ratio", 1.25, set()),
    ("is_on", True, set()),
    ("color", "blue", set()),
    ("tags", ["x"], set()),
    ("labels", {"k": "v"}, set()),
    ("limits", {"max_items": 9}, set()),
    ("steps", [{"max_items": 1}], set()),
    ("by_zone", {"z": {"max_items": 1}}, set()),
    ("note", "hello", set()),
    ("big_number", 2**70, set()),
    ("pin", "98765", set()),
    ("pass_phrase_wo_version", 1, {"pass_phrase_version"}),
]


def test_each_field_changes_in_place_and_only_it_is_shown(work: Workspace, server: Server, lamp: Text) -> None:
    written: dict[str, Any] = {"pass_phrase_wo": "long enough"}
    work.write(lamp(**written)).apply()
    for name, value, moved in CHANGES:
        written[name] = value
        plan = work.write(lamp(**written)).plan(refresh=False)
        assert plan.changes[IT].actions == ["update"], name
        assert plan.changes[IT].changed == {name} | moved, name
        assert plan.changes[IT].replaces == []
        work.apply(plan.path.name)
    assert work.plan().is_empty
    back = work.write(lamp(pass_phrase_wo="long enough")).plan()
    assert back.changes[IT].changed == {name for name, _, _ in CHANGES} | {"pass_phrase_version"}
    work.apply(back.path.name)
    assert work.plan().is_empty and server.objects["gadget", "top/lamp"]["note"] is None
    assert server.created == 1


def test_replacing_is_refused_where_data_is_lost_and_planned_when_agreed(
    work: Workspace, server: Server, lamp: Text
) -> None:
    work.write(lamp()).apply()
    refused = work.write(lamp(material="gold")).run("plan", check=False)
    assert refused.code == 1
    assert "would be replaced and its data destroyed" in refused.text and "allow_replacement = true" in refused.text
    assert re.search(r'on main\.tf line \d+, in resource "spg99_gadget" "it"', refused.text)
    assert "material" in refused.text.split("on main.tf")[1][:120], "the line of the argument"
    plan = work.write(lamp(material="gold", allow_replacement=True)).plan()
    assert plan.changes[IT].actions == ["delete", "create"]
    assert plan.changes[IT].replaces == [["material"]]
    first = work.values(IT)["gadget_id"]
    work.apply(plan.path.name)
    assert work.values(IT)["gadget_id"] != first
    assert work.plan().is_empty


def test_a_protected_object_is_refused_in_the_plan_of_its_end(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp(deletion_protection=True)).apply()
    refused = work.run("plan", "-destroy", check=False)
    assert refused.code == 1 and "is protected from deletion" in refused.text
    also = work.write(lamp(deletion_protection=True, material="gold", allow_replacement=True)).run("plan", check=False)
    assert also.code == 1 and "is protected from deletion" in also.text
    assert server.count("DELETE", "") == 0
    work.write(lamp(deletion_protection=False)).apply()
    work.destroy()
    assert not server.objects


@pytest.mark.slow  # again
def test_drift_of_each_field_is_seen_and_taken_back(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp()).apply()
    for name, value in (
        ("amount", 50),
        ("ratio", 2.5),
        ("is_on", True),
        ("color", "blue"),
        ("tags", ["foreign"]),
        ("labels", {"foreign": "x"}),
        ("limits", {"max_items": 1, "color": "red"}),
        ("steps", [{"max_items": 1, "color": "red"}]),
        ("by_zone", {"z": {"max_items": 1, "color": "red"}}),
        ("note", "foreign"),
        ("big_number", 9),
        ("pin", "55555"),
    ):
        before = server.objects["gadget", "top/lamp"][name]
        server.change("gadget", "top/lamp", **{name: value})
        plan = work.plan()
        assert plan.changes[IT].actions == ["update"], name
        assert plan.changes[IT].changed == {name}
        server.change("gadget", "top/lamp", **{name: before})
    server.change("gadget", "top/lamp", amount=50, note="foreign", tags=["foreign"])
    work.apply()
    assert server.objects["gadget", "top/lamp"]["note"] is None
    server.change("gadget", "top/lamp", uses=99)
    assert work.plan().is_empty, "what moves by itself is no drift"


def test_a_time_in_another_form_is_no_change(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp(until="2030-01-01T00:00:00Z", note="n")).apply()
    server.change("gadget", "top/lamp", until="2030-01-01T02:00:00+02:00")
    assert work.plan().is_empty
    assert work.write(lamp(until="2029-12-31T23:00:00-01:00", note="n")).plan().is_empty


@pytest.mark.slow  # again
def test_gone_outside_is_planned_again_and_a_destroy_of_it_succeeds(
    work: Workspace, server: Server, lamp: Text
) -> None:
    work.write(lamp()).apply()
    server.remove("gadget", "top/lamp")
    assert work.plan().changes[IT].actions == ["create"]
    work.apply()
    assert server.created == 2
    server.remove("gadget", "top/lamp")
    work.run("destroy", "-refresh=false", "-auto-approve")
    assert work.resources() == {}


@pytest.mark.slow  # again
def test_unknown_inputs_are_accepted_everywhere(work: Workspace, server: Server, lamp: Text) -> None:
    unknown = """
resource "terraform_data" "later" { input = { text = "later", number = 5, on = true, list = ["a"], when = "2030-01-01T00:00:00Z" } }
locals { known_later = terraform_data.later.output }
resource "spg99_gadget" "it" {
  shelf   = "top"
  name    = local.known_later.text
  amount  = local.known_later.number
  is_on   = local.known_later.on
  color   = "${local.known_later.text == "later" ? "blue" : "red"}"
  tags    = local.known_later.list
  labels  = { a = local.known_later.text }
  limits  = { max_items = local.known_later.number }
  steps   = [for each in local.known_later.list : { max_items = 1 }]
  until   = local.known_later.when
  note    = "note ${local.known_later.text}"
  pin     = local.known_later.text
  timeouts = { create = "${local.known_later.number}m" }
}
"""
    plan = work.write(unknown).plan()
    assert plan.changes[IT].unknown["name"] is True and plan.changes[IT].unknown["id"] is True
    work.apply()
    assert server.objects["gadget", "top/later"]["limits"] == {"max_items": 5, "color": "red"}
    assert work.plan().is_empty
    work.run("apply", "-auto-approve", "-replace=terraform_data.later")
    assert server.created == 1, "unknown in between, the same afterwards"


def test_what_is_wrong_is_told_at_once_on_its_line(work: Workspace, server: Server, lamp: Text) -> None:
    bad = lamp(
        name="UPPER",
        amount=5000,
        ratio=99,
        color="green",
        tags=["a"] * 6,
        limits={"max_items": 0},
        until="yesterday",
        pin="1",
        timeouts={"create": "soon"},
    )
    said = work.write(bad).validate(check=False)
    assert said.code == 1
    for name in ("name", "amount", "ratio", "color", "tags", "until", "pin"):
        assert f"Invalid value for {name}" in said.text, name
    assert "Invalid value for limits.max_items" in said.text and "timeouts.create" in said.text
    assert said.text.count("Error:") == 9
    rule = work.write(lamp(amount=500)).validate(check=False)
    assert "at most 100 for red gadgets" in rule.text
    assert server.requests == []


def test_a_deprecated_field_warns_with_its_replacement(work: Workspace, lamp: Text) -> None:
    said = work.write(lamp(old_mode="on")).validate()
    assert "Warning:" in said.text and "Use `is_on` instead" in said.text


def test_what_the_server_refuses_stands_on_its_field(work: Workspace, server: Server, lamp: Text) -> None:
    server.on("POST", "/gadgets$", fields={"amount": "is unlucky", "limits.max_items": "is too few"})
    said = work.write(lamp(amount=13, limits={"max_items": 1})).apply(check=False)
    assert said.code == 1
    assert "Is unlucky" in said.text and "limits.max_items" in said.text and "Request id: req_" in said.text
    assert "Creating gadget 'top/lamp' failed" in said.text
    assert work.resources() == {}


def test_a_failed_update_keeps_what_was_before(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp()).apply()
    server.on("PATCH", "", fields={"note": "not today"})
    said = work.write(lamp(note="new")).apply(check=False)
    assert said.code == 1 and "Not today" in said.text
    assert work.values(IT)["note"] is None
    assert work.plan().changes[IT].actions == ["update"]
    assert "tainted" not in work.resources()[IT]


def test_a_create_that_ends_half_way_is_kept_with_its_id(work: Workspace, server: Server, lamp: Text) -> None:
    server.settle_seconds = -1
    said = work.write(lamp(timeouts={"create": "1s"})).apply(check=False)
    assert said.code == 1 and "is still creating" in said.text and "`timeouts` in the resource" in said.text
    assert "terraform untaint" in said.text
    kept = work.resources()[IT]
    assert kept["values"]["gadget_id"] == "gadget_000001" and kept["tainted"]
    server.settle()
    work.run("untaint", IT)
    assert work.plan().is_empty
    assert server.created == 1


@pytest.mark.long
def test_an_object_that_failed_is_kept_and_says_why(work: Workspace, server: Server, lamp: Text) -> None:
    server.fail_reason = "the workshop burned down"
    said = work.write(lamp(timeouts={"create": "20s"})).run("apply", "-auto-approve", check=False, seconds=60)
    assert said.code == 1 and "the workshop burned down" in said.text
    assert work.resources()[IT]["values"]["state_reason"] == "the workshop burned down"


@pytest.mark.slow  # again
def test_a_lost_answer_makes_one_object(work: Workspace, server: Server, lamp: Text) -> None:
    server.on("POST", "/gadgets$", drop="after")
    work.write(lamp()).apply()
    assert server.created == 1
    server.on("PATCH", "", drop="after")
    work.write(lamp(note="n")).apply()
    server.on("DELETE", "", drop="after")
    work.destroy()
    assert not server.objects


def test_a_name_that_is_taken_says_how_to_import(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp()).apply()
    work.forget(IT)
    said = work.apply(check=False)
    assert (
        said.code == 1
        and "exists already" in said.text
        and "terraform import spg99_gadget.<name> top/lamp" in said.text
    )
    assert work.resources() == {}


@pytest.mark.slow  # again
def test_busy_and_away_servers_are_asked_again(work: Workspace, server: Server, lamp: Text) -> None:
    server.on("POST", "", status=429, retry_after=0.1)
    server.on("POST", "", status=503)
    work.write(lamp()).apply()
    server.on("GET", "gadgets", status=503, times=2)
    assert work.plan().is_empty
    assert server.created == 1


@pytest.mark.slow  # again
def test_many_objects_at_once_and_one_after_the_other(work: Workspace, server: Server) -> None:
    work.write('resource "spg99_gadget" "it" {\n  count = 40\n  shelf = "top"\n  name = "lamp-${count.index}"\n}\n')
    server.settle_seconds = 0.2
    work.apply("-parallelism=40")
    assert len(server.objects) == 40
    assert work.plan("-parallelism=1").is_empty
    work.destroy("-parallelism=100")
    assert not server.objects


def test_moved_blocks_target_and_ignore_changes_work(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp()).apply()
    moved = "moved {\n  from = spg99_gadget.it\n  to = spg99_gadget.other\n}\n"
    assert work.write(lamp("other") + moved).plan().changes["spg99_gadget.other"].actions == ["no-op"]
    work.apply()
    ignoring = "  lifecycle {\n    ignore_changes = [note]\n    prevent_destroy = true\n  }\n"
    assert work.write(lamp("other", note="x", extra=ignoring)).plan().is_empty
    assert "prevent_destroy" in work.run("plan", "-destroy", check=False).text
    two = lamp("other") + lamp("second", name="torch")
    work.write(two).apply("-target=spg99_gadget.second")
    assert server.created == 2
    assert work.plan().is_empty


def test_secrets_are_marked_and_stay_out_of_what_is_shown(work: Workspace, server: Server, lamp: Text) -> None:
    text = lamp(pin="my-own-pin", pass_phrase_wo="write only phrase", pass_phrase_wo_version=1)
    shown = work.write(text).apply().text + work.plan().text + work.run("show").text
    for secret in (SECRET, "my-own-pin", "write only phrase"):
        assert secret not in shown
    assert "write only phrase" not in work.raw_state()
    assert server.objects["gadget", "top/lamp"]["pass_phrase"] == "write only phrase"
    logged = work.run("plan", env={"TF_LOG": "trace", "TF_LOG_CORE": "off"})
    assert SECRET not in logged.text and "write only phrase" not in logged.text


def test_another_version_sends_the_write_only_value_again(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp(pass_phrase_wo="first phrase", pass_phrase_wo_version=1)).apply()
    assert work.write(lamp(pass_phrase_wo="second phrase", pass_phrase_wo_version=1)).plan().is_empty
    work.write(lamp(pass_phrase_wo="second phrase", pass_phrase_wo_version=2)).apply()
    assert server.objects["gadget", "top/lamp"]["pass_phrase"] == "second phrase"
    assert work.values(IT)["pass_phrase_version"] == 2


def test_secrets_of_the_system_stay_out_of_the_state_where_that_is_wished(
    work: Workspace, server: Server, lamp: Text
) -> None:
    work.write(lamp()).apply()
    assert SECRET in work.raw_state()
    provider = work.folder / "provider.tf"
    provider.write_text(provider.read_text().replace("}\n", "  secrets_in_state = false\n}\n"))
    work.apply()
    (work.folder / "terraform.tfstate.backup").unlink()
    assert SECRET not in work.raw_state()
    assert work.plan().is_empty and work.plan(refresh=False).is_empty
    said = work.write(lamp() + lamp("second", name="torch")).apply()
    assert "Warning: recovery_code was told once and is not kept" in said.text and "Warning: token" not in said.text


@pytest.mark.parametrize("how", others_slow(["command", "block"]))
def test_an_import_gives_an_empty_plan(work: Workspace, server: Server, lamp: Text, how: str) -> None:
    work.write(lamp(**FULL)).apply()
    before, uid = work.values(IT), work.values(IT)["gadget_id"]
    work.forget(IT)
    if how == "block":
        work.write(lamp(**FULL) + 'import {\n  to = spg99_gadget.it\n  id = "top/lamp"\n}\n')
        plan = work.plan()
        assert plan.changes[IT].importing == {"id": "top/lamp"} and plan.changes[IT].actions == ["no-op"]
        work.apply()
    else:
        work.import_(IT, "top/lamp")
    assert work.plan().is_empty
    after = work.values(IT)
    assert uid == after["gadget_id"]
    told_once = {"recovery_code"}
    assert {name for name in before if before[name] != after[name]} <= told_once | {"until"}


def test_a_generated_configuration_gives_an_empty_plan(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp(**{name: value for name, value in FULL.items() if name != "pin"})).apply()
    work.forget(IT)
    work.write('import {\n  to = spg99_gadget.it\n  id = "top/lamp"\n}\n')
    work.run("plan", "-generate-config-out=generated.tf")
    assert work.plan().changes[IT].actions == ["no-op"]


def test_wrong_import_ids_are_explained(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp())
    assert "Cannot import non-existent remote object" in work.import_(IT, "top/lamp", check=False).text
    malformed = work.import_(IT, "lamp", check=False).text
    assert "has the form <shelf>/<name>" in malformed and "gadget_id" in malformed


def test_no_configuration_is_one_clear_error_and_only_when_it_is_needed(
    work: Workspace, server: Server, lamp: Text
) -> None:
    (work.folder / "provider.tf").write_text('provider "spg99" {\n  url = ""\n}\n')
    work.write(lamp()).validate()
    said = work.run("plan", check=False)
    assert said.code == 1 and said.text.count("Error:") == 1
    for way in ("`url`", "`api_key`", "SPG99_CP_URL", "SPG99_API_KEY", "provider block", "spg99 env"):
        assert way in said.text, way


def test_a_key_that_the_server_refuses_is_told_without_the_key(work: Workspace, server: Server, lamp: Text) -> None:
    (work.folder / "provider.tf").write_text(
        f'provider "spg99" {{\n  url = "{server.url}"\n  api_key = "spg99_key_wrong"\n}}\n'
    )
    said = work.write(lamp()).apply(check=False)
    assert said.code == 1 and "The API key is wrong" in said.text and "spg99_key_wrong" not in said.text


def test_a_configuration_that_is_known_only_later_hinders_no_plan(work: Workspace, server: Server, lamp: Text) -> None:
    (work.folder / "provider.tf").write_text(
        f'resource "terraform_data" "url" {{ input = "{server.url}" }}\n'
        'provider "spg99" {\n  url = terraform_data.url.output\n  api_key = "spg99_key_proof_topsecret"\n}\n'
    )
    assert work.write(lamp()).plan().changes[IT].actions == ["create"]
    work.apply()
    assert server.created == 1


def test_http_is_refused_beyond_this_machine(work: Workspace, lamp: Text) -> None:
    (work.folder / "provider.tf").write_text(
        'provider "spg99" {\n  url = "http://example.com/v2"\n  api_key = "k"\n}\n'
    )
    said = work.write(lamp()).run("plan", check=False)
    assert said.code == 1 and "Use https://" in said.text


def test_each_request_names_terraform_and_this_provider(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp()).apply()
    agent = server.requests[0].headers["user-agent"]
    assert re.fullmatch(r"Terraform/\S+ \(\+https://www\.terraform\.io\) terraform-provider-spg99/\S+", agent), agent


def test_a_value_that_is_known_late_and_would_replace_data_is_refused_in_the_apply(
    work: Workspace, server: Server, lamp: Text
) -> None:
    late = 'resource "terraform_data" "late" {{ input = "{}" }}\n'
    text = lamp().replace('"lamp"', "terraform_data.late.output")
    work.write(late.format("lamp") + text).apply()
    assert work.write(late.format("lamp") + text).plan().is_empty
    work.write(late.format("torch") + text)
    assert work.plan().changes[IT].actions == ["update"], "nobody knows yet whether it is another name"
    said = work.apply(check=False)
    assert said.code == 1 and "would be replaced and its data destroyed" in said.text
    assert list(server.objects) == [("gadget", "top/lamp")]


def test_the_new_one_may_be_made_first(work: Workspace, server: Server, lamp: Text) -> None:
    first = "  lifecycle {\n    create_before_destroy = true\n  }\n"
    work.write(lamp(extra=first)).apply()
    plan = work.write(lamp(name="torch", allow_replacement=True, extra=first)).plan()
    assert plan.changes[IT].actions == ["create", "delete"]
    work.apply(plan.path.name)
    assert list(server.objects) == [("gadget", "top/torch")] and work.plan().is_empty


@pytest.mark.parametrize("refresh", others_slow(["true", "false"]))
@pytest.mark.parametrize("agreed", others_slow([False, True]))
def test_an_order_to_replace_with_the_new_one_first_keeps_it(
    work: Workspace, server: Server, lamp: Text, agreed: bool, refresh: str
) -> None:
    """`-replace` and create_before_destroy: the name is taken by the very object, which no create may answer as new."""
    first = "  lifecycle {\n    create_before_destroy = true\n  }\n"
    work.write(lamp(allow_replacement=agreed, extra=first)).apply()
    was = work.values(IT)["gadget_id"]
    said = work.run(
        "apply", "-auto-approve", "-no-color", f"-refresh={refresh}", f"-replace={IT}", "-input=false", check=False
    )
    assert said.code == 1 and "top/lamp" in said.text and "exists" in said.text
    assert work.values(IT)["gadget_id"] == was and list(server.objects) == [("gadget", "top/lamp")]
    assert work.plan().is_empty and server.count("DELETE", "") == 0


def test_a_refresh_alone_shows_drift_and_changes_nothing(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp()).apply()
    server.change("gadget", "top/lamp", note="foreign")
    plan = work.plan("-refresh-only")
    assert plan.drift[IT]["after"]["note"] == "foreign" and plan.drift[IT]["before"]["note"] is None
    work.refresh()
    assert work.values(IT)["note"] == "foreign" and server.count("PATCH", "") == 0
    assert work.plan().changes[IT].changed == {"note"}


def test_create_and_delete_wait_until_it_is_done(work: Workspace, server: Server, lamp: Text) -> None:
    server.settle_seconds = server.delete_seconds = 1.0
    work.write(lamp()).apply()
    assert work.values(IT)["state"] == "ready"
    work.destroy()
    assert not server.objects
    server.delete_seconds = 30
    work.write(lamp(timeouts={"delete": "1s"})).apply()
    said = work.destroy(check=False)
    assert said.code == 1 and "is being deleted" in said.text and "`timeouts` in the resource" in said.text
    assert work.values(IT)["id"] == "top/lamp", "kept until it is gone"


def test_a_server_that_is_away_is_told_with_its_address_and_nothing_is_made(
    work: Workspace, server: Server, lamp: Text
) -> None:
    server.on("POST", "/gadgets$", status=500)
    said = work.write(lamp()).apply(check=False)
    assert said.code == 1 and "On order of the test" in said.text and "Traceback" not in said.text
    assert server.count("POST", "/gadgets$") == 1, "an internal error is not asked again"
    assert work.resources() == {}
