"""Data sources, functions and ephemeral resources under the real Terraform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proof.server import SECRET, Server
from terraform_cli import Workspace

Text = Callable[..., str]


def outputs(**expressions: str) -> str:
    """Outputs with these expressions."""
    return "".join(f'output "{name}" {{\n  value = {text}\n}}\n' for name, text in expressions.items())


def test_one_object_and_what_there_is_only_once(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp(note="n")).apply()
    work.write(
        lamp(note="n")
        + 'data "spg99_gadget" "found" {\n  shelf = "top"\n  name = "lamp"\n}\ndata "spg99_workshop" "here" {}\n'
        + outputs(
            found="[data.spg99_gadget.found.note, data.spg99_gadget.found.id, data.spg99_gadget.found.amount]",
            motto="data.spg99_workshop.here.motto",
            secret="nonsensitive(issensitive(data.spg99_gadget.found.token))",
        )
    ).apply()
    said = work.outputs()
    assert said["found"] == ["n", "top/lamp", 3]
    assert said["motto"].startswith("motto-") and said["secret"] is True
    assert work.plan().is_empty


def test_all_objects_with_filters(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp("a", name="lamp-a") + lamp("b", name="lamp-b") + lamp("c", name="torch")).apply()
    work.write(
        'data "spg99_gadgets" "lamps" {\n  shelf = "top"\n  name_prefix = "lamp"\n}\n'
        'data "spg99_gadgets" "none" {\n  shelf = "top"\n  state = "creating"\n}\n'
        + outputs(
            lamps="[for each in data.spg99_gadgets.lamps.gadgets : each.id]",
            none="length(data.spg99_gadgets.none.gadgets)",
        )
    )
    work.run("apply", "-auto-approve", "-target=data.spg99_gadgets.lamps", "-target=data.spg99_gadgets.none")
    assert work.outputs() == {"lamps": ["top/lamp-a", "top/lamp-b"], "none": 0}


def test_an_object_is_read_whatever_its_state(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp()).apply()
    work.forget("spg99_gadget.it")
    server.change("gadget", "top/lamp", state="deleting")
    work.write(
        'data "spg99_gadget" "it" {\n  shelf = "top"\n  name = "lamp"\n}\n'
        + outputs(state="data.spg99_gadget.it.state")
    ).apply()
    assert work.outputs()["state"] == "deleting"


def test_what_is_not_there_or_not_allowed_is_an_error(work: Workspace, server: Server) -> None:
    said = work.write('data "spg99_gadget" "it" {\n  shelf = "top"\n  name = "lamp"\n}\n').run("plan", check=False)
    assert said.code == 1 and "There is no gadget 'top/lamp'" in said.text
    bad = work.write('data "spg99_gadgets" "it" {\n  shelf = "TOP"\n  state = "odd"\n}\n').validate(check=False)
    assert "Invalid value for shelf" in bad.text and "Invalid value for state" in bad.text


def test_functions_need_no_configuration_and_blame_the_argument(work: Workspace, server: Server) -> None:
    (work.folder / "provider.tf").unlink()
    dsn = "postgres://ann:p%40ss@db.example:6432/app?sslmode=require"
    work.write(
        outputs(
            parts=f'provider::spg99::parse_dsn("{dsn}")',
            built='provider::spg99::build_dsn("h", 5433, "u", "p@", "d", { sslmode = "require" })',
            redacted=f'provider::spg99::redact_dsn("{dsn}")',
        )
    ).apply()
    said: dict[str, Any] = work.outputs()
    assert (said["parts"]["password"], said["parts"]["port"]) == ("p@ss", 6432)
    assert said["built"] == "postgresql://u:p%40@h:5433/d?sslmode=require" or "p%40" in said["built"]
    assert "p%40ss" not in said["redacted"] and "p@ss" not in said["redacted"]
    wrong = work.write(outputs(bad='provider::spg99::parse_dsn("mysql://x")')).run("plan", check=False)
    assert wrong.code == 1 and 'Invalid value for "dsn" parameter' in wrong.text
    assert server.requests == []


def test_an_ephemeral_is_opened_used_closed_and_kept_nowhere(work: Workspace, server: Server, lamp: Text) -> None:
    work.write(lamp()).apply()
    text = lamp(pass_phrase_wo_version=1, extra="  pass_phrase_wo = ephemeral.spg99_gadget_pass.it.code\n") + (
        'ephemeral "spg99_gadget_pass" "it" {\n  gadget = "top/lamp"\n}\n'
    )
    work.write(text).apply()
    sent = server.objects["gadget", "top/lamp"]["pass_phrase"]
    assert sent.startswith(f"{SECRET}-code-pass")
    assert server.count("POST", "/passes$") == server.count("DELETE", "/passes/") == 2, "at plan and at apply"
    assert not [key for key in server.objects if key[0] == "pass"]
    assert sent not in work.raw_state()
    assert work.plan().is_empty


LATER = """
ephemeral "spg99_gadget_pass" "it" {
  gadget = spg99_gadget.it.gadget_id
}
resource "spg99_gadget" "second" {
  shelf                  = "top"
  name                   = "torch"
  pass_phrase_wo         = ephemeral.spg99_gadget_pass.it.code
  pass_phrase_wo_version = 1
}
"""


def test_an_ephemeral_of_what_the_same_run_makes_is_opened_in_the_apply(
    work: Workspace, server: Server, lamp: Text
) -> None:
    work.write(lamp() + LATER).plan()
    assert server.count("POST", "/passes$") == 0, "an id is known only after apply"
    work.apply()
    (asked,) = [each.body for each in server.requests if each.path.endswith("/passes")]
    assert asked["gadget"] == work.values("spg99_gadget.it")["gadget_id"]
    assert server.objects["gadget", "top/torch"]["pass_phrase"].startswith(f"{SECRET}-code-pass")
    assert work.plan().is_empty


def test_an_ephemeral_of_what_is_not_there_says_how_to_wait_for_it(work: Workspace, server: Server, lamp: Text) -> None:
    refused = {"error": "NotFound", "message": "There is no gadget 'top/lamp'.", "details": {}, "retry_after": None}
    answer = server.answer
    server.answer = lambda request: (  # type: ignore[method-assign]
        (404, dict(refused), None) if request.path.endswith("/passes") else answer(request)
    )
    said = work.write(lamp() + LATER.replace("spg99_gadget.it.gadget_id", "spg99_gadget.it.id")).run(
        "plan", check=False
    )
    assert said.code == 1 and "There is no gadget 'top/lamp'" in said.text
    assert "`gadget = spg99_gadget.<name>.gadget_id`" in said.text


def test_an_ephemeral_says_what_is_wrong(work: Workspace, server: Server) -> None:
    text = 'ephemeral "spg99_gadget_pass" "it" {\n  gadget = "top/lamp"\n  seconds = 0\n}\n'
    assert "Invalid value for seconds" in work.write(text).validate(check=False).text
    server.on("POST", "/passes$", fields={"gadget": "is not there"})
    said = work.write(text.replace("seconds = 0", "seconds = 5")).run("plan", check=False)
    assert said.code == 1 and "is not there" in said.text
