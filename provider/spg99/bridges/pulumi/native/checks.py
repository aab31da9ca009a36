"""Check and Diff: what is wrong with what a program says, and what would change. Decides only; asks nobody.

Not here: one value or one noun's rules (bridges/shared/inputs.py), what differs (bridges/shared/changes.py); those are the same in every tool.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from spg99.bridges.pulumi.native import messages
from spg99.bridges.pulumi.native.autonaming import NAME, name_field, name_for
from spg99.bridges.pulumi.native.ignoring import leave_as_is
from spg99.bridges.pulumi.native.properties import (
    AUTONAMED,
    Properties,
    inputs_from,
    inputs_to,
    outputs_from,
)
from spg99.bridges.pulumi.shared.naming import wire_path
from spg99.bridges.shared import changes, inputs, values
from spg99.bridges.shared.changes import own_inputs
from spg99.bridges.shared.unknown import UNKNOWN, Unknown
from spg99.emit.names import camel
from spg99.errors import BadRequest
from spg99.shapes import Noun, Type

Failed = tuple[str, str]
"""A property's path and what is wrong with it."""


class Checked(NamedTuple):
    """The answer to Check."""

    inputs: dict[str, Any]
    """Property values, completed."""
    failures: list[Failed]
    warnings: list[Failed]


class Naming(NamedTuple):
    """What a name can be made of, where the program gives none."""

    declared: str = ""
    urn: str = ""
    seed: bytes = b""
    options: Any = None


def check(noun: Noun, news: Properties, olds: Properties, naming: Naming, old_outputs: Properties = {}) -> Checked:  # noqa: B006
    """All that is wrong with the inputs at once, whether data would be lost, and the inputs completed."""
    wanted = inputs_from(noun, news)
    own = {name: wanted.pop(name) for name in own_inputs(noun) if name in wanted}
    failures: list[Failed] = []
    autonamed = list(_named(noun, wanted, inputs_from(noun, olds), olds, naming, failures))
    checked = inputs.check(noun, wanted, spelling=camel)
    unnamed = any(path == camel(NAME) for path, _ in failures)
    failures += [
        (wire_path(failure.path, noun.inputs), failure.reason)
        for failure in checked.failures
        if not (unnamed and failure.path == (NAME,))
    ]
    failures += [
        (camel(name), "must be true or false")
        for name, value in own.items()
        if not isinstance(value, bool | Unknown | None)
    ]
    refused = changes.refused_replacements(
        noun,
        old_inputs=inputs_from(noun, olds),
        new_inputs=checked.inputs | own,
        old_outputs=outputs_from(noun, old_outputs),
        spelling=camel,
    )
    failures += [(camel(name), sentence) for name, sentence in refused.items()]
    known = noun.input_fields()
    strangers = {name: value for name, value in wanted.items() if name not in known}
    completed = inputs_to(noun, checked.inputs | strangers | own, like=news)
    if autonamed:
        completed[AUTONAMED] = autonamed
    warnings = [(wire_path(warning.path, noun.inputs), warning.reason) for warning in checked.warnings]
    return Checked(completed, failures, warnings)


def _named(
    noun: Noun, wanted: dict[str, Any], old: dict[str, Any], olds: Properties, naming: Naming, failures: list[Failed]
) -> Iterator[str]:
    """Fills in a name that the program left out; yields the inputs whose value we made."""
    if name_field(noun) is None or wanted.get(NAME) is not None:
        return
    if old.get(NAME) is not None:
        # Another name would be another object: the one it has stays, whoever chose it.
        wanted[NAME] = old[NAME]
        if camel(NAME) in (olds.get(AUTONAMED) or ()):
            yield camel(NAME)
        return
    try:
        wanted[NAME] = name_for(
            noun, declared=naming.declared, urn=naming.urn, seed=naming.seed, options=naming.options
        )
    except BadRequest as refusal:
        failures.append((camel(NAME), str(refusal)))
        return
    yield camel(NAME)


