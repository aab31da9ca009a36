"""Real Pulumi programs that import `spg99.dynamic`, run by the embedded engine against the small Control Plane."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from integration.bridges.plane_stub import API_KEY, Plane
from spg99.bridges.pulumi.dynamic.import_file import write_import_file
from spg99.engine.events import Event, Message, Result, StepEnded
from spg99.engine.importing import import_all, parse
from spg99.engine.operations import run_destroy, run_preview, run_refresh, run_up
from spg99.engine.run import Options
from spg99.engine.workspace import open_workspace
from spg99.resources import NOUNS

TWO = """
    acme = Tenant("acme", name="acme")
    app = Database("app", tenant=acme.name, name="app", idle_timeout_seconds=60)
    pulumi.export("dsn", app.connection_string)
    pulumi.export("name", app.name)
    pulumi.export("idle", app.idle_timeout_seconds.apply(lambda n: f"{n} {type(n).__name__}"))
    pulumi.export("id", app.id)
"""


@dataclass
class Project:
    folder: Path
    plane: Plane
    events: list[Event] = field(default_factory=list)
    by_environment: bool = True

    @property
    def env(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SPG99_", "CP_", "PULUMI_"))}
        return clean | {"PULUMI_CONFIG_PASSPHRASE": "x"} | self.configured

    @property
    def configured(self) -> dict[str, str]:
        return {"SPG99_CP_URL": self.plane.url, "SPG99_API_KEY": API_KEY} if self.by_environment else {}

    def run(
        self, operation: Callable[..., Result], text: str | None = None, *, ok: bool = True, **options: Any
    ) -> Result:
        if text is not None:
            body = "import pulumi\nfrom spg99.dynamic import *\nfrom pulumi import ResourceOptions as Opts\n"
            (self.folder / "__main__.py").write_text(body + textwrap.dedent(text))
        self.events.clear()
        result = operation(
            self.folder,
            "dev",
            backend_url=f"file://{self.folder}/state",
            env=self.env,
            create_stack=True,
            listener=self.events.append,
            **options,
        )
        assert result.ok == ok, result.failures
        return result

    @property
    def state_text(self) -> str:
        return (self.folder / "state/.pulumi/stacks/proj/dev.json").read_text()

    def resource(self, name: str) -> dict[str, Any]:
        resources = json.loads(self.state_text)["checkpoint"]["latest"]["resources"]
        found: dict[str, Any] = next(r for r in resources if r["urn"].endswith(f"::{name}"))
        return found


@pytest.fixture
def project(plane: Plane, tmp_path: Path) -> Iterator[Project]:
    (tmp_path / "Pulumi.yaml").write_text("name: proj\nruntime: python\n")
    return Project(tmp_path, plane)  # type: ignore[return-value]


def changes(result: Result) -> dict[str, int]:
    return {kind: count for kind, count in result.changes.items() if kind != "same"}


def test_the_walk_of_a_newcomer(project: Project, plane: Plane) -> None:
    project.run(run_preview, TWO)
    assert plane.posts == 0 and plane.count("POST", "") == 0, "a preview writes nothing"
    result = project.run(run_up)
    assert changes(result) == {"create": 3} and plane.posts == 2
    assert (result.outputs["name"], result.outputs["idle"], result.outputs["id"]) == ("app", "60 int", "acme/app")
    assert changes(project.run(run_up)) == {}, "the second up has nothing to do"
    assert changes(project.run(run_up, TWO.replace("=60", "=0"))) == {"update": 1}
    assert plane.objects["database", "acme/app"]["idle_timeout_seconds"] == 0
    assert changes(project.run(run_destroy)) == {"delete": 3} and not plane.objects


def test_no_secret_is_plain_in_the_state(project: Project) -> None:
    project.run(run_up, TWO + '    pulumi.export("token", ApiKey("ci", name="ci").token)\n')
    assert "topsecret" not in project.state_text and API_KEY not in project.state_text
    assert "ciphertext" in project.resource("app")["outputs"]["connectionString"]
    assert "ciphertext" in project.resource("ci")["outputs"]["token"]
    assert project.resource("app")["inputs"]["__provider"] == project.resource("app")["outputs"]["__provider"]


def test_a_refused_replacement_stops_the_preview(project: Project, plane: Plane) -> None:
    project.run(run_up, TWO)
    renamed = TWO.replace('name="app"', 'name="bills"')
    result = project.run(run_preview, renamed, ok=False)
    assert any("data destroyed" in failure.message for failure in result.failures)
    agreed = renamed.replace('name="bills"', 'name="bills", allow_replacement=True')
    project.run(run_up, agreed)
    assert set(plane.objects) == {("tenant", "acme"), ("database", "acme/bills")}


@pytest.mark.slow  # again
def test_a_wrong_import_of_a_protected_database_changes_nothing(project: Project, plane: Plane) -> None:
    """The state has acme/app, protected; the program says import_="acme/other", and then name="other"."""
    text = """
        acme = Tenant("acme", name="acme")
        Database("app", tenant=acme.name, name="{name}", opts=Opts(protect=True{more}))
    """
    project.run(run_up, text.format(name="app", more=""))
    headers = {"Authorization": f"Bearer {API_KEY}", "Idempotency-Key": "by-hand"}
    httpx.post(f"{plane.url}/tenants/acme/dbs", json={"name": "other"}, headers=headers).raise_for_status()
    there, state = set(plane.objects), project.state_text
    for name, more in (("app", ', import_="acme/other"'), ("other", ', import_="acme/other"'), ("other", "")):
        for operation in (run_preview, run_up):
            result = project.run(operation, text.format(name=name, more=more), ok=False)
            assert any(failure.urn.endswith("::app") for failure in result.failures)
            assert project.state_text == state and set(plane.objects) == there
    assert changes(project.run(run_up, text.format(name="app", more=""))) == {}
    assert plane.count("DELETE", "") == 0


@pytest.mark.slow  # again
def test_all_errors_of_a_check_come_at_once(project: Project) -> None:
    text = 'Database("bad", tenant="ac me", name="template0", size="XL", idle_timeout_seconds=-1)\n'
    result = project.run(run_preview, text, ok=False)
    message = "\n".join(failure.message for failure in result.failures)
    assert all(name in message for name in ("tenant", "name", "size", "idleTimeoutSeconds"))


@pytest.mark.slow  # again
def test_drift_is_shown_and_taken_back(project: Project, plane: Plane) -> None:
    project.run(run_up, TWO)
    assert changes(project.run(run_refresh)) == {}
    plane.change_outside("database", "acme/app", state="ready", status="ready", storage_bytes=99)
    assert changes(project.run(run_refresh)) == {}, "what moves by itself is no drift"
    plane.change_outside("database", "acme/app", size="L3")
    assert changes(project.run(run_refresh)) == {"update": 1}
    assert changes(project.run(run_up)) == {"update": 1}
    assert plane.objects["database", "acme/app"]["size"] == "L1"


@pytest.mark.slow  # again
def test_deleted_outside_is_created_again(project: Project, plane: Plane) -> None:
    project.run(run_up, TWO)
    uid = plane.objects["database", "acme/app"]["db_id"]
    plane.delete_outside("database", "acme/app")
    assert changes(project.run(run_refresh)) == {"delete": 1}
    assert changes(project.run(run_up)) == {"create": 1}
    assert plane.objects["database", "acme/app"]["db_id"] != uid


@pytest.mark.slow  # again
def test_a_partial_create_is_kept_and_finished_by_the_next_up(project: Project, plane: Plane) -> None:
    plane.settle_seconds = -1
    text = TWO.replace("=60)", '=60, opts=Opts(custom_timeouts=pulumi.CustomTimeouts(create="1s", update="5s")))')
    result = project.run(run_up, text, ok=False)
    assert any("Nothing is lost" in failure.message for failure in result.failures)
    assert project.resource("app")["id"] == "acme/app" and project.resource("app")["initErrors"]
    plane.settle()
    project.run(run_up)
    assert not project.resource("app").get("initErrors") and plane.posts == 2
    assert changes(project.run(run_up)) == {}


def test_get_and_lookups_read_what_is_there(project: Project, plane: Plane) -> None:
    project.run(run_up, TWO + '    pulumi.export("other", Database("b", tenant=acme.name, name="b").id)\n')
    look = """
        mine = Database.get("mine", "acme/app")
        pulumi.export("idle", mine.idle_timeout_seconds)
        found = get_database("acme", "app")
        pulumi.export("found", found.db_id)
        pulumi.export("dsn", found.connection_string)
        pulumi.export("all", [item.name for item in get_databases("acme")])
        pulumi.export("some", [item.name for item in get_databases("acme", name_prefix="b")])
        pulumi.export("tenant", get_tenant("acme").pg_user)
    """
    reader = Project(project.folder.parent / "reader", plane)
    reader.folder.mkdir()
    (reader.folder / "Pulumi.yaml").write_text("name: proj\nruntime: python\n")
    outputs = reader.run(run_up, look).outputs
    assert outputs["idle"] == 60 and outputs["found"] == plane.objects["database", "acme/app"]["db_id"]
    assert outputs["all"] == ["app", "b"] and outputs["some"] == ["b"]
    assert "topsecret" not in reader.state_text
    missing = reader.run(run_preview, 'get_database("acme", "none")\n', ok=False)
    assert any("There is no database 'acme/none'" in failure.message for failure in missing.failures)


@pytest.mark.slow  # again
def test_an_explicit_provider_has_its_own_control_plane(project: Project) -> None:
    with Plane().running() as other:
        text = f"""
            eu = Provider("eu", url={other.url!r}, api_key={API_KEY!r})
            Tenant("here", name="here")
            Tenant("there", name="there", opts=Opts(provider=eu))
        """
        project.run(run_up, text)
        assert set(other.objects) == {("tenant", "there")} and set(project.plane.objects) == {("tenant", "here")}
        assert API_KEY not in project.state_text
        project.run(run_destroy)
        assert not other.objects


@pytest.mark.slow  # again
def test_missing_configuration_is_told_in_the_preview(project: Project) -> None:
    project.by_environment = False
    result = project.run(run_preview, 'Tenant("t", name="acme")\n', ok=False)
    assert any("spg99:apiKey" in f.message and "SPG99_CP_URL" in f.message for f in result.failures)
    assert not any("Traceback" in f.message for f in result.failures)


@pytest.mark.slow  # again
def test_an_imported_stack_shows_no_changes(project: Project, plane: Plane, tmp_path: Path) -> None:
    project.run(run_up, TWO)
    objects = [
        noun.model_validate(item) for noun in NOUNS for (kind, _), item in plane.objects.items() if kind == noun.NOUN
    ]
    other = Project(project.folder.parent / "other", plane)
    other.folder.mkdir()
    (other.folder / "Pulumi.yaml").write_text("name: proj\nruntime: python\n")
    file = other.folder / "import.json"
    write_import_file(file, objects, names={"acme/app": "app"})
    assert "topsecret" not in file.read_text()
    workspace = open_workspace(other.folder, "dev", url=f"file://{other.folder}/state", environment=other.env)
    workspace.stack.create()
    imported = import_all(workspace, Options(), parse(file.read_text()), lambda event: None)
    assert imported.ok, imported.failures
    assert changes(other.run(run_up, TWO)) == {} and plane.posts == 2
    other.run(run_refresh)
    assert "ciphertext" in other.resource("app")["outputs"]["connectionString"]
    assert changes(other.run(run_up)) == {}


def test_stack_configuration_works_and_a_plain_key_in_it_is_warned_of(project: Project, plane: Plane) -> None:
    project.by_environment = False
    config = {"spg99:url": plane.url, "spg99:apiKey": API_KEY}
    result = project.run(run_up, 'Tenant("t", name="acme")\n', config=config)
    assert set(plane.objects) == {("tenant", "acme")}
    assert sum("config set --secret spg99:apiKey" in message.text for message in result.messages) == 1


def test_progress_is_seen_by_who_watches(project: Project, plane: Plane) -> None:
    plane.settle_seconds = 1.5
    project.run(run_up, TWO)
    lines = [event for event in project.events if isinstance(event, Message) and event.ephemeral]
    assert any(line.urn.endswith("::app") and "is creating" in line.text for line in lines)
    assert not any(isinstance(event, StepEnded) and event.error for event in project.events)
