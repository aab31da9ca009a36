"""The dynamic provider with the proof noun: what it does for our nouns it does for any, secrets in inputs included."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.bridges.host_driver import UNKNOWN_TEXT, Failed, Host, Stored
from integration.bridges.host_driver import running as host_running
from proof.dynamic_provider import module_text
from proof.gadget import GADGET, MOUNTED, PACKAGE, Gadget
from proof.server import API_KEY, SECRET, Server, running
from spg99.engine.operations import run_destroy, run_preview, run_refresh, run_up

TESTS = Path(__file__).parents[2]
PHRASE = "correct horse battery"
DIFF_NONE, DIFF_SOME = 1, 2
WANTED: dict[str, Any] = {"shelf": "top", "name": "lamp"}


@pytest.fixture
def server() -> Iterator[Server]:
    with running(PACKAGE, also=MOUNTED) as server:
        yield server


@pytest.fixture
def host(server: Server, tmp_path: Path) -> Iterator[Host]:
    config = {"spg99:url": server.url, "spg99:apiKey": API_KEY}
    with host_running(tmp_path, config, PYTHONPATH=str(TESTS)) as host:
        yield host


def gadget(name: str = "lamp") -> Stored:
    return Stored(Gadget, name, module="proof.dynamic_provider")


def test_every_kind_of_field_goes_there_and_back(host: Host, server: Server) -> None:
    values = WANTED | {
        "amount": 7,
        "ratio": 0.25,
        "is_on": True,
        "color": "blue",
        "tags": ["a", "b"],
        "labels": {"is_on": "a user's key"},
        "limits": {"maxItems": 2},
        "steps": [{"maxItems": 1, "color": "blue"}],
        "by_zone": {"max_items": {"maxItems": 3}},
        "note": "why",
        "until": "2030-01-01T00:00:00Z",
        "material": "wood",
        "pin": "pin-hunter2",
        "pass_phrase": PHRASE,
    }
    res = host.create(gadget(), **values)
    there = server.objects["gadget", "top/lamp"]
    assert there["labels"] == {"is_on": "a user's key"} and there["by_zone"] == {"max_items": {"max_items": 3}}
    assert (there["amount"], there["material"], there["pass_phrase"]) == (7, "wood", PHRASE)
    assert type(there["amount"]) is int and there["ratio"] == 0.25
    news, failures = host.check(res, **values)
    assert failures == {} and host.diff(res, news).changes == DIFF_NONE
    assert host.refresh(res) and host.diff(res, news).changes == DIFF_NONE, (
        "a refresh keeps what the system never tells"
    )
    assert res.inputs["passPhrase"] == PHRASE and "passPhrase" not in res.outputs


def test_secrets_are_marked_among_inputs_and_outputs(host: Host) -> None:
    res = host.create(gadget(), **WANTED, pin="pin-hunter2", pass_phrase=PHRASE)
    for raw, names in ((res.raw_inputs, {"pin", "passPhrase"}), (res.raw_outputs, {"pin", "token", "recoveryCode"})):
        marked = {name for name, value in raw.items() if isinstance(value, dict) and "value" in value}
        assert marked == names
        plain = json.dumps({name: value for name, value in raw.items() if name not in names})
        assert SECRET not in plain and PHRASE not in plain and "pin-hunter2" not in plain


def test_another_write_only_secret_is_a_change_of_it_alone(host: Host, server: Server) -> None:
    res = host.create(gadget(), **WANTED, pass_phrase=PHRASE)
    news, _ = host.check(res, **WANTED, pass_phrase=PHRASE + "!")
    answer = host.diff(res, news)
    assert answer.changes == DIFF_SOME and not answer.replaces
    host.update(res, **WANTED, pass_phrase=PHRASE + "!")
    assert [seen.body for seen in server.requests if seen.method == "PATCH"] == [{"pass_phrase": PHRASE + "!"}]
    assert res.outputs["passPhraseVersion"] == 2
    assert host.check(res, **WANTED, pass_phrase=UNKNOWN_TEXT)[1] == {}


def test_a_protected_object_is_neither_replaced_nor_deleted(host: Host, server: Server) -> None:
    res = host.create(gadget(), **WANTED, deletion_protection=True)
    news, failures = host.check(res, **WANTED, deletion_protection=True, material="wood", allow_replacement=True)
    assert "'top/lamp' is protected: deletion_protection is on" in failures["material"]
    answer = host.diff(res, news)
    assert answer.changes and not answer.replaces, "a Diff that raised would fail a refresh too"
    with pytest.raises(Failed, match="'top/lamp' is protected: deletion_protection is on"):
        host.change(res, news)
    with pytest.raises(Failed, match="is protected"):
        host.delete(res)
    assert server.count("DELETE", "") == 0
    host.update(res, **WANTED)
    host.delete(res)
    assert server.objects == {}


def test_what_the_control_plane_refuses_stands_on_the_property(host: Host, server: Server) -> None:
    server.on("POST", "/gadgets$", fields={"by_zone.a.max_items": "is unlucky", "is_on": "is odd"})
    with pytest.raises(Failed) as caught:
        host.create(gadget(), **WANTED)
    assert "byZone.a.maxItems: is unlucky" in caught.value.message and "isOn: is odd" in caught.value.message
    assert "request id req_" in caught.value.message


def test_a_deprecated_field_in_use_is_a_warning_on_the_resource(host: Host) -> None:
    _, failures = host.check(gadget(), **WANTED, old_mode="lever")
    assert failures == {}
    for _ in range(200):
        if host.engine.lines:
            break
        host.check(gadget(), **WANTED)  # a call takes a moment: the line is on its way
    (line, *_) = host.engine.lines
    assert line.message == "oldMode is deprecated: Use `is_on` instead." and line.urn == gadget().urn
    assert not line.ephemeral and line.severity == 2


def test_drift_of_each_field_is_seen(host: Host, server: Server) -> None:
    values = WANTED | {"tags": ["a"], "limits": {"maxItems": 1}, "note": "why", "pin": "pin-hunter2", "by_zone": {}}
    res = host.create(gadget(), **values)
    news, _ = host.check(res, **values)
    drifted = {
        "amount": 9, "ratio": 0.75, "is_on": True, "color": "blue", "tags": ["b"], "labels": {"k": "v"},
        "limits": {"max_items": 2, "color": "red"}, "steps": [{"max_items": 1, "color": "red"}], "note": "other",
        "by_zone": {"z": {"max_items": 1, "color": "red"}}, "pin": "0815", "big_number": 5, "deletion_protection": True,
    }  # fmt: skip
    assert set(drifted) == {field.name for field in GADGET.inputs if not field.immutable and not field.deprecated} - {
        "pass_phrase",
        "until",
    }, "every field that may change in place"
    for name, value in drifted.items():
        before = server.objects["gadget", "top/lamp"][name]
        server.change("gadget", "top/lamp", **{name: value})
        assert host.refresh(res) and host.diff(res, news).changes == DIFF_SOME, name
        server.change("gadget", "top/lamp", **{name: before})
        assert host.refresh(res) and host.diff(res, news).changes == DIFF_NONE, name
    server.change("gadget", "top/lamp", uses=99, state="creating")
    assert host.refresh(res) and host.diff(res, news).changes == DIFF_NONE, "what moves by itself is no drift"


PROGRAM = """
import pulumi
from gadgets import Gadget, get_gadget, get_gadgets, get_workshop

