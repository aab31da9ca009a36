"""The tools that the suite runs everything through: each bridge under an engine, with one way to ask and one way to answer.

    tool.declare([Declared(noun, "one", {...}), ...])      # the whole program or configuration
    tool.plan().steps["one"]                               # Step("update", {"size"}); writes nothing
    tool.apply(); tool.drift(); tool.accept_drift(); tool.take_in([...]); tool.forget(); tool.destroy()
    tool.values("one"), tool.written()                     # from the state; every byte on disk and on the screen

Labels are ours. Here: commands and what they answered. Not here: what is right (test_every_noun.py).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

import terraform_cli
from conformance.package import PACKAGE
from kit.platform import BIN
from proof.server import API_KEY
from spg99.bridges.pulumi.dynamic.reference import PROVIDER_KEY, provider_reference, type_token
from spg99.bridges.pulumi.shared.naming import to_wire
from spg99.emit.names import camel
from spg99.engine.difference import lines_of
from spg99.engine.events import Result
from spg99.engine.operations import run_destroy, run_preview, run_refresh, run_up
from spg99.shapes import Noun

TESTS = Path(__file__).resolve().parent.parent
PASSPHRASE = "conformance"


@dataclass(frozen=True)
class Ref:
    """An output of another declaration: not known before that exists."""

    label: str
    field: str


@dataclass(frozen=True)
class Declared:
    """One declaration."""

    noun: Noun
    label: str
    values: Mapping[str, Any]
    allow_replacement: bool = False
    seconds: int | None = None
    """Time limit of create, update and delete."""

    @property
    def human_id(self) -> str:
        """The id of what it makes, where its inputs say it."""
        return self.noun.id_of(dict(self.values))


@dataclass(frozen=True)
class Step:
    """What is, or would be, done to one declaration."""

    action: str
    """same, create, update, replace, delete"""
    fields: frozenset[str] = frozenset()
    """Inputs that a user sees changing, under our names."""


@dataclass
class Answer:
    """What a command said."""

    ok: bool
    text: str
    steps: dict[str, Step] = field(default_factory=dict)

    def well(self) -> Answer:
        """This, after making sure that it went well."""
        assert self.ok, self.text
        return self

    @property
    def doing(self) -> dict[str, Step]:
        """The steps that do something."""
        return {label: step for label, step in self.steps.items() if step.action != "same"}


class Tool(ABC):
    """One bridge under one engine, with one stack or folder."""

    name: str
    ends_at_the_first_error = False
    """What else would be refused is then not heard of in the same run."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.said: list[str] = []
        folder.mkdir(parents=True)

    @abstractmethod
    def declare(self, declared: Sequence[Declared]) -> None:
        """Makes this the whole program."""

    @abstractmethod
    def plan(self, *, refresh: bool | None = None) -> Answer:
        """What would be done; with or without a look at what is there now (None: as the tool does by itself)."""

    @abstractmethod
    def apply(self) -> Answer:
        """Does it."""

    @abstractmethod
    def drift(self) -> Answer:
        """What has changed outside, and only that: inputs that are no longer as the state says."""

    @abstractmethod
    def take_in(self, declared: Sequence[Declared]) -> Answer:
        """Imports what exists under these declarations, each by its human id."""

    @abstractmethod
    def forget(self) -> None:
        """An empty state; what was made stays."""

    @abstractmethod
    def destroy(self) -> Answer:
        """Removes everything."""

    @abstractmethod
    def values(self, label: str) -> dict[str, Any]:
        """What the state knows of one, under our names; secrets as they are."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command that applies, for a process that is killed or interrupted."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """What that command needs."""

    @property
    @abstractmethod
    def where(self) -> Path:
        """The folder in which that command runs."""

    def recover(self) -> None:  # noqa: B027  - most tools need nothing
        """What a user does after a kill, before the next run: locks of a dead process are taken away."""

    def close(self) -> None:  # noqa: B027  - most tools hold nothing
        """Gives back what it holds."""

    def written(self) -> str:
        """Every byte that it left on disk, and everything it has said."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        kept = [path for path in files if path.name not in ("declared.json", "main.tf.json", "provider.tf")]
        return "\n".join([*(path.read_text(errors="replace") for path in kept), *self.said])


