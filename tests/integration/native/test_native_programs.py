"""Pulumi programs (Python) that declare the proof noun and ours by the native plugin, run by the embedded engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.native.native_project import CLASSES, Project, changes
from proof import dynamic_provider
from proof import server as proof_server
from proof.server import API_KEY, SECRET, Server
from spg99.emit import pulumi_plugin
from spg99.engine.events import Message
from spg99.engine.importing import import_all, parse
from spg99.engine.operations import run_destroy, run_preview, run_refresh, run_up
from spg99.engine.run import Options
from spg99.engine.workspace import open_workspace
from spg99.prepared import PACKAGE

TWO = """
    lamp = Gadget("lamp", shelf="top", name="lamp", amount=7)
    torch = Gadget("torch", shelf=lamp.shelf, name=lamp.name.apply(lambda n: n + "-2"), note=lamp.gadgetId, labels={"a": lamp.gadgetId})
    pulumi.export("token", lamp.token)
    pulumi.export("id", torch.id)
"""


@pytest.fixture
def products() -> Iterator[Server]:
    """The product's own nouns."""
    with proof_server.running(PACKAGE) as server:
        yield server


def test_the_walk_of_a_newcomer(project: Project, server: Server) -> None:
    assert changes(project.run(run_preview, TWO)) == {"create": 3}
    assert server.requests == [], "a preview asks nobody"
    result = project.run(run_up)
    assert changes(result) == {"create": 3} and result.outputs["id"] == "top/lamp-2"
    assert server.objects["gadget", "top/lamp-2"]["note"] == server.objects["gadget", "top/lamp"]["gadget_id"]
    assert changes(project.run(run_up)) == {}, "the second up has nothing to do"
    changed = TWO.replace("amount=7", "amount=8")
    assert changes(project.run(run_preview, changed)) == {"update": 1}, "what nothing moves stays known"
    assert changes(project.run(run_up)) == {"update": 1}
    assert server.objects["gadget", "top/lamp"]["amount"] == 8
    assert changes(project.run(run_refresh)) == {} and changes(project.run(run_up)) == {}
    assert changes(project.run(run_destroy)) == {"delete": 3} and not server.objects
    assert changes(project.run(run_destroy)) == {}


def test_no_secret_is_plain_anywhere(project: Project) -> None:
    text = """
        key = pulumi.Output.secret("open sesame")
        lamp = Gadget("lamp", shelf="top", name="lamp", passPhrase="open barley", labels={"a": key}, note=key)
    """
    project.run(run_up, text)
    state = project.state_text
    assert all(hidden not in state for hidden in (SECRET, API_KEY, "sesame", "barley"))
    lamp = project.resource("lamp")
    assert "ciphertext" in lamp["inputs"]["passPhrase"] and "ciphertext" in lamp["outputs"]["token"]
    assert "ciphertext" in lamp["outputs"]["labels"]["a"] and "ciphertext" in lamp["outputs"]["note"]
    said = repr([event for event in project.events if isinstance(event, Message)])
    assert not any(hidden in said for hidden in (SECRET, API_KEY, "sesame", "barley"))


@pytest.mark.slow  # again
def test_drift_is_shown_and_taken_back(project: Project, server: Server) -> None:
    project.run(run_up, TWO)
    server.change("gadget", "top/lamp", uses=99)
    assert changes(project.run(run_refresh)) == {}, "what moves by itself is no drift"
    server.change("gadget", "top/lamp", amount=9)
    assert changes(project.run(run_refresh)) == {"update": 1}
    assert changes(project.run(run_up)) == {"update": 1} and server.objects["gadget", "top/lamp"]["amount"] == 7
    server.remove("gadget", "top/lamp-2")
    project.run(run_refresh)
    assert changes(project.run(run_up)) == {"create": 1} and len(server.objects) == 2


@pytest.mark.slow  # again
def test_all_failures_come_at_once_and_nothing_is_done(project: Project, server: Server) -> None:
    result = project.run(
        run_preview, 'Gadget("bad", shelf="Top", amout=1, ratio=0, limits={"maxItems": 0})\n', ok=False
    )
    message = "\n".join(failure.message for failure in result.failures)
    for sentence in ("shelf: must match", "did you mean 'amount'?", "ratio: must be more than 0", "limits.maxItems:"):
        assert sentence in message
    assert server.requests == []


