"""The file that `pulumi import --file` (and `spg99 import`) takes: existing objects, ready to go into a stack's state.

Pulumi cannot import a dynamic resource by its id alone: the provider is named in the very properties that are not known
yet. An entry that carries inputs and outputs is taken as it is. Secrets are left out of the file; the next
`pulumi refresh` reads them into the state, encrypted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spg99.bridges.pulumi.dynamic.reference import PROVIDER_KEY, provider_reference, type_token
from spg99.bridges.pulumi.shared.naming import to_wire
from spg99.emit.shapes import noun_of
from spg99.resources import Resource


def import_file(objects: Iterable[Resource], *, names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The file's content. `names` gives the resource's name in the program by human id; default `acme/app` -> `acme-app`."""
    return {"resources": [_entry(item, names or {}) for item in objects]}


def write_import_file(
    path: Path, objects: Iterable[Resource], *, names: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Writes the file and answers its content."""
    content = import_file(objects, names=names)
    path.write_text(json.dumps(content, indent=2) + "\n")
    return content


def _entry(item: Resource, names: Mapping[str, str]) -> dict[str, Any]:
    noun = noun_of(type(item))
    values = item.model_dump(mode="json")
    human_id = noun.id_of(values)
    secrets = noun.secrets()
    known = {name: value for name, value in values.items() if name not in secrets}
    reference = {PROVIDER_KEY: provider_reference(noun.noun)}
    return {
        "type": type_token(noun.title),
        "name": names.get(human_id) or re.sub(r"[^A-Za-z0-9_.-]", "-", human_id),
        "id": human_id,
        "inputs": to_wire(noun.inputs, known) | reference,
        "outputs": to_wire(noun.outputs, known) | reference,
    }
