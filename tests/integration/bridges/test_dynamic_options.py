"""Options of Pulumi's on resources of the dynamic provider: what the Control Plane is asked for because of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.native.native_project import Project, changes
from proof import dynamic_provider
from proof import server as proof_server
from proof.gadget import MOUNTED, PACKAGE
from proof.server import Server
from spg99.engine.operations import run_destroy, run_preview, run_up


@pytest.fixture
def server() -> Iterator[Server]:
    with proof_server.running(PACKAGE, also=MOUNTED) as server:
        yield server


@pytest.fixture
def project(server: Server, tmp_path: Path) -> Project:
    (tmp_path / "Pulumi.yaml").write_text("name: proj\nruntime: python\n")
    (tmp_path / "gadgets.py").write_text(dynamic_provider.module_text())
    return Project(
        tmp_path, server.url, head="import pulumi\nfrom pulumi import ResourceOptions as Opts\nfrom gadgets import *\n"
    )


def test_a_trigger_replaces_what_keeps_its_name(project: Project, server: Server) -> None:
    # `replace_on_changes` has no effect on any dynamic provider: Pulumi's host does not tell the engine which properties change.
    text = """
        Gadget("watched", shelf="top", name="watched", allow_replacement={}, opts=Opts(replacement_trigger={!r}))
    """
    project.run(run_up, text.format(False, "a"))
    before = server.objects["gadget", "top/watched"]["gadget_id"]
    [failure] = project.run(run_up, text.format(False, "b"), ok=False).failures
    assert "its data would be destroyed" in failure.message and "allow_replacement" in failure.message
    assert server.objects["gadget", "top/watched"]["gadget_id"] == before
    assert changes(project.run(run_up, text.format(True, "b"))) == {"replace": 1}
    assert server.objects["gadget", "top/watched"]["gadget_id"] != before, (
        "the name is taken, so the old one goes first"
    )


def test_options_of_one_life(project: Project, server: Server) -> None:
    text = """
        limits = pulumi.CustomTimeouts(update="0.3s", delete="0.3s")
        Gadget("kept", shelf="top", name="kept", material={!r}, amount={}, allow_replacement=True, opts=Opts(protect={}, custom_timeouts=limits))
        Gadget("forever", shelf="top", name="forever", opts=Opts(retain_on_delete=True))
        rack = pulumi.ComponentResource("my:index:Rack", "rack")
        shell = Gadget("shell", shelf="top", name="shell", opts=Opts(parent=rack, additional_secret_outputs=["gadget_id", "gadgetId"]))
        Gadget("inside", shelf="top", name="inside", opts=Opts(deleted_with=shell))
    """
    server.on("POST", "", status=503, times=2)
    server.on("POST", "", status=429, retry_after=0.1)
    project.run(run_up, text.format("steel", 1, True))
    assert server.created == 4 and project.resource("shell")["parent"].endswith("::rack")
    assert server.objects["gadget", "top/shell"]["gadget_id"] not in project.state_text
    [failure] = project.run(run_preview, text.format("brass", 1, True), ok=False).failures
    assert "because of material" in failure.message and "protected" in failure.message
    [failure] = project.run(run_destroy, ok=False).failures
    assert failure.urn.endswith("::kept") and len(server.objects) == 4
    server.change("gadget", "top/kept", state="creating")  # its change does not come to an end
    [failure] = project.run(run_up, text.format("steel", 2, False), ok=False).failures
    assert "'top/kept' was changed" in failure.message and "time limit" in failure.message
    server.settle()
    assert changes(project.run(run_up)) == {"update": 1}
    assert changes(project.run(run_destroy)) == {"delete": 6}
    assert set(server.objects) == {("gadget", "top/forever"), ("gadget", "top/inside")}
