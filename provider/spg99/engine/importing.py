"""Taking existing resources into the state by a list (`import`). Here: the list and recording it. Not here: the option
`import_` of a program (registration.py).

The file is that of `pulumi import --file`: `{"resources": [{"type", "name", "id", "parent"?, "provider"?, "inputs"?,
"outputs"?}], "nameTable": {...}}`. An entry with `inputs` and `outputs` is recorded as it is; others are read from the provider.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from spg99.engine.decide import Kind
from spg99.engine.events import Listener, Result
from spg99.engine.failure import StepFailed
from spg99.engine.operations import running
from spg99.engine.providers import Providers
from spg99.engine.run import Options, Run
from spg99.engine.state import Resource, check_depth, now, unseal
from spg99.engine.twins import refused_import
from spg99.engine.urns import DYNAMIC_PACKAGES, STACK_TYPE, make, package_of
from spg99.engine.values import Props, keep_secrecy, lower
from spg99.engine.workspace import Workspace
from spg99.errors import BadRequest


@dataclass(frozen=True)
class Entry:
    """One resource to import. `parent` and `provider` are URNs."""

    type: str
    name: str
    id: str = ""
    parent: str = ""
    provider: str = ""
    component: bool = False
    inputs: Props | None = None
    outputs: Props | None = None
    properties: list[str] = field(default_factory=list)
    """inputs to keep; empty: all that the provider gives"""


def parse(text: str) -> list[Entry]:
    """The entries of an import file. Raises BadRequest that names the entry that is wrong."""
    try:
        raw = json.loads(text)
        check_depth(raw, "The import file")
        table: dict[str, str] = raw.get("nameTable") or {}
        resources = raw["resources"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadRequest("An import file is a JSON object with a list `resources`.") from error
    entries = []
    for number, item in enumerate(resources):
        if not isinstance(item, dict) or not item.get("type") or not item.get("name"):
            raise BadRequest(f"Entry {number} of the import file needs `type`, `name` and `id`.")
        if not item.get("id") and not item.get("component"):
            raise BadRequest(f"Entry {number} of the import file ({item['name']}) needs an `id`.")
        urns = {}
        for key in ("parent", "provider"):
            if (named := item.get(key)) is not None:
                if named not in table:
                    raise BadRequest(
                        f"Entry {number} of the import file names the {key} '{named}'; `nameTable` must give its URN."
                    )
                urns[key] = table[named]
        entries.append(
            Entry(
                type=item["type"],
                name=item["name"],
                id=item.get("id", ""),
                component=bool(item.get("component")),
                inputs=item.get("inputs"),
                outputs=item.get("outputs"),
                properties=list(item.get("properties") or []),
                **urns,
            )
        )
    return entries


def import_all(workspace: Workspace, options: Options, entries: list[Entry], listener: Listener) -> Result:
    """Records every entry, or those until the first that cannot be."""
    with running(workspace, options, listener) as (run, providers):
        root = make(run.stack, run.project.name, STACK_TYPE, f"{run.project.name}-{run.stack}")
        for entry in entries:
            if run.stop.is_set():
                break
            _import_one(run, providers, entry, root)
    return run.result


def _record_root(run: Run, urn: str) -> None:
    """The stack's own resource, which everything without a parent belongs to, is there before the first of them."""
    if urn not in run.olds:
        root = run.olds[urn] = Resource(urn, STACK_TYPE, custom=False, created=now(), modified=now())
        run.snapshot.end(done=root, write=False)


def _import_one(run: Run, providers: Providers, entry: Entry, root: str) -> None:
    parent = entry.parent or root
    urn = make(run.stack, run.project.name, entry.type, entry.name, parent)
    try:
        with run.step(Kind.IMPORT, urn) as outcome:
            if (old := run.olds.get(urn)) is not None:
                if old.id == entry.id:
                    return
                raise StepFailed(f"The state has it already, with the id '{old.id}'.")
            resource = (
                _component(urn, entry, parent) if entry.component else _custom(run, providers, urn, entry, parent)
            )
            if holder := run.claim_import(resource):
                raise StepFailed(refused_import(resource, holder))
            _record_root(run, root)
            outcome.new = run.olds[urn] = resource
            run.dirty = True
            run.snapshot.end(done=resource)
    except StepFailed as error:
        run.fail(error.message, urn)


def _component(urn: str, entry: Entry, parent: str) -> Resource:
    return Resource(urn, entry.type, custom=False, parent=parent, created=now(), modified=now())


def _custom(run: Run, providers: Providers, urn: str, entry: Entry, parent: str) -> Resource:
    if entry.provider:
        found = run.olds.get(entry.provider)
        if found is None:
            raise StepFailed(f"Its provider {entry.provider} is not in the state.")
        reference = found.reference
    else:
        reference = providers.default_for(entry.type)
    id_, inputs, outputs = entry.id, _values(entry.inputs), _values(entry.outputs)
    if inputs is None or outputs is None:
        if package_of(entry.type) in DYNAMIC_PACKAGES:
            raise StepFailed("A dynamic resource is imported by a file whose entry has `inputs` and `outputs`.")
        read = providers.get(reference).read(urn, entry.id, None, None)
        if read is None:
            raise StepFailed(f"There is nothing to import with the id '{entry.id}'.")
        id_, inputs, outputs = read
        if inputs is None:
            raise StepFailed(f"The provider '{package_of(entry.type)}' cannot import a {entry.type}.")
        if entry.properties:
            inputs = {key: value for key, value in inputs.items() if key in entry.properties}
    return Resource(
        urn,
        entry.type,
        id=id_,
        inputs=inputs,
        outputs=keep_secrecy(outputs, inputs),
        parent=parent,
        provider=reference,
        import_id=entry.id,
        created=now(),
        modified=now(),
    )


def _values(props: Any) -> Props | None:
    """Properties as the file has them: secrets may be wire secrets or hold their JSON text as `plaintext`."""
    return None if props is None else lower(unseal(props, lambda text: text))