PROGRAM = """
import json, pathlib
import pulumi

declared = json.loads(pathlib.Path("declared.json").read_text())
made = {}

def value_of(value):
    if isinstance(value, dict) and "$ref" in value:
        return getattr(made[value["$ref"][0]], value["$ref"][1])
    return value

"""
DYNAMIC = """
import faces

for each in declared:
    options = pulumi.ResourceOptions(custom_timeouts=each["timeouts"] and pulumi.CustomTimeouts(**each["timeouts"]))
    inputs = {name: value_of(value) for name, value in each["inputs"].items()}
    made[each["label"]] = getattr(faces, each["title"])(each["label"], opts=options, **inputs)
"""
NATIVE = """
def camel(name):
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)

class Resource(pulumi.CustomResource):
    def __init__(self, type_, label, inputs, outputs, opts):
        properties = {camel(name): None for name in outputs}
        super().__init__(type_, label, {**properties, **inputs}, opts)
        self.names = {camel(name): name for name in outputs}

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return pulumi.get(self, camel(name))

for each in declared:
    options = pulumi.ResourceOptions(
        custom_timeouts=each["timeouts"] and pulumi.CustomTimeouts(**each["timeouts"]), import_=each["import"]
    )
    inputs = {name: value_of(value) for name, value in each["wire"].items()}
    made[each["label"]] = Resource(each["type"], each["label"], inputs, each["outputs"], options)
"""


