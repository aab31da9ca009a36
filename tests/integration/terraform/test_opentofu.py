"""The same provider under OpenTofu: an object's life, what is write-only, what is ephemeral, functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proof.gadget import PACKAGE
from proof.server import API_KEY, SECRET, Server
from terraform_cli import Workspace, attached, settings_of, tofu

pytestmark = pytest.mark.slow  # again

IT = "spg99_gadget.it"


@pytest.fixture
def work(server: Server, tmp_path: Path) -> Iterator[Workspace]:
    folder = tmp_path / "configuration"
    with attached(PACKAGE, environment={"TF_DATA_DIR": str(folder / ".terraform")}) as environment:
        yield Workspace(folder, binary=tofu(), environment=environment, settings=settings_of(server.url, API_KEY))


def test_the_life_of_an_object(work: Workspace, server: Server, lamp: Callable[..., str]) -> None:
    work.write(lamp(amount=5, ratio=0.1, limits={"max_items": 2}, big_number=2**70, tags=["b", "a"])).apply()
    assert work.plan().is_empty and work.plan(refresh=False).is_empty
    plan = work.write(lamp(amount=6, ratio=0.1, limits={"max_items": 2}, big_number=2**70, tags=["b", "a"])).plan()
    assert plan.changes[IT].changed == {"amount"}
    work.apply()
    server.change("gadget", "top/lamp", note="foreign")
    assert work.plan().changes[IT].changed == {"note"}
    work.apply()
    work.forget(IT)
    work.import_(IT, "top/lamp")
    assert work.plan().is_empty
    assert "would be replaced and its data destroyed" in work.write(lamp(material="gold")).run("plan", check=False).text
    work.write(lamp()).destroy()
    assert not server.objects


def test_secrets_that_are_kept_nowhere(work: Workspace, server: Server, lamp: Callable[..., str]) -> None:
    work.write(lamp()).apply()
    text = lamp(pass_phrase_wo_version=1, extra="  pass_phrase_wo = ephemeral.spg99_gadget_pass.it.code\n") + (
        'ephemeral "spg99_gadget_pass" "it" {\n  gadget = "top/lamp"\n}\n'
        'output "redacted" {\n  value = provider::spg99::redact_dsn("postgres://u:hidden@h/d")\n}\n'
    )
    work.write(text).apply()
    sent = server.objects["gadget", "top/lamp"]["pass_phrase"]
    assert sent.startswith(f"{SECRET}-code-pass") and sent not in work.raw_state()
    assert "hidden" not in work.outputs()["redacted"]
    assert work.plan().is_empty


def test_what_the_same_run_makes_is_opened_in_the_apply(
    work: Workspace, server: Server, lamp: Callable[..., str]
) -> None:
    text = lamp() + (
        'ephemeral "spg99_gadget_pass" "it" {\n  gadget = spg99_gadget.it.gadget_id\n}\n'
        'resource "spg99_gadget" "second" {\n  shelf = "top"\n  name = "torch"\n'
        "  pass_phrase_wo = ephemeral.spg99_gadget_pass.it.code\n  pass_phrase_wo_version = 1\n}\n"
    )
    work.write(text).plan()
    assert server.count("POST", "/passes$") == 0
    work.apply()
    assert server.objects["gadget", "top/torch"]["pass_phrase"].startswith(f"{SECRET}-code-pass")
