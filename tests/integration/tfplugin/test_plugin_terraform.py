"""The plugin server under the real CLI: the whole life of a resource, and everything that goes wrong on the way."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from integration.tfplugin.plugin_driver import Client, Workspace
from kit.waits import wait_for
from spg99.process_table import all_processes
from tfplugin.serving import Attached

Serve = Callable[..., tuple[Attached, Client]]

THING = """
resource "sample_thing" "a" {
  name     = "hello"
  size     = 0.1
  tags     = ["x", "y"]
  labels   = { k = "v" }
  settings = { cpu = 12345678901234567890123456789, fast = true }
  extra    = { list = [1, null], text = "é" }
}
resource "sample_thing" "b" {
  name        = "after-${sample_thing.a.id}"
  password_wo = "only-written"
}
"""


@pytest.fixture
def attach(serve: Serve, workspace: Workspace) -> Callable[..., Workspace]:
    """A workspace whose commands use the provider in this process: no starts, milliseconds a command."""

    def begin(breaks: str = "") -> Workspace:
        attached, _ = serve(breaks)
        workspace.environment |= attached.environment
        return workspace

    return begin


def plugins_of(workspace: Workspace) -> list[psutil.Process]:
    found = []
    for process in all_processes(["cmdline"]):
        try:
            if process.environ().get("SAMPLE_STORE") == str(workspace.store) and "sample_provider" in " ".join(
                process.info["cmdline"] or ()
            ):
                found.append(process)
        except psutil.Error:
            pass
    return found


def test_a_whole_life_with_real_starts(workspace: Workspace) -> None:
    workspace.write(
        THING,
        'output "loud" { value = provider::sample::shout("quiet") }',
        'output "size" { value = sample_thing.a.size }',
    )
    assert "2 to add" in workspace.run("plan")
    workspace.run("apply", "-auto-approve")
    assert sorted(each["name"][:5] for each in workspace.things().values()) == ["after", "hello"]
    assert "No changes" in workspace.run("plan", "-detailed-exitcode")
    said = json.loads(workspace.run("output", "-json"))
    assert said["loud"]["value"] == "QUIET" and said["size"]["value"] == 0.1
    state = (workspace.folder / "terraform.tfstate").read_text()
    assert '"cpu": 12345678901234567890123456789' in state and "only-written" not in state
    workspace.run("destroy", "-auto-approve")
    assert workspace.things() == {}
    assert not plugins_of(workspace)


def test_the_same_reattached_and_plans_stay_empty(attach: Callable[..., Workspace]) -> None:
    workspace = attach()
    workspace.write(THING)
    workspace.run("apply", "-auto-approve")
    assert "No changes" in workspace.run("plan", "-detailed-exitcode")
    assert "No changes" in workspace.run("plan", "-detailed-exitcode", "-refresh=false")
    workspace.write(THING.replace('"hello"', '"other"'))
    assert "must be replaced" in workspace.run("plan")
    (first,) = [each["attributes"]["id"] for each in workspace.objects() if each["attributes"]["name"] == "hello"]
    workspace.run("destroy", "-auto-approve")
    assert first not in workspace.things()


def test_installed_from_a_file_system_mirror(workspace: Workspace, tmp_path: Path) -> None:
    architecture = re.search(r"on (\w+_\w+)", workspace.run("version"))
    assert architecture is not None
    folder = tmp_path / "mirror" / "registry.terraform.io" / "tests" / "sample" / "1.2.3" / architecture[1]
    folder.mkdir(parents=True)
    shutil.copy(tmp_path / "plugins" / "terraform-provider-sample", folder / "terraform-provider-sample_v1.2.3")
    (tmp_path / "terraform.rc").write_text(
        f'provider_installation {{\n  filesystem_mirror {{ path = "{tmp_path / "mirror"}" }}\n}}\n'
    )
    workspace.write(THING)
    workspace.run("init")
    for command in ("validate", "plan"):
        workspace.run(command)
    # Nothing has been written into the package: its hash is still that of the lock file.
    workspace.run("init", "-lockfile=readonly")


def test_a_data_source_an_ephemeral_resource_and_an_import(attach: Callable[..., Workspace]) -> None:
    workspace = attach()
    workspace.store.write_text('{"42": {"name": "found"}}')
    workspace.write(
        'data "sample_thing" "d" { name = "x" }',
        'ephemeral "sample_token" "t" { length = 5 }',
        'import {\n  to = sample_thing.i\n  id = "42"\n}',
        'resource "sample_thing" "i" { name = "found" }',
        'output "d" { value = data.sample_thing.d.id }',
    )
    assert "1 imported" in workspace.run("apply", "-auto-approve")
    assert json.loads(workspace.run("output", "-json"))["d"]["value"] == "data-x"
    assert (workspace.store.parent / "closed").read_bytes() == b"open"
    assert "xxxxx" not in (workspace.folder / "terraform.tfstate").read_text()


def test_a_diagnostic_points_to_its_line(attach: Callable[..., Workspace]) -> None:
    workspace = attach()
    workspace.write(
        'resource "sample_thing" "a" {\n  name = "forbidden"\n}', 'output "f" { value = provider::sample::shout("") }'
    )
    said = workspace.run("plan", status=1)
    assert "Wrong name" in said and 'name = "forbidden"' in said
    assert "there is nothing to shout" in said


@pytest.mark.parametrize("rpc", ["ValidateResourceConfig", "PlanResourceChange"])
def test_a_provider_that_raises_is_an_error_with_a_place(attach: Callable[..., Workspace], rpc: str) -> None:
    workspace = attach(f"raise:{rpc}")
    workspace.write('resource "sample_thing" "a" { name = "x" }')
    said = workspace.run("plan", status=1)
    assert f"The provider failed in {rpc}" in said and "RuntimeError at" in said
    assert "secret-in-an-exception" not in said and "did not respond" not in said


@pytest.mark.parametrize("breaks", ["raise:ApplyResourceChange", "exit"])
def test_a_create_that_raises_half_way_stays_in_the_state_tainted(
    attach: Callable[..., Workspace], breaks: str
) -> None:
    workspace = attach(breaks)
    workspace.write('resource "sample_thing" "a" { name = "x" }')
    said = workspace.run("apply", "-auto-approve", status=1)
    assert "The provider failed in ApplyResourceChange" in " ".join(said.split())
    ((there,), (known,)) = (workspace.things(), workspace.objects())
    assert known["attributes"]["id"] == there and known["status"] == "tainted"


def test_a_provider_that_cannot_be_loaded_says_why(workspace: Workspace) -> None:
    workspace.write('resource "sample_thing" "a" { name = "x" }')
    said = " ".join(workspace.run("plan", status=1, SAMPLE_BREAK="load").replace("│", " ").split())
    assert "Provider failed to start" in said and "No module named 'a_module_that_is_not_installed'" in said
    assert "install the provider again" in said and "Failed to read any lines" not in said


def test_what_the_provider_prints_is_no_handshake(workspace: Workspace) -> None:
    workspace.write('resource "sample_thing" "a" { name = "x" }')
    assert "hello from a library" in workspace.run("plan", SAMPLE_BREAK="print", TF_LOG="DEBUG", PYTHONUNBUFFERED="")


def test_a_value_of_six_megabytes(attach: Callable[..., Workspace]) -> None:
    workspace = attach()
    (workspace.folder / "big.txt").write_text("0123456789abcdef" * (6 << 16))
    workspace.write('resource "sample_thing" "a" {\n  name = "x"\n  extra = file("${path.module}/big.txt")\n}')
    workspace.run("apply", "-auto-approve")
    assert "No changes" in workspace.run("plan", "-detailed-exitcode")
    assert len(workspace.objects()[0]["attributes"]["extra"]["value"]) == 6 << 20


def test_sixty_at_a_time(attach: Callable[..., Workspace]) -> None:
    workspace = attach()
    workspace.write('resource "sample_thing" "a" {\n  count = 120\n  name = "n${count.index}"\n  seconds = 0.1\n}')
    workspace.run("apply", "-auto-approve", "-parallelism=60")
    assert len(workspace.things()) == len(workspace.objects()) == 120
    workspace.run("destroy", "-auto-approve", "-parallelism=60")
    assert workspace.things() == {}


def test_ctrl_c_with_every_worker_busy_keeps_every_object(workspace: Workspace) -> None:
    """The signal reaches the plugin too, as in a terminal; what was under way is in the state, tainted, and no more is begun."""
    workspace.write('resource "sample_thing" "a" {\n  count = 80\n  name = "n${count.index}"\n  seconds = 100\n}')
    terraform = workspace.start("apply", "-auto-approve", "-parallelism=60")
    try:
        wait_for(
            "60 things",
            lambda: workspace.store.exists() and workspace.store.read_text().count('"name"') >= 60,
            seconds=60,
        )
        os.killpg(terraform.pid, signal.SIGINT)
        said, _ = terraform.communicate(timeout=20)
    finally:
        if terraform.poll() is None:
            os.killpg(terraform.pid, signal.SIGKILL)
    assert terraform.returncode == 1 and "Interrupted" in said and "did not respond" not in said
    known = workspace.objects()
    assert {each["attributes"]["id"] for each in known} == set(workspace.things())
    assert len(known) >= 60 and all(each["status"] == "tainted" for each in known)
    wait_for("the plugins to end", lambda: not plugins_of(workspace))


def test_a_killed_terraform_leaves_no_plugin_behind(workspace: Workspace) -> None:
    workspace.write('resource "sample_thing" "a" {\n  name = "x"\n  seconds = 100\n}')
    terraform = workspace.start("apply", "-auto-approve")
    try:
        wait_for("a thing", lambda: workspace.things())
        assert plugins_of(workspace)
    finally:
        os.kill(terraform.pid, signal.SIGKILL)
        terraform.communicate()
    wait_for("the plugins to end", lambda: not plugins_of(workspace))


def test_its_log_lines_have_levels(workspace: Workspace) -> None:
    workspace.write('resource "sample_thing" "a" { name = "x" }')
    said = workspace.run("plan", status=1, SAMPLE_BREAK="raise:PlanResourceChange", TF_LOG="ERROR")
    assert re.search(r"\[ERROR\] provider\.terraform-provider-sample.*PlanResourceChange failed", said)
    assert "secret-in-an-exception" not in said