class Pulumi(Tool):
    """A Pulumi program under the embedded engine."""

    program: str

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        self.project = folder / "project"
        self.project.mkdir()
        self._begin("state")

    def _begin(self, state: str) -> None:
        self.state = self.folder / state
        self.state.mkdir()
        self._imports: dict[str, str] = {}
        (self.project / "Pulumi.yaml").write_text("name: conformance\nruntime: python\n")
        (self.project / "__main__.py").write_text(PROGRAM + self.program)

    def declare(self, declared: Sequence[Declared]) -> None:
        self._declared = list(declared)
        entries = []
        for each in declared:
            inputs = {name: self._value(value) for name, value in each.values.items()}
            if each.allow_replacement:
                inputs["allow_replacement"] = True
            entries.append(
                {
                    "label": each.label,
                    "title": each.noun.title,
                    "type": f"{PACKAGE.name}:index:{each.noun.title}",
                    "inputs": inputs,
                    "wire": _wire(each.noun, inputs),
                    "outputs": [output.name for output in each.noun.outputs],
                    "timeouts": each.seconds and dict.fromkeys(("create", "update", "delete"), f"{each.seconds}s"),
                    "import": self._imports.get(each.label),
                }
            )
        (self.project / "declared.json").write_text(json.dumps(entries))

    def _value(self, value: Any) -> Any:
        return {"$ref": [value.label, value.field]} if isinstance(value, Ref) else value

    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SPG99_", "PULUMI_"))},
            "SPG99_CP_URL": self.url,
            "SPG99_API_KEY": API_KEY,
            "PATH": f"{self._plugins()}{os.pathsep}{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(TESTS),
            "PULUMI_BACKEND_URL": f"file://{self.state}",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_HOME": str(self.folder / "home"),
        }

    def _plugins(self) -> Path:
        """A folder with the plugin of the suite's package, first on PATH."""
        folder = self.folder / "bin"
        if not folder.exists():
            folder.mkdir()
            launcher = folder / f"pulumi-resource-{PACKAGE.name}"
            launcher.write_text(
                f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(TESTS)!r})\n"
                "from conformance.package import PACKAGE\nfrom spg99.bridges.pulumi.native.process import serve\n"
                "serve(PACKAGE, sys.argv[1:])\n"
            )
            launcher.chmod(0o755)
        return folder

    def _ran(self, run: Any, **options: Any) -> Answer:
        result: Result = run(
            self.project,
            "dev",
            backend_url=f"file://{self.state}",
            env=self.environment(),
            create_stack=True,
            **options,
        )
        text = "\n".join([*(m.text for m in result.messages), *(f"{f.urn}: {f.message}" for f in result.failures)])
        self.said.append(text)
        return Answer(result.ok, text, self._steps(result))

    def _steps(self, result: Result) -> dict[str, Step]:
        nouns = {each.label: each.noun for each in self._declared}
        found: dict[str, Step] = {}
        for step in result.steps:
            label = step.urn.rsplit("::", 1)[1]
            if label not in nouns and "pulumi:" in step.urn:
                continue
            action = {"read": "same", "import": "same", "delete-replaced": "replace"}.get(
                str(step.kind), str(step.kind)
            )
            inputs = {camel(each.name): each.name for each in nouns[label].inputs} if label in nouns else {}
            paths = {line.path.split(".")[0].split("[")[0] for line in lines_of(step)}
            names = frozenset(inputs[path] for path in paths if path in inputs)
            if action in ("create", "delete") and found.get(label, Step("")).action in ("replace", "delete", "create"):
                action = "replace"
            found[label] = Step(action, names if action in ("update", "replace") else frozenset())
        return found

    def plan(self, *, refresh: bool | None = None) -> Answer:
        planned = self._ran(run_preview)
        if not refresh:
            return planned
        seen = self._ran(run_refresh, dry_run=True)
        return Answer(planned.ok and seen.ok, planned.text + seen.text, planned.steps | seen.doing)

    def apply(self) -> Answer:
        return self._ran(run_up)

    def drift(self) -> Answer:
        return self._ran(run_refresh)

    def destroy(self) -> Answer:
        return self._ran(run_destroy)

    def forget(self) -> None:
        shutil.rmtree(self.state)
        self._begin("state")

    def resources(self) -> dict[str, dict[str, Any]]:
        """The resources of the state by label, secrets opened."""
        done = subprocess.run(
            [BIN / "spg99", "stack", "export", "--show-secrets", "--stack", "dev"],
            cwd=self.project,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        return {r["urn"].rsplit("::", 1)[1]: r for r in json.loads(done.stdout)["deployment"].get("resources") or []}

    def values(self, label: str) -> dict[str, Any]:
        noun = next(each.noun for each in self._declared if each.label == label)
        names = {camel(each.name): each.name for each in (*noun.outputs, *noun.inputs)}
        outputs = self.resources()[label].get("outputs", {})
        return {names[key]: _opened(value) for key, value in outputs.items() if key in names}

    def command(self) -> list[str]:
        return [str(BIN / "spg99"), "up", "--yes", "--skip-preview", "--stack", "dev"]

    @property
    def where(self) -> Path:
        return self.project


class Dynamic(Pulumi):
    """The dynamic provider."""

    name = "dynamic"
    program = DYNAMIC

    def _begin(self, state: str) -> None:
        super()._begin(state)
        from conformance.package import faces

        (self.project / "faces.py").write_text(faces())

    def take_in(self, declared: Sequence[Declared]) -> Answer:
        self.declare(declared)
        entries = []
        for each in declared:
            entries.append(self._entry(each))
        (self.project / "import.json").write_text(json.dumps({"resources": entries}))
        environment = self.environment()
        for command in (["stack", "init", "dev"], ["import", "--yes", "--file", "import.json", "--stack", "dev"]):
            done = subprocess.run(
                [BIN / "spg99", *command],
                cwd=self.project,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        self.said.append(done.stdout + done.stderr)
        return Answer(done.returncode == 0, done.stdout + done.stderr)

    def _entry(self, declared: Declared) -> dict[str, Any]:
        """What an import file says of an object; `spg99 import-file` writes the same for the product's nouns."""
        noun, names = declared.noun, declared.noun.id_values(declared.human_id)
        answer = httpx.get(
            self.url + noun.item_path.format(**names), headers={"Authorization": f"Bearer {API_KEY}"}, timeout=10
        )
        told = {name: value for name, value in answer.raise_for_status().json().items() if name not in noun.secrets()}
        reference = {PROVIDER_KEY: provider_reference(noun.noun, "conformance.dynamic_provider")}
        return {
            "type": type_token(noun.title),
            "name": declared.label,
            "id": declared.human_id,
            "inputs": to_wire(noun.inputs, told) | reference,
            "outputs": to_wire(noun.outputs, told) | reference,
        }


class Native(Pulumi):
    """The native plugin."""

    name = "native"
    program = NATIVE

    def take_in(self, declared: Sequence[Declared]) -> Answer:
        self._imports = {each.label: each.human_id for each in declared}
        self.declare(declared)
        answer = self.apply()
        self._imports = {}
        self.declare(declared)
        return answer


class Terraform(Tool):
    """The provider under Terraform, attached to this process; OpenTofu is a subclass."""

    name = "terraform"

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        self._attached = terraform_cli.attached(PACKAGE, environment={"SPG99_API_KEY": API_KEY})
        environment = self._attached.__enter__()
        self.work = terraform_cli.Workspace(
            folder / "work",
            binary=self.binary(),
            environment=environment,
            settings={"url": url},  # the key comes from the environment, so that no file of the user's holds it
        )

    @staticmethod
    def binary() -> Path:
        """The CLI; skips the test where there is none."""
        return terraform_cli.terraform()

    def close(self) -> None:
        self._attached.__exit__(None, None, None)

    def declare(self, declared: Sequence[Declared]) -> None:
        self._declared = list(declared)
        blocks: dict[str, dict[str, Any]] = {}
        variables: dict[str, Any] = {}
        for each in declared:
            write_only = {one.name for one in each.noun.write_only()}
            attributes: dict[str, Any] = {}
            for name, value in each.values.items():
                if name in write_only:
                    # as a user would: the literal is not in the configuration, of which Terraform shows lines in errors
                    variable = f"{each.label}_{name}"
                    variables[variable] = {"type": "string", "ephemeral": True, "sensitive": True}
                    self.work.environment[f"TF_VAR_{variable}"] = value
                    attributes |= {f"{name}_wo": f"${{var.{variable}}}", f"{name}_wo_version": len(str(value))}
                else:
                    attributes[name] = self._value(value, declared)
            if each.allow_replacement:
                attributes["allow_replacement"] = True
            if each.seconds is not None:
                attributes["timeouts"] = dict.fromkeys(("create", "update", "delete"), f"{each.seconds}s")
            blocks.setdefault(f"{PACKAGE.name}_{each.noun.noun}", {})[each.label] = attributes
        parts = {"resource": blocks, "variable": variables}
        self.work.write(json.dumps({name: part for name, part in parts.items() if part}), "main.tf.json")

    def _value(self, value: Any, declared: Sequence[Declared]) -> Any:
        if isinstance(value, Ref):
            noun = next(each.noun for each in declared if each.label == value.label)
            return f"${{{PACKAGE.name}_{noun.noun}.{value.label}.{value.field}}}"
        return value

    def _planned(self, plan: terraform_cli.Plan | None, text: str) -> Answer:
        if plan is None:
            return Answer(False, text)
        steps: dict[str, Step] = {}
        for address, change in plan.changes.items():
            label = address.split(".")[1]
            noun = next((n for n in PACKAGE.nouns if address.startswith(f"{PACKAGE.name}_{n.noun}.")), None)
            inputs = {each.name for each in noun.inputs} if noun else set()
            actions = tuple(change.actions)
            action = {("no-op",): "same", ("create",): "create", ("update",): "update", ("delete",): "delete"}.get(
                actions, "replace"
            )
            seen = {name.removesuffix("_wo_version").removesuffix("_wo") for name in change.changed}
            # Everything that a user sees changing counts, but for what the system makes anew because of it.
            moved = {each.name for each in noun.outputs if set(each.moved_by) & seen} if noun else set()
            fields = (seen - moved) if action == "update" else (seen & inputs)
            steps[label] = Step(action, frozenset(fields) if action in ("update", "replace") else frozenset())
        return Answer(True, text, steps)

    def plan(self, *, refresh: bool | None = None) -> Answer:
        try:
            plan = self.work.plan(refresh=refresh is not False)
        except terraform_cli.Failed as failed:
            self.said.append(str(failed))
            return Answer(False, str(failed))
        self.said += [plan.text, json.dumps(plan.raw)]  # the file itself is compressed: a scan of it finds nothing
        return self._planned(plan, plan.text)

    def apply(self) -> Answer:
        done = self.work.apply(check=False)
        self.said.append(done.out + done.err)
        return Answer(done.code == 0, done.text)

    def drift(self) -> Answer:
        return self.plan()

    def take_in(self, declared: Sequence[Declared]) -> Answer:
        self.declare(declared)
        texts = []
        for each in declared:
            done = self.work.import_(f"{PACKAGE.name}_{each.noun.noun}.{each.label}", each.human_id, check=False)
            texts.append(done.text)
            if done.code != 0:
                return Answer(False, "\n".join(texts))
        self.said += texts
        return Answer(True, "\n".join(texts))

    def forget(self) -> None:
        for path in self.work.folder.glob("terraform.tfstate*"):
            path.unlink()

    def destroy(self) -> Answer:
        done = self.work.destroy(check=False)
        self.said.append(done.out + done.err)
        return Answer(done.code == 0, done.text)

    def values(self, label: str) -> dict[str, Any]:
        noun = next(each.noun for each in self._declared if each.label == label)
        return self.work.values(f"{PACKAGE.name}_{noun.noun}.{label}")

    def command(self) -> list[str]:
        return [str(self.work.binary), "apply", "-auto-approve", "-input=false", "-no-color"]

    def environment(self) -> dict[str, str]:
        return dict(self.work.environment)

    @property
    def where(self) -> Path:
        return self.work.folder


class OpenTofu(Terraform):
    """The same provider under OpenTofu."""

    name = "opentofu"

    @staticmethod
    def binary() -> Path:
        return terraform_cli.tofu()


def _wire(noun: Noun, values: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in values.items() if not (isinstance(value, dict) and "$ref" in value)}
    references = {camel(name): value for name, value in values.items() if name not in plain}
    own = {camel(name): value for name, value in plain.items() if noun.input_named(name) is None}
    return to_wire(noun.inputs, plain) | references | own


def _opened(value: Any) -> Any:
    if isinstance(value, dict) and "4dabf18193072939515e22adb298388d" in value:
        return json.loads(value["plaintext"]) if "plaintext" in value else value.get("value")
    return value
