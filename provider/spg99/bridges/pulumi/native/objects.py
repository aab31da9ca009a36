"""Create, Read, Update, Delete and List: the calls that reach the Control Plane. Not here: how (bridges/shared/operations.py).

Each takes a request's property values and answers such; Unfinished passes through, with what to keep of the object.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from spg99.bridges.pulumi.native.checks import without_ignored
from spg99.bridges.pulumi.native.properties import (
    AUTONAMED,
    Properties,
    changed_outputs,
    inputs_from,
    inputs_to,
    outputs_from,
    outputs_to,
    planned_outputs,
)
from spg99.bridges.pulumi.native.wire import revealed
from spg99.bridges.pulumi.shared.declarers import declarer_of
from spg99.bridges.pulumi.shared.naming import from_wire, wire_path
from spg99.bridges.shared import changes
from spg99.bridges.shared.changes import own_inputs
from spg99.bridges.shared.inputs import check_fields
from spg99.bridges.shared.objects import Created, Held
from spg99.bridges.shared.operations import Operations, Progress
from spg99.declarer import Declarer
from spg99.emit.names import camel
from spg99.errors import BadRequest, Conflict
from spg99.shapes import Noun


class Found(NamedTuple):
    """An object that was read."""

    human_id: str
    outputs: dict[str, Any]
    inputs: dict[str, Any]


def preview_create(noun: Noun, properties: Properties) -> dict[str, Any]:
    """The outputs of a create as far as they are known before it.

    The id stays unknown, even where the inputs say it: Pulumi's SDKs take a known id as a sign that the object exists, and
    would look it up in the preview, where `get...(name=app.name)` comes after `app` in the program.
    """
    return outputs_to(noun, planned_outputs(noun, inputs_from(noun, properties)), like=properties)


async def create(
    operations: Operations,
    noun: Noun,
    properties: Properties,
    *,
    urn: str,
    held: Held | None,
    seconds_max: float | None,
    progress: Progress,
) -> Created:
    """Creates the object and waits until it is settled. `held` is what the state has for this URN."""
    return await operations.create(
        noun,
        inputs_from(noun, properties),
        declaration=urn,
        declarer=_declarer(urn),
        held=held,
        seconds_max=seconds_max,
        progress=progress,
    )


def preview_update(
    noun: Noun, *, olds: Properties, old_inputs: Properties, news: Properties, ignored: Sequence[str]
) -> dict[str, Any]:
    """The outputs of an update as far as they are known before it. Raises Conflict where it would need a replacement."""
    old, _, _, found = _update(noun, olds, old_inputs, news, ignored)
    return outputs_to(noun, changed_outputs(noun, old, {change.field: change.new for change in found}), like=news)


async def update(
    operations: Operations,
    noun: Noun,
    human_id: str,
    *,
    urn: str,
    olds: Properties,
    old_inputs: Properties,
    news: Properties,
    ignored: Sequence[str],
    seconds_max: float | None,
    progress: Progress,
) -> dict[str, Any]:
    """Changes the object in place and waits until it is settled; answers its outputs. Raises Conflict as the preview does."""
    old, wanted, wrote, _ = _update(noun, olds, old_inputs, news, ignored)
    values = await operations.update(
        noun,
        human_id,
        old=old,
        new_inputs=wanted,
        old_inputs=wrote,
        declarer=_declarer(urn),
        seconds_max=seconds_max,
        progress=progress,
    )
    return outputs_to(noun, values, like=news)


def _update(
    noun: Noun, olds: Properties, old_inputs: Properties, news: Properties, ignored: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None, list[changes.Change]]:
    """Old outputs, new and old inputs, and what changes."""
    old = outputs_from(noun, olds)
    wanted, wrote = without_ignored(noun, olds, old_inputs, news, ignored)
    found = changes.diff(noun, old_outputs=old, new_inputs=wanted, old_inputs=wrote)
    if (sentence := changes.refused_update(noun, found, old, wanted, spelling=camel)) is not None:
        raise Conflict(sentence)
    return old, wanted, wrote, found


async def read(
    operations: Operations,
    noun: Noun,
    human_id: str,
    *,
    urn: str,
    state: Properties,
    inputs: Properties,
    seconds_max: float | None,
) -> Found | None:
    """The object as it is now, for a refresh, a `get` or an import; None when it is gone.

    Only a refresh knows its uid; the others bring the id alone, or the program's inputs in place of the state.
    """
    old = outputs_from(noun, state)
    is_refresh = noun.uid_field in old
    wrote = inputs_from(noun, inputs) if is_refresh and inputs else None
    found = await operations.read(
        noun,
        human_id,
        old=old if is_refresh else {},
        old_inputs=wrote,
        declarer=_declarer(urn),
        seconds_max=seconds_max,
    )
    if found is None:
        return None
    own = {name: wrote[name] for name in own_inputs(noun) if wrote is not None and name in wrote}
    read_inputs = inputs_to(noun, found.inputs | own, like=inputs)
    if is_refresh and AUTONAMED in inputs:
        read_inputs[AUTONAMED] = inputs[AUTONAMED]
    like = {**inputs, **state} if is_refresh else inputs
    return Found(found.human_id, outputs_to(noun, found.values, like=like), read_inputs)


async def delete(
    operations: Operations,
    noun: Noun,
    human_id: str,
    *,
    olds: Properties,
    seconds_max: float | None,
    progress: Progress,
) -> None:
    """Deletes the object and waits until it is gone; one that is gone is a success."""
    await operations.delete(noun, human_id, old=outputs_from(noun, olds), seconds_max=seconds_max, progress=progress)


async def find(operations: Operations, noun: Noun, query: Properties, limit: int) -> list[tuple[str, str]]:
    """Id and name of all objects that a query (the `listInputs` of the schema) finds, at most `limit` unless that is 0."""
    from spg99.emit.pulumi_schema import filters  # few runs list anything, and every run starts this process

    if not noun.plural:
        raise BadRequest(f"There is no list of {noun.noun.replace('_', ' ')} objects.")
    fields = filters(noun)
    plain = {key: revealed(value) for key, value in query.items() if not key.startswith("__")}
    checked = check_fields(fields, from_wire(fields, plain), what=f"list of {noun.plural}", spelling=camel)
    if checked.failures:
        sentences = {wire_path(failure.path, fields): failure.reason for failure in checked.failures}
        raise BadRequest(f"The {noun.plural.replace('_', ' ')} cannot be listed.", fields=sentences)
    given = dict(checked.inputs)
    path = {name: given.pop(name) for name in noun.path_fields()}
    found = await operations.find_all(noun, path, given)
    named = [(noun.id_of(item), _name_of(noun, item)) for item in found]
    return named[:limit] if limit > 0 else named


def _declarer(urn: str) -> Declarer | None:
    return declarer_of("pulumi-native", urn, os.environ)


def _name_of(noun: Noun, values: Mapping[str, Any]) -> str:
    return str(values.get("name") or noun.id_of(values))