@pytest.mark.slow  # again
def test_a_partial_create_is_kept_and_continued(project: Project, server: Server) -> None:
    server.settle_seconds = -1
    short = 'Gadget("lamp", shelf="top", name="lamp", opts=Opts(custom_timeouts=pulumi.CustomTimeouts(create="1s")))\n'
    result = project.run(run_up, short, ok=False)
    assert "still creating" in result.failures[0].message
    assert project.resource("lamp")["initErrors"] and project.resource("lamp")["id"] == "top/lamp"
    server.settle_seconds = 0
    server.settle()
    assert changes(project.run(run_up)) == {"update": 1} and server.created == 1
    assert "initErrors" not in project.resource("lamp")
    project.run(run_destroy)
    assert not server.objects


@pytest.mark.slow  # again
def test_a_create_that_fails_leaves_nothing(project: Project, server: Server) -> None:
    server.on("POST", "", fields={"amount": "is unlucky"})
    result = project.run(run_up, 'Gadget("lamp", shelf="top", name="lamp", amount=13)\n', ok=False)
    assert "amount: is unlucky" in result.failures[0].message and "request id" in result.failures[0].message
    assert not any(r["type"].endswith(":Gadget") for r in project.resources())


@pytest.mark.slow  # again
def test_import_and_get_show_no_changes(project: Project, server: Server) -> None:
    project.run(run_up, 'Gadget("lamp", shelf="top", name="lamp", amount=7, tags=["a"])\n')
    stack = (project.folder / "state").rename(project.folder / "elsewhere")
    assert stack.exists()
    imported = 'Gadget("mine", shelf="top", name="lamp", amount=7, tags=["a"], opts=Opts(import_="top/lamp"))\n'
    assert changes(project.run(run_up, imported)) == {"create": 1, "import": 1}
    again = imported.replace(', opts=Opts(import_="top/lamp")', "")
    assert changes(project.run(run_up, again)) == {}
    got = again + 'pulumi.export("got", Gadget("seen", opts=Opts(id="top/lamp")).amount)\n'
    assert project.run(run_up, got).outputs["got"] == 7
    missing = again + 'Gadget("seen", opts=Opts(id="top/none"))\n'
    assert "top/none" in project.run(run_up, missing, ok=False).failures[0].message
    assert server.created == 1


@pytest.mark.slow  # again
def test_import_by_the_command(project: Project, server: Server) -> None:
    project.run(run_up, 'Gadget("lamp", shelf="top", name="lamp", amount=7)\n')
    (project.folder / "state").rename(project.folder / "elsewhere")
    (project.folder / "__main__.py").write_text(CLASSES)
    project.run(run_up)
    entries = {"resources": [{"type": "spg99:index:Gadget", "name": "lamp", "id": "top/lamp"}]}
    workspace = open_workspace(project.folder, "dev", url=f"file://{project.folder}/state", environment=project.env)
    result = import_all(workspace, Options(), parse(json.dumps(entries)), lambda _event: None)
    assert result.ok, result.failures
    assert (
        changes(project.run(run_up, 'Gadget("lamp", shelf="top", name="lamp", amount=7, opts=Opts(protect=True))\n'))
        == {}
    )
    assert server.created == 1


@pytest.mark.slow  # again
def test_an_explicit_provider_with_an_address_that_is_not_known_yet(project: Project, server: Server) -> None:
    text = f"""
        first = Gadget("first", shelf="top", name="first")
        eu = Provider("eu", url=first.gadgetId.apply(lambda _: {server.url!r}), apiKey={API_KEY!r})
        Gadget("second", shelf="eu", name="second", opts=Opts(provider=eu))
    """
    project.run(run_preview, text)
    assert server.requests == []
    assert changes(project.run(run_up)) == {"create": 4} and ("gadget", "eu/second") in server.objects
    assert "ciphertext" in project.resource("eu")["inputs"]["apiKey"] and API_KEY not in project.state_text
    assert changes(project.run(run_up)) == {}