class Difference(NamedTuple):
    """The answer to Diff."""

    details: dict[str, tuple[int, bool]]
    """By path: the kind of the change, and whether old and new inputs show it (else the old output does)."""
    fields: list[str]
    """Properties that change."""
    replaces: list[str]
    stables: list[str]
    deletes_first: bool


def diff(
    noun: Noun, *, olds: Properties, old_inputs: Properties, news: Properties, ignored: Sequence[str]
) -> Difference:
    """What differs from what the Control Plane last answered.

    A replacement that is refused is told as an update, which Update then refuses (refused_update). An error here would make
    a refresh fail as well: it asks the same question to show what happened outside.
    """
    outputs = outputs_from(noun, olds)
    wanted, wrote = without_ignored(noun, olds, old_inputs, news, ignored)
    found = changes.diff(noun, old_outputs=outputs, new_inputs=wanted, old_inputs=wrote)
    refused = changes.refused_update(noun, found, outputs, wanted, spelling=camel)
    replaces = [] if refused else [change.field for change in found if change.replaces]
    details: dict[str, tuple[int, bool]] = {}
    for change in found:
        field = noun.input_fields()[change.field]
        new = wanted.get(change.field) if change.new is UNKNOWN else change.new
        written = wrote is not None and not values.same(field.type, wrote.get(change.field), new)
        for path, kind in _details(field.type, change.old, new, (change.field,)):
            details[wire_path(path, noun.inputs)] = (kind + 1 if change.field in replaces else kind, written)
    autonamed = camel(NAME) in (news.get(AUTONAMED) or ())
    return Difference(
        details,
        [camel(change.field) for change in found],
        [camel(name) for name in replaces],
        stables=[camel(name) for name in stable_outputs(noun)],
        # A name of our making is another one for the new object, so the old one can wait until that stands.
        deletes_first=not autonamed and changes.deletes_before_replace(noun, found),
    )


def stable_outputs(noun: Noun) -> list[str]:
    """Outputs that no update changes."""
    immutable = [field.name for field in noun.inputs if field.immutable]
    return [field.name for field in noun.outputs if field.name == noun.uid_field or field.name in immutable]


def without_ignored(
    noun: Noun, olds: Properties, old_inputs: Properties, news: Properties, ignored: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """New and old inputs under our names, such that what the user wants ignored is no difference."""
    wrote: dict[str, Any] | None = dict(old_inputs) or None
    wanted, wrote = leave_as_is(ignored, wanted=dict(news), wrote=wrote, actual=dict(olds))
    return inputs_from(noun, wanted), None if wrote is None else inputs.whole(inputs_from(noun, wrote))


def _details(
    type_: Type, old: Any, new: Any, path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """Each place inside a value that differs, and how."""
    if isinstance(old, dict) and isinstance(new, dict) and type_.kind in ("map", "object"):
        # A field of an object that is left out equals its default.
        fields = {field.name: field for field in type_.fields if not field.volatile}
        held = {name: field.default for name, field in fields.items()}
        for key in sorted({*old, *new, *held}) if type_.kind == "map" else fields:
            inner = fields[key].type if key in fields else type_.of or Type("text")
            was, wants = (held.get(key) if items.get(key) is None else items[key] for items in (old, new))
            yield from _details_at(inner, was, wants, (*path, key))
    elif isinstance(old, list) and isinstance(new, list) and not type_.unordered:
        for at in range(max(len(old), len(new))):
            was, wants = (items[at] if at < len(items) else None for items in (old, new))
            yield from _details_at(type_.of or Type("text"), was, wants, (*path, at))
    elif old is None:
        yield path, messages.ADD
    elif new is None:
        yield path, messages.DELETE
    else:
        yield path, messages.UPDATE


def _details_at(
    type_: Type, old: Any, new: Any, path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], int]]:
    if not values.same(type_, old, new):
        yield from _details(type_, old, new, path)
