"""A YAML program as what it declares. Here: sections, keys, names, and every mistake that the text alone shows. Not here: values
(evaluate.py), configuration (settings.py), registering (run.py)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from spg99.engine.yaml_program.expressions import (
    Expression,
    Reference,
    check_keys,
    invokes,
    parse,
    references,
    token,
)
from spg99.engine.yaml_program.settings import Setting, declared
from spg99.engine.yaml_program.source import Node, Place, Problem, did_you_mean, read
from spg99.errors import BadRequest

_FILES = ("Main.yaml", "Main.yml", "Main.json", "Pulumi.yaml", "Pulumi.yml", "Pulumi.json")
_PROGRAM_KEYS = {"config", "configuration", "variables", "resources", "outputs", "packages", "components"}
_PROJECT_KEYS = {
    *("name", "runtime", "description", "main", "author", "website", "license", "backend", "options", "template"),
    *("plugins", "stackConfigDir", "requiredPulumiVersion"),
}
_RESOURCE_KEYS = {"type", "name", "properties", "options", "get", "defaultProvider"}
_OPTIONS = {
    *("additionalSecretOutputs", "aliases", "customTimeouts", "deleteBeforeReplace", "deletedWith", "dependsOn"),
    *("ignoreChanges", "import", "parent", "pluginDownloadURL", "protect", "provider", "replaceOnChanges"),
    *("replacementTrigger", "retainOnDelete", "version"),
}
_REFUSED_OPTIONS = {"providers", "replaceWith", "hideDiffs", "envVarMappings", "hooks", "transforms"}
_TIMEOUTS = {"create", "update", "delete", "read"}
_GET_KEYS = {"id", "state"}
PULUMI = ("cwd", "organization", "project", "rootDirectory", "stack")
"""what `${pulumi.…}` knows"""


@dataclass(frozen=True)
class Declared:
    """One resource, or one that is only read (`get_id`)."""

    key: str
    name: str
    type: str
    place: Place
    properties: Expression | None
    options: dict[str, Expression]
    get_id: Expression | None
    get_state: Expression | None
    default_provider: bool

    def expressions(self) -> Iterator[Expression]:
        """Everything in it that must be evaluated."""
        for found in (self.properties, self.get_id, self.get_state, *self.options.values()):
            if found is not None:
                yield found


@dataclass
class Program:
    """All that a program declares."""

    file: Path
    settings: dict[str, Setting] = field(default_factory=dict)
    variables: dict[str, Expression] = field(default_factory=dict)
    resources: dict[str, Declared] = field(default_factory=dict)
    outputs: dict[str, Expression] = field(default_factory=dict)

    def needs(self, name: str) -> set[str]:
        """Names of the variables and resources that must be settled before this one."""
        found = self.resources.get(name)
        expressions = list(found.expressions()) if found else [self.variables[name]]
        needed = {r.name for e in expressions for r in references(e)}
        used = {call.token for e in expressions for call in invokes(e) if "provider" not in call.options}
        if found is not None and "provider" not in found.options and not found.type.startswith("pulumi:"):
            used.add(found.type)
        packages = {name.split(":")[0] for name in used}
        needed |= {r.key for r in self.default_providers() if r.type.removeprefix("pulumi:providers:") in packages}
        return (needed - {name}) & (self.variables.keys() | self.resources.keys())

    def default_providers(self) -> list[Declared]:
        """Providers that serve their package wherever no other is named."""
        return [r for r in self.resources.values() if r.default_provider]


def load(project_file: Path, folder: Path) -> Program:
    """The program of a project: `Main.yaml` of its folder, else Pulumi.yaml itself. Raises BadRequest with every mistake."""
    file = next((folder / name for name in _FILES if (folder / name).is_file()), project_file)
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{file} cannot be read: {error}") from error
    return _Reading(file).program(read(text, file.name))


class _Reading:
    """Collects what is declared and what is wrong."""

    def __init__(self, file: Path) -> None:
        self.found = Program(file)
        self.problems: list[Problem] = []
        self.places: dict[str, Place] = {}

    def program(self, root: Node) -> Program:
        """The whole. Raises BadRequest with one line for each mistake."""
        if not isinstance(root.value, dict):
            raise Problem(root.place, "A program is a mapping with `resources`, `variables` and `outputs`.")
        self._keys(root, _PROGRAM_KEYS | _PROJECT_KEYS, "a program")
        for section, what in (("packages", "parameterized packages"), ("components", "components written in YAML")):
            if section in root.value and root.value[section].value:
                self._refuse(root.key_places[section], what)
        for section in ("config", "configuration"):
            for key, node, place in self._entries(root, section):
                if ":" not in key:  # with a namespace it configures a provider
                    self._claim(key, place)
                    self._try(lambda k=key, n=node: self.found.settings.update({k: declared(k, n)}))
        for key, node, place in self._entries(root, "variables"):
            self._claim(key, place)
            self._try(lambda k=key, n=node: self.found.variables.update({k: parse(n)}))
        for key, node, place in self._entries(root, "resources"):
            self._claim(key, place)
            self._try(lambda k=key, n=node, p=place: self._resource(k, n, p))
        for key, node, _ in self._entries(root, "outputs"):
            self._try(lambda k=key, n=node: self.found.outputs.update({k: parse(n)}))
        self._check_references()
        if not self.problems:
            self._check_order()
        if self.problems:
            ordered = sorted(self.problems, key=lambda p: [int(n) for n in p.message.split(":", 3)[1:3]])
            raise BadRequest("\n".join(p.message for p in ordered))
        return self.found

    def _try(self, read_one: object) -> None:
        assert callable(read_one)
        try:
            read_one()
        except Problem as problem:
            self.problems.append(problem)

    def _keys(self, node: Node, known: set[str], what: str) -> None:
        assert isinstance(node.value, dict)
        for key in node.value:
            if key not in known:
                hint = did_you_mean(key, known)
                self.problems.append(Problem(node.key_places[key], f"`{key}` is not known in {what}.{hint}"))

    def _refuse(self, place: Place, what: str) -> None:
        text = f"The embedded engine does not do {what}. Use the Pulumi CLI for this program."
        self.problems.append(Problem(place, text))

    def _entries(self, root: Node, section: str) -> Iterator[tuple[str, Node, Place]]:
        assert isinstance(root.value, dict)
        node = root.value.get(section)
        if node is None or node.value is None:
            return
        if not isinstance(node.value, dict):
            self.problems.append(Problem(node.place, f"`{section}` must be a mapping of names."))
            return
        for key, value in node.value.items():
            yield key, value, node.key_places[key]

    def _claim(self, name: str, place: Place) -> None:
        if name == "pulumi":
            self.problems.append(Problem(place, "`pulumi` is the language's own name; choose another."))
        elif name in self.places:
            text = (
                f"`{name}` is declared twice; first in line {self.places[name].line}. Names hold for the whole program."
            )
            self.problems.append(Problem(place, text))
        self.places.setdefault(name, place)

    def _resource(self, key: str, node: Node, place: Place) -> None:
        if not isinstance(node.value, dict):
            raise Problem(node.place, f"The resource `{key}` must be a mapping with a `type`.")
        self._keys(node, _RESOURCE_KEYS, f"the resource `{key}`")
        parts = node.value
        if "type" not in parts and parts.keys() - _RESOURCE_KEYS:
            return  # a slip in that very word, most likely
        type_ = _plain_text(parts.get("type"), node, f"The resource `{key}` needs a `type` such as `spg99:Database`.")
        if type_.count(":") not in (1, 2):
            raise Problem(parts["type"].place, f"`{type_}` is no type; write `package:Name` or `package:module:Name`.")
        name = _plain_text(parts["name"], node, "`name` must be plain text.") if "name" in parts else key
        options = self._options(key, parts["options"]) if "options" in parts else {}
        get_id = get_state = None
        if (get := parts.get("get")) is not None:
            if not isinstance(get.value, dict) or "id" not in get.value:
                raise Problem(get.place, "`get` needs an `id`.")
            self._keys(get, _GET_KEYS, "`get`")
            if "properties" in parts:
                raise Problem(parts["properties"].place, f"`{key}` is only read (`get`): it has no `properties`.")
            get_id = parse(get.value["id"])
            get_state = parse(get.value["state"]) if "state" in get.value else None
        serves_all = parts.get("defaultProvider")
        if serves_all is not None and not isinstance(serves_all.value, bool):
            raise Problem(serves_all.place, "`defaultProvider` is true or false.")
        default_provider = serves_all is not None and bool(serves_all.value)
        if default_provider and not type_.startswith("pulumi:providers:"):
            raise Problem(
                node.key_places["defaultProvider"], "Only a provider (`pulumi:providers:…`) can be a default one."
            )
        self.found.resources[key] = Declared(
            key=key,
            name=name,
            type=token(type_),
            place=place,
            properties=parse(parts["properties"]) if "properties" in parts else None,
            options=options,
            get_id=get_id,
            get_state=get_state,
            default_provider=default_provider,
        )

    def _options(self, key: str, node: Node) -> dict[str, Expression]:
        if not isinstance(node.value, dict):
            raise Problem(node.place, "`options` must be a mapping.")
        for name in _REFUSED_OPTIONS & node.value.keys():
            self._refuse(node.key_places[name], f"the option `{name}` of YAML programs")
        self._keys(node, _OPTIONS | _REFUSED_OPTIONS, f"the options of `{key}`")
        timeouts = node.value.get("customTimeouts")
        if timeouts is not None:
            if not isinstance(timeouts.value, dict):
                raise Problem(timeouts.place, "`customTimeouts` is a mapping such as `create: 5m`.")
            check_keys(timeouts, _TIMEOUTS, "`customTimeouts`")
        return {name: parse(value) for name, value in node.value.items() if name in _OPTIONS}

    def _check_references(self) -> None:
        """Every name that is used must be declared."""
        found = self.found
        expressions = [*found.variables.values(), *found.outputs.values()]
        expressions += [e for r in found.resources.values() for e in r.expressions()]
        for expression in expressions:
            for reference in references(expression):
                self._check_reference(reference)

    def _check_reference(self, reference: Reference) -> None:
        if reference.name == "pulumi":
            if len(reference.steps) != 1 or reference.steps[0] not in PULUMI:
                asked = str(reference.steps[0]) if reference.steps else ""
                self.problems.append(
                    Problem(reference.place, f"{reference} is not known.{did_you_mean(asked, PULUMI)}")
                )
        elif reference.name not in self.places:
            hint = did_you_mean(reference.name, self.places)
            self.problems.append(Problem(reference.place, f"{reference}: nothing is called `{reference.name}`.{hint}"))

    def _check_order(self) -> None:
        """Nothing may need itself."""
        done: set[str] = set()
        for start in (*self.found.variables, *self.found.resources):
            path: list[str] = []
            waiting: list[tuple[str, Iterator[str]]] = []
            if start not in done:
                path, waiting = [start], [(start, iter(sorted(self.found.needs(start))))]
            while waiting:
                name, rest = waiting[-1]
                following = next((n for n in rest if n not in done), None)
                if following is None:
                    done.add(name)
                    waiting.pop()
                    path.pop()
                elif following in path:
                    circle = " -> ".join([*path[path.index(following) :], following])
                    self.problems.append(Problem(self.places[following], f"`{following}` needs itself: {circle}."))
                    return
                else:
                    path.append(following)
                    waiting.append((following, iter(sorted(self.found.needs(following)))))


def _plain_text(node: Node | None, owner: Node, otherwise: str) -> str:
    if node is None or not isinstance(node.value, str) or not node.value or "${" in node.value:
        raise Problem(node.place if node else owner.place, otherwise)
    return node.value