def test_names_are_made_where_the_program_gives_none(project: Project, server: Server) -> None:
    result = project.run(run_up, 'pulumi.export("id", Gadget("Big Lamp", shelf="top").id)\n')
    [(_, human_id)] = server.objects
    assert result.outputs["id"] == human_id and human_id.startswith("top/big-lamp-")
    assert changes(project.run(run_up)) == {}, "the name stays"
    project.run(
        run_up, 'pulumi.export("id", Gadget("Big Lamp", shelf="top", material="brass", allowReplacement=True).id)\n'
    )
    [(_, other)] = server.objects
    assert other != human_id, "a replacement has a name of its own, so the old one goes last"
    deletes = [n for n, seen in enumerate(server.requests) if seen.method == "DELETE"]
    posts = [n for n, seen in enumerate(server.requests) if seen.method == "POST"]
    assert posts[-1] < deletes[0]


@pytest.mark.slow  # again
def test_moving_from_the_dynamic_provider_changes_nothing(project: Project, server: Server) -> None:
    (project.folder / "gadgets.py").write_text(dynamic_provider.module_text())
    dynamic = """
        import gadgets
        lamp = gadgets.Gadget("lamp", shelf="top", name="lamp", amount=7, limits={"max_items": 2}, pass_phrase="open sesame", until="2030-01-01T00:00:00Z", note="n")
    """
    project.run(run_up, dynamic)
    assert project.resource("lamp")["type"] == "pulumi-python:dynamic/spg99:Gadget"
    native = """
        old = pulumi.Alias(type_="pulumi-python:dynamic/spg99:Gadget")
        lamp = Gadget("lamp", shelf="top", name="lamp", amount=7, limits={"maxItems": 2}, passPhrase="open sesame", until="2030-01-01T00:00:00Z", note="n", opts=Opts(aliases=[old]))
    """
    writes = [seen for seen in server.requests if seen.method != "GET"]
    assert changes(project.run(run_preview, native)) == {}
    assert changes(project.run(run_up)) == {}
    assert project.resource("lamp")["type"] == "spg99:index:Gadget"
    assert [seen for seen in server.requests if seen.method != "GET"] == writes, "nothing was written"
    assert changes(project.run(run_refresh)) == {} and changes(project.run(run_up)) == {}
    assert "open sesame" not in project.state_text
    without_alias = native.replace(", opts=Opts(aliases=[old])", "").replace("amount=7", "amount=8")
    assert changes(project.run(run_up, without_alias)) == {"update": 1}


def test_the_installed_plugin_serves_the_products_nouns(products: Server, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: proj\nruntime: python\n")
    project = Project(tmp_path, products.url)
    pulumi_plugin.install(tmp_path / "home/plugins")
    text = """
        acme = Tenant("acme", name="acme")
        app = Database("app", tenant=acme.name, name="app", idleTimeoutSeconds=60)
        pulumi.export("dsn", app.connectionString)
    """
    assert changes(project.run(run_up, text)) == {"create": 3}
    assert set(products.objects) == {("tenant", "acme"), ("database", "acme/app")}
    assert SECRET not in project.state_text and changes(project.run(run_up)) == {}
    assert changes(project.run(run_destroy)) == {"delete": 3}


@pytest.mark.slow  # again
def test_a_refresh_without_a_control_plane_leaves_the_state_as_it_is(project: Project, server: Server) -> None:
    project.run(run_up, TWO)
    before = project.resources()
    server.on("GET", "/gadgets/", status=401, times=99)
    result = project.run(run_refresh, ok=False)
    assert result.failures and project.resources() == before
    server.heal()
    assert changes(project.run(run_refresh)) == {}


@pytest.mark.slow  # again
def test_what_has_become_another_outside_is_shown_and_not_replaced_by_itself(project: Project, server: Server) -> None:
    text = 'Gadget("lamp", shelf="top", name="lamp", material="steel")\n'
    project.run(run_up, text)
    server.change("gadget", "top/lamp", material="brass")
    assert changes(project.run(run_refresh)) == {"update": 1}, "a refresh shows it and does not fail"
    for operation in (run_preview, run_up):
        [failure] = project.run(operation, ok=False).failures
        assert "material" in failure.message and "data destroyed" in failure.message
    assert server.count("DELETE", "") == 0 and server.created == 1
    agreed = text.replace('material="steel"', 'material="steel", allowReplacement=True')
    assert changes(project.run(run_up, agreed)) == {"replace": 1}
    assert server.objects["gadget", "top/lamp"]["material"] == "steel"
