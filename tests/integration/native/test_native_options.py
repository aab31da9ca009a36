"""Options of Pulumi's on resources of the native plugin, and options of a run: what the Control Plane is asked for because of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime.proto import provider_pb2 as pb

from integration.native.native_project import Project, changes
from integration.native.plugin_driver import Plugin, secret, struct, values, write_proof_plugin
from proof import server as proof_server
from proof.gadget import MOUNTED, PACKAGE
from proof.server import API_KEY, Server
from spg99.engine.operations import run_destroy, run_preview, run_up

DSN = "postgresql://app:p%40ss@db.example.com:6432/orders?sslmode=verify-full"


def writes(server: Server) -> list[str]:
    """Creates, changes and deletions since the last look, as `METHOD name`, each once."""
    seen = [
        f"{each.method} {each.body['name'] if each.method == 'POST' else each.path.rsplit('/', 1)[1]}"
        for each in server.requests
        if each.method in ("POST", "PATCH", "DELETE")
    ]
    server.requests.clear()
    return list(dict.fromkeys(seen))


def test_a_change_that_the_program_wants_a_replacement_for(project: Project, server: Server) -> None:
    text = """
        Gadget("watched", shelf="top", name="watched", note={!r}, allowReplacement={}, opts=Opts(replace_on_changes=["note"], replacement_trigger={!r}))
        Gadget("plain", shelf="top", name="plain", note={!r})
    """
    project.run(run_up, text.format("one", True, "a", "one"))
    first = server.objects["gadget", "top/watched"]["gadget_id"]
    writes(server)
    assert changes(project.run(run_up, text.format("two", True, "a", "two"))) == {"replace": 1, "update": 1}
    assert sorted(writes(server)) == ["DELETE watched", "PATCH plain", "POST watched"]
    second = server.objects["gadget", "top/watched"]
    assert (second["note"], second["gadget_id"] != first) == ("two", True), (
        "the name is taken, so the old one goes first"
    )
    assert changes(project.run(run_up, text.format("two", True, "b", "two"))) == {"replace": 1}
    assert writes(server) == ["DELETE watched", "POST watched"]
    third = server.objects["gadget", "top/watched"]["gadget_id"]
    assert server.created == 4
    [failure] = project.run(run_up, text.format("two", False, "c", "two"), ok=False).failures
    assert "its data would be destroyed" in failure.message and "allowReplacement" in failure.message
    assert server.objects["gadget", "top/watched"]["gadget_id"] == third and writes(server) == []


def test_the_order_of_a_replacement_and_of_what_needs_it(project: Project, server: Server) -> None:
    text = """
        for name, first in (("a", None), ("b", True)):
            base = Gadget(f"{{name}}-base", shelf=name, material="{}", allowReplacement=True, opts=Opts(delete_before_replace=first))
            Gadget(f"{{name}}-needs", shelf=name, material=base.gadgetId, allowReplacement=True)
    """
    project.run(run_up, text.format("steel"))
    writes(server)
    assert changes(project.run(run_up, text.format("brass"))) == {"replace": 4}
    steps: dict[str, list[str]] = {"a": [], "b": []}
    for step in writes(server):
        method, name = step.split()
        steps[name[0]].append(f"{method} {name.rsplit('-', 1)[0]}")
    assert steps["a"] == ["POST a-base", "POST a-needs", "DELETE a-needs", "DELETE a-base"]
    assert steps["b"] == ["DELETE b-base", "POST b-base", "POST b-needs", "DELETE b-needs"]
    assert len(server.objects) == 4


@pytest.mark.slow  # again
def test_what_goes_with_a_replaced_one_is_made_again_under_its_name(project: Project, server: Server) -> None:
    text = """
        shell = Gadget("shell", shelf="top", material={!r}, allowReplacement=True)
        Gadget("inside", shelf="top", name="inside", allowReplacement=True, opts=Opts(deleted_with=shell))
    """
    project.run(run_up, text.format("steel"))
    before = server.objects["gadget", "top/inside"]["gadget_id"]
    assert changes(project.run(run_up, text.format("brass"))) == {"replace": 2}
    assert server.objects["gadget", "top/inside"]["gadget_id"] not in (None, before) and len(server.objects) == 2
    assert project.resource("inside")["outputs"]["gadgetId"] == server.objects["gadget", "top/inside"]["gadget_id"]


@pytest.mark.slow  # again
def test_protect_retain_and_deleted_with(project: Project, server: Server) -> None:
    text = """
        Gadget("kept", shelf="top", name="kept", material={!r}, allowReplacement=True, opts=Opts(protect={}))
        Gadget("forever", shelf="top", name="forever", opts=Opts(retain_on_delete=True))
        shell = Gadget("shell", shelf="top", name="shell")
        Gadget("inside", shelf="top", name="inside", opts=Opts(deleted_with=shell))
    """
    project.run(run_up, text.format("steel", True))
    writes(server)
    [failure] = project.run(run_preview, text.format("brass", True), ok=False).failures
    assert "because of material" in failure.message and "protected" in failure.message
    [failure] = project.run(run_destroy, ok=False).failures
    assert failure.urn.endswith("::kept") and "protected" in failure.message and writes(server) == []
    assert changes(project.run(run_up, text.format("steel", False))) == {}
    assert changes(project.run(run_destroy)) == {"delete": 5}
    assert sorted(writes(server)) == ["DELETE kept", "DELETE shell"]
    assert set(server.objects) == {("gadget", "top/forever"), ("gadget", "top/inside")}


def test_secret_outputs_and_children_of_components(project: Project, server: Server) -> None:
    text = """
        def labelled(args):
            if args.type_ == "spg99:index:Gadget":
                return pulumi.ResourceTransformationResult({**args.props, "labels": {"team": "blue"}}, args.opts)

        class Rack(pulumi.ComponentResource):
            def __init__(self, name, opts=None):
                super().__init__("my:index:Rack", name, {}, opts)
                lamp = Gadget(f"{name}-lamp", shelf="rack", name="lamp", opts=Opts(parent=self))
                below = Gadget(f"{name}-below", shelf="rack", name="below", opts=Opts(parent=lamp))
                self.register_outputs({"id": below.gadgetId})

        Rack("rack", Opts(transformations=[labelled]))
        sealed = Gadget("sealed", shelf="top", name="sealed", opts=Opts(additional_secret_outputs=["gadgetId"]))
        pulumi.export("sealed", sealed.gadgetId)
    """
    project.run(run_up, text)
    assert server.objects["gadget", "top/sealed"]["gadget_id"] not in project.state_text
    assert "ciphertext" in project.resource("sealed")["outputs"]["gadgetId"]
    lamp, below = project.resource("rack-lamp"), project.resource("rack-below")
    assert lamp["parent"].endswith("::rack") and below["parent"] == lamp["urn"]
    assert below["urn"].split("::")[2] == "my:index:Rack$spg99:index:Gadget$spg99:index:Gadget"
    labels = {human_id: item["labels"] for (_, human_id), item in server.objects.items()}
    assert labels == {"rack/lamp": {"team": "blue"}, "rack/below": {"team": "blue"}, "top/sealed": {}}
    assert changes(project.run(run_up)) == {}


@pytest.mark.slow  # again
def test_time_limits_of_update_and_delete(project: Project, server: Server) -> None:
    text = """
        limits = pulumi.CustomTimeouts(update="0.3s", delete="0.3s")
        Gadget("slow", shelf="top", name="slow", amount={}, opts=Opts(custom_timeouts=limits))
    """
    project.run(run_up, text.format(1))
    server.change("gadget", "top/slow", state="creating")  # its change does not come to an end
    [failure] = project.run(run_up, text.format(2), ok=False).failures
    assert "'top/slow' was changed" in failure.message and "time limit (option customTimeouts)" in failure.message
    assert server.objects["gadget", "top/slow"]["amount"] == 2 and project.resource("slow")["initErrors"]
    server.delete_seconds = 3600
    [failure] = project.run(run_destroy, ok=False).failures
    assert "'top/slow' is being deleted" in failure.message and "time limit (option customTimeouts)" in failure.message


@pytest.mark.slow  # again
def test_several_providers_side_by_side(project: Project, server: Server) -> None:
    with proof_server.running(PACKAGE, also=MOUNTED) as other:
        text = f"""
            eu = Provider("eu", url={other.url!r}, apiKey={API_KEY!r})
            us = Provider("us", url={server.url!r}, apiKey={API_KEY!r})

            class Rack(pulumi.ComponentResource):
                def __init__(self, name, opts):
                    super().__init__("my:index:Rack", name, {{}}, opts)
                    Gadget(f"{{name}}-lamp", shelf=name, name="lamp", opts=Opts(parent=self))

            Rack("europe", Opts(providers=[eu]))
            Rack("america", Opts(providers={{"spg99": us}}))
            Gadget("home", shelf="home", name="lamp")
        """
        assert changes(project.run(run_up, text)) == {"create": 8}
        assert set(other.objects) == {("gadget", "europe/lamp")}
        assert set(server.objects) == {("gadget", "america/lamp"), ("gadget", "home/lamp")}
        project.run(run_destroy)
        assert not other.objects and not server.objects


@pytest.mark.slow  # again
def test_what_is_refused_for_now_is_asked_again(project: Project, server: Server) -> None:
    text = 'Gadget("lamp", shelf="top", name="lamp", amount={})'
    server.on("POST", "", status=503, times=2)
    server.on("POST", "", status=429, retry_after=0.1)
    project.run(run_up, text.format(1))
    assert server.created == 1 and server.count("POST", "") == 4
    server.on("GET", "/gadgets/", status=503)
    server.on("PATCH", "", status=429, retry_after=0.1)
    assert changes(project.run(run_up, text.format(2))) == {"update": 1}
    server.on("DELETE", "", status=503)
    project.run(run_destroy)
    assert not server.objects


@pytest.mark.slow  # again
def test_targets(project: Project, server: Server) -> None:
    text = 'for name in ("one", "two", "three"):\n    Gadget(name, shelf="top", name=name, amount={})\n'
    project.run(run_up, text.format(1))
    writes(server)
    assert changes(project.run(run_up, text.format(2), targets=["**::two"])) == {"update": 1}
    assert writes(server) == ["PATCH two"]
    assert changes(project.run(run_destroy, targets=["**::one"])) == {"delete": 1} and writes(server) == ["DELETE one"]


@pytest.fixture
def started(project: Project, server: Server, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A plugin that a person has started, in a debugger say, and that no engine has been told of but by its port."""
    plugin = [sys.executable, str(write_proof_plugin(tmp_path / "elsewhere"))]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SPG99_", "CP_", "PULUMI_"))}
    settings = {"SPG99_CP_URL": server.url, "SPG99_API_KEY": API_KEY}
    with subprocess.Popen(plugin, stdout=subprocess.PIPE, text=True, env=clean | settings, cwd=tmp_path) as process:
        assert process.stdout is not None
        project.environment["PULUMI_DEBUG_PROVIDERS"] = f"spg99:{process.stdout.readline().strip()}"
        yield process
        process.terminate()
        assert process.wait(10) == 0


