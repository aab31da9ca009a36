"""What a state file holds of our objects, whichever tool wrote it. Pure. Not here: where the text comes from (sources.py).

Pulumi: what `pulumi stack export` prints, or the file of its file backend. Terraform and OpenTofu: what `state pull` or
`show -json` print, or `terraform.tfstate`. A text that is none of these, or only the beginning of one, is refused: it must never
count as a state that holds nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from spg99.bridges.pulumi.shared.declarers import stack_in
from spg99.commands.orphans.rules import Held, State
from spg99.emit.names import camel
from spg99.emit.pulumi_types import noun_of
from spg99.errors import BadRequest
from spg99.prepared import PACKAGE
from spg99.shapes import Noun

_TERRAFORM_PREFIX = f"{PACKAGE.name}_"


def read_state(text: str, *, family: str | None = None) -> State:
    """What a state holds. An empty text is an empty state where the tool is known: Terraform prints one where none was written.

    Raises BadRequest for what is no state of either tool, or of another than `family`.
    """
    if not text.strip():
        if family is None:
            raise BadRequest("The state is empty, so nobody can tell whose it is: name the tool with --for.")
        return State(family)
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The state is no JSON, or only a part of it: {str(error)[:100]}.") from None
    found = _read(raw if isinstance(raw, dict) else {})
    if found is None:
        raise BadRequest(
            "That is no state: it is neither what `pulumi stack export` nor what `terraform state pull` or `terraform show -json` "
            "prints."
        )
    if family is not None and found.family != family:
        raise BadRequest(f"That is a state of {found.family.title()}, not of {family.title()}.")
    return found


def _read(raw: Mapping[str, Any]) -> State | None:
    try:
        if "deployment" in raw:
            return _pulumi(_object(raw["deployment"]))
        if "checkpoint" in raw:
            return _pulumi(_object(_object(raw["checkpoint"]).get("latest")))
        if "encrypted_data" in raw:
            raise BadRequest("That state is encrypted (OpenTofu). Give what `tofu state pull` prints.")
        if "terraform_version" in raw and "resources" in raw and "lineage" in raw:
            return State("terraform", tuple(_terraform_file(raw["resources"])))
        if "format_version" in raw and "planned_values" not in raw:
            return State("terraform", tuple(_terraform_shown((raw.get("values") or {}).get("root_module") or {})))
    except (AttributeError, TypeError, KeyError):
        raise BadRequest("The state has another form than its tool writes; nothing was concluded from it.") from None
    return None


def _object(value: Any) -> Mapping[str, Any]:
    """A stack without resources may say null."""
    if value is not None and not isinstance(value, dict):
        raise TypeError
    return value or {}


def _pulumi(deployment: Mapping[str, Any]) -> State:
    resources: list[Mapping[str, Any]] = deployment.get("resources") or []
    operations: list[Mapping[str, Any]] = deployment.get("pending_operations") or []
    urns = tuple(str(each["urn"]) for each in resources)
    pending = [str(each["resource"]["urn"]) for each in operations if each.get("type") == "creating"]
    interrupted = [str(each["resource"]["urn"]) for each in operations if each.get("type") in ("updating", "deleting")]
    stacks = dict.fromkeys(found for urn in (*urns, *pending) if (found := stack_in(urn)) is not None)
    return State(
        "pulumi",
        tuple(_pulumi_held(resources)),
        tuple(stacks),
        pending=tuple(pending),
        interrupted=tuple(interrupted),
        urns=urns,
    )


def _pulumi_held(resources: Iterable[Mapping[str, Any]]) -> Iterator[Held]:
    for each in resources:
        noun = noun_of(PACKAGE, str(each.get("type") or ""))
        if noun is not None:
            outputs = each.get("outputs") or {}
            yield _held(noun, outputs.get(camel(noun.uid_field)), each.get("id"))


def _terraform_file(resources: Iterable[Mapping[str, Any]]) -> Iterator[Held]:
    for each in resources:
        noun = _noun_of_terraform(each)
        for instance in each["instances"] if noun is not None else ():
            values = instance.get("attributes") or {}
            assert noun is not None
            yield _held(noun, values.get(noun.uid_field), values.get("id"))


def _terraform_shown(module: Mapping[str, Any]) -> Iterator[Held]:
    for each in module.get("resources") or ():
        if (noun := _noun_of_terraform(each)) is not None:
            values = each.get("values") or {}
            yield _held(noun, values.get(noun.uid_field), values.get("id"))
    for child in module.get("child_modules") or ():
        yield from _terraform_shown(child)


def _noun_of_terraform(resource: Mapping[str, Any]) -> Noun | None:
    name = str(resource["type"])
    if resource.get("mode") != "managed" or not name.startswith(_TERRAFORM_PREFIX):
        return None
    return PACKAGE.noun_named(name.removeprefix(_TERRAFORM_PREFIX))


def _held(noun: Noun, uid: Any, human_id: Any) -> Held:
    """Encrypted values are objects, not texts: they tell nothing."""
    return Held(
        noun.noun,
        uid if isinstance(uid, str) and uid else None,
        human_id if isinstance(human_id, str) and human_id else None,
    )