lamp = Gadget("lamp", shelf="top", name="lamp", pin="pin-hunter2", pass_phrase={phrase!r}, limits={{"max_items": {most}}})
pulumi.export("code", lamp.recovery_code)
pulumi.export("limits", lamp.limits)
pulumi.export("motto", get_workshop().motto)
pulumi.export("names", lamp.id.apply(lambda _: [item.name for item in get_gadgets("top", name_prefix="la")]))
"""


def test_a_program_with_write_only_secrets_and_nothing_of_them_in_its_state(server: Server, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: proj\nruntime: python\n")
    (tmp_path / "gadgets.py").write_text(module_text())
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SPG99_", "CP_", "PULUMI_"))}
    configured = {"SPG99_CP_URL": server.url, "SPG99_API_KEY": API_KEY, "PULUMI_CONFIG_PASSPHRASE": "x"}
    env = clean | configured | {"PYTHONPATH": str(TESTS)}

    def run(operation: Any, phrase: str = PHRASE, most: int = 1) -> Any:
        (tmp_path / "__main__.py").write_text(PROGRAM.format(phrase=phrase, most=most))
        backend = f"file://{tmp_path}/state"
        result = operation(tmp_path, "dev", backend_url=backend, env=env, create_stack=True)
        assert result.ok, result.failures
        return {kind: count for kind, count in result.changes.items() if kind != "same" and count}

    run(run_up)
    state = (tmp_path / "state/.pulumi/stacks/proj/dev.json").read_text()
    for secret in (PHRASE, "pin-hunter2", SECRET, API_KEY):
        assert secret not in state
    assert server.objects["gadget", "top/lamp"]["pass_phrase"] == PHRASE
    assert run(run_refresh) == {} and run(run_preview) == {}
    assert run(run_up, phrase=PHRASE + "!", most=2) == {"update": 1}
    assert [seen.body for seen in server.requests if seen.method == "PATCH"] == [
        {"limits": {"max_items": 2}, "pass_phrase": PHRASE + "!"}
    ]
    run(run_destroy, phrase=PHRASE + "!")
    assert server.objects == {}
