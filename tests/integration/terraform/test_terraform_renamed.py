"""Terraform with blocks that were renamed or hold one object twice: nothing is destroyed that another block wants. Not here: what one
block alone may do (test_terraform_life.py)."""

from __future__ import annotations

from collections.abc import Callable

from proof.server import Server
from terraform_cli import Workspace

Text = Callable[..., str]


def test_a_renamed_block_is_refused_in_the_plan_and_moved_when_it_says_so(
    work: Workspace, server: Server, lamp: Text
) -> None:
    work.write(lamp("old")).apply()
    for command in (["plan"], ["apply", "-auto-approve"]):
        refused = work.write(lamp("new")).run(*command, check=False)
        said = " ".join(refused.text.replace("│", " ").split())
        assert refused.code == 1 and "would be destroyed under one address and created under another" in said
        assert "moved { from = spg99_gadget.<old name>, to = spg99_gadget.<new name> }" in said
    assert server.count("DELETE", "") == 0 and server.created == 1
    work.write(lamp("new") + "\nmoved {\n  from = spg99_gadget.old\n  to = spg99_gadget.new\n}\n").apply()
    assert server.count("DELETE", "") == 0 and server.created == 1


def test_one_object_under_two_addresses_is_not_destroyed_by_the_end_of_one(
    work: Workspace, server: Server, lamp: Text
) -> None:
    work.write(lamp("old")).apply()
    work.write(lamp("old") + lamp("new"))
    work.run("import", "spg99_gadget.new", "top/lamp")
    refused = work.write(lamp("new")).run("apply", "-auto-approve", check=False)
    said = " ".join(refused.text.replace("│", " ").split())
    assert refused.code == 1 and "is kept under another" in said and "terraform state rm" in said
    assert server.count("DELETE", "") == 0
    work.run("state", "rm", "spg99_gadget.old")
    assert work.plan().is_empty


def test_a_forced_replacement_is_no_rename(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp()).apply()
    first = work.values("spg99_gadget.it")["gadget_id"]
    work.run("apply", "-auto-approve", "-replace=spg99_gadget.it")
    assert work.values("spg99_gadget.it")["gadget_id"] != first and server.created == 2
    work.run("taint", "spg99_gadget.it")
    work.apply()
    assert server.created == 3
    work.write("").apply()
    assert not server.objects
