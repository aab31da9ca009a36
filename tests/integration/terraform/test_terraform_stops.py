"""Ctrl-C, kill -9 and dead processes: whatever was made is in the state, or found again by the next run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kit.platform import wait_for
from proof.gadget import MOUNTED, PACKAGE
from proof.server import API_KEY, Server, running
from spg99.bridges.terraform.installation import SOURCE, executable_name, launcher, platform_name
from terraform_cli import Workspace, readable, settings_of

pytestmark = pytest.mark.slow  # broken

MANY = 'resource "spg99_gadget" "it" {\n  count = %d\n  shelf = "top"\n  name = "lamp-${count.index}"\n}\n'
PROOF_PROVIDER = """
import sys
sys.path[:0] = {paths!r}
from tfplugin.server import serve

def load():
    from proof.gadget import PACKAGE
    from spg99.bridges.terraform.provider import TerraformProvider
    return TerraformProvider(PACKAGE)

serve(load)
"""


@pytest.fixture
def real(tmp_path: Path) -> Iterator[tuple[Workspace, Server]]:
    """Real starts of a provider with the proof noun, from a mirror."""
    import proof
    import spg99

    packages = [str(Path(next(iter(module.__path__))).parent) for module in (spg99, proof, pytest, psutil)]
    import pydantic

    packages.append(str(Path(pydantic.__file__).parents[1]))
    first_line = launcher().splitlines()[0]
    mirror = tmp_path / "mirror"
    target = mirror / "registry.terraform.io" / SOURCE / "1.0.0" / platform_name() / executable_name("1.0.0")
    target.parent.mkdir(parents=True)
    target.write_text(first_line + PROOF_PROVIDER.format(paths=list(dict.fromkeys(packages))))
    target.chmod(0o755)
    with running(PACKAGE, also=MOUNTED) as server:
        yield Workspace(tmp_path / "configuration", mirror=mirror, settings=settings_of(server.url, API_KEY)), server


def plugins(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The provider processes of a command."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if any("terraform-provider-spg99" in part for part in child.cmdline())]
    return []


@pytest.mark.parametrize(
    "together", [True, pytest.param(False, marks=pytest.mark.long)], ids=["whole-group", "terraform-alone"]
)
def test_ctrl_c_with_every_worker_busy_keeps_every_object(real: tuple[Workspace, Server], together: bool) -> None:
    work, server = real
    server.settle_seconds = -1
    process = work.write(MANY % 30).start("apply", "-auto-approve", "-parallelism=30")
    wait_for("all creates to be under way", lambda: server.created == 30, seconds=60)
    if together:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "was interrupted" in readable(text)
    kept = work.resources()
    assert {each["values"]["id"] for each in kept.values()} == {key[1] for key in server.objects}
    assert all(each["values"]["gadget_id"] for each in kept.values())
    server.settle_seconds = 0
    server.settle()
    work.destroy("-parallelism=30")
    assert not server.objects


def test_a_killed_provider_makes_no_second_object(real: tuple[Workspace, Server]) -> None:
    work, server = real
    server.settle_seconds = -1
    process = work.write(MANY % 2).start("apply", "-auto-approve")
    wait_for("both creates", lambda: server.created == 2, seconds=30)
    for plugin in plugins(process):
        plugin.kill()
    process.communicate(timeout=30)
    assert process.returncode == 1 and work.resources() == {}
    server.settle_seconds = 0
    server.settle()
    work.apply()
    assert server.created == 2 and len(work.resources()) == 2
    assert work.plan().is_empty
    assert list((work.folder / ".terraform" / "spg99-creates").iterdir()) == []


def test_objects_of_a_state_that_was_never_written_are_found_again(real: tuple[Workspace, Server]) -> None:
    work, server = real
    work.write(MANY % 2).apply()
    tokens = work.folder / ".terraform" / "spg99-creates"
    assert len(list(tokens.iterdir())) == 2
    # Remote states are written every twenty seconds: so it looks when Terraform is killed before.
    (work.folder / "terraform.tfstate").unlink()
    work.apply()
    assert server.created == 2 and len(work.resources()) == 2
    assert work.plan(refresh=False).is_empty
    assert list(tokens.iterdir()) == [], "the state holds them now"


@pytest.mark.long
def test_a_killed_terraform_leaves_no_process_and_no_second_object(real: tuple[Workspace, Server]) -> None:
    work, server = real
    server.settle_seconds = -1
    process = work.write(MANY % 2).start("apply", "-auto-approve")
    wait_for("both creates", lambda: server.created == 2, seconds=30)
    left = plugins(process)
    assert left
    process.kill()
    process.wait(10)
    wait_for(
        "the provider to end by itself",
        lambda: (
            not any(
                psutil.pid_exists(each.pid) and each.is_running() and each.status() != psutil.STATUS_ZOMBIE
                for each in left
            )
        ),
        seconds=10,
    )
    assert process.stdout is not None
    process.stdout.close()
    (work.folder / ".terraform.tfstate.lock.info").unlink(missing_ok=True)
    server.settle_seconds = 0
    server.settle()
    work.apply("-lock=false")
    assert server.created == 2
    assert work.plan("-lock=false").is_empty


@pytest.mark.long
def test_two_declarations_of_one_name_never_share_an_object(real: tuple[Workspace, Server]) -> None:
    work, server = real
    said = work.write((MANY % 2).replace("lamp-${count.index}", "lamp")).apply(check=False)
    assert said.code == 1 and "exists already" in said.text
    assert server.created == 1 and len(work.resources()) == 1


def test_a_wait_is_told_in_the_log(real: tuple[Workspace, Server]) -> None:
    work, server = real
    server.settle_seconds = 3.0
    said = work.write(MANY % 1).run("apply", "-auto-approve", env={"TF_LOG_PROVIDER": "info"})
    assert "gadget top/lamp-0 is creating, waiting until it is settled, 1 s" in said.text