def test_a_plugin_in_a_debugger_is_attached_to(
    project: Project, server: Server, started: subprocess.Popen[str], tmp_path: Path
) -> None:
    for installed in (tmp_path / "home/plugins").glob("*/pulumi-resource-spg99"):
        installed.unlink()
    project.run(
        run_up, 'Gadget("lamp", shelf="top", name="lamp")\nGadget("old", shelf="top", name="old", oldMode="x")\n'
    )
    assert any("is_on" in event.text or "isOn" in event.text for event in project.messages), "its log reaches the run"
    project.run(run_destroy)
    assert not server.objects
    assert started.poll() is None, "whoever started it ends it"


def test_functions_of_dsns(plugin: Plugin, server: Server) -> None:
    def invoke(function: str, **args: Any) -> Any:
        answer = plugin.stub.Invoke(pb.InvokeRequest(tok=f"spg99:index:{function}", args=struct(args)))
        assert not answer.failures, answer.failures
        return values(getattr(answer, "return"))

    parts = {name: value["value"] for name, value in invoke("parseDsn", dsn=secret(DSN)).items()}  # all of it is secret
    assert parts["password"] == "p@ss" and parts["parameters"] == {"sslmode": "verify-full"}
    known = {name: parts[name] for name in ("host", "port", "user", "database", "parameters")}
    built = invoke("buildDsn", **known, password=secret("p@ss"))
    assert built == {"result": secret(DSN)}
    assert invoke("redactDsn", dsn=DSN) == {"result": DSN.replace("p%40ss", "***")}
    answer = plugin.stub.Invoke(
        pb.InvokeRequest(tok="spg99:index:parseDsn", args=struct({"dsn": "mysql://a:topsecret@x"}))
    )
    assert [failure.property for failure in answer.failures] == ["dsn"] and "topsecret" not in str(answer)
    assert server.requests == [], "pure functions ask nobody"
