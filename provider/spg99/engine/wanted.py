"""What a program registers, in the engine's words. Here: from the request to values, and old names. Not here: acting on it (registration.py)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spg99.engine.decide import Goal
from spg99.engine.failure import StepFailed
from spg99.engine.state import Resource
from spg99.engine.urns import STACK_TYPE, make, name_of, qualified_type, type_of
from spg99.engine.values import Props, Value, from_struct, from_value, lower

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Alias:
    """An earlier name: a URN, or what differs from the present one."""

    urn: str = ""
    name: str = ""
    type: str = ""
    stack: str = ""
    project: str = ""
    parent: str = ""
    no_parent: bool = False


@dataclass(frozen=True)
class Wanted:
    """A resource as the program wants it."""

    urn: str
    type: str
    name: str
    custom: bool
    parent: str
    inputs: Props
    goal: Goal
    provider: str = ""
    version: str = ""
    plugin_url: str = ""
    dependencies: list[str] = field(default_factory=list)
    property_dependencies: dict[str, list[str]] = field(default_factory=dict)
    ignore_changes: list[str] = field(default_factory=list)
    secret_outputs: list[str] = field(default_factory=list)
    retain_on_delete: bool = False
    deleted_with: str = ""
    timeouts: dict[str, float] = field(default_factory=dict)
    aliases: list[Alias] = field(default_factory=list)

    def resource(self, provider: str, inputs: Props, **rest: Any) -> Resource:
        """The resource it becomes."""
        return Resource(
            urn=self.urn,
            type=self.type,
            custom=self.custom,
            inputs=inputs,
            parent=self.parent,
            provider=provider,
            dependencies=self.dependencies,
            property_dependencies=self.property_dependencies,
            protect=self.goal.protect,
            retain_on_delete=self.retain_on_delete,
            deleted_with=self.deleted_with,
            import_id=self.goal.import_id,
            additional_secret_outputs=self.secret_outputs,
            ignore_changes=self.ignore_changes,
            replace_on_changes=list(self.goal.replace_on_changes),
            replacement_trigger=self.goal.replacement_trigger,
            custom_timeouts=self.timeouts,
            **rest,
        )


def from_request(request: Any, stack: str, project: str) -> Wanted:
    """What a RegisterResourceRequest asks for. Raises StepFailed on what this engine does not do."""
    for refused, what in (
        (request.remote, "components written in another language or package (`remote`)"),
        (request.transforms, "resource transforms"),
        (request.hooks.ListFields(), "resource hooks"),
        (request.replace_with, "the option `replace_with`"),
        (request.envVarMappings, "the option `env_var_mappings`"),
        (request.packageRef, "parameterized packages"),
        (request.state_migrations, "state migrations"),
        (request.type.startswith("pulumi:pulumi:") and request.custom, f"the built-in resource {request.type}"),
    ):
        if refused:
            raise StepFailed(f"The embedded engine does not do {what}. Use the Pulumi CLI for this program.")
    timeouts = {
        key: seconds(getattr(request.customTimeouts, key))
        for key in ("create", "update", "delete", "read")
        if getattr(request.customTimeouts, key)
    }
    return Wanted(
        urn=make(stack, project, request.type, request.name, request.parent),
        type=request.type,
        name=request.name,
        custom=request.custom,
        parent=request.parent,
        inputs=lower(from_struct(request.object)),
        goal=Goal(
            protect=request.protect,
            import_id=request.importId,
            replace_on_changes=list(request.replaceOnChanges),
            delete_before_replace=request.deleteBeforeReplace if request.deleteBeforeReplaceDefined else None,
            replacement_trigger=_trigger(request),
        ),
        provider=request.provider,
        version=request.version,
        plugin_url=request.pluginDownloadURL,
        dependencies=sorted(request.dependencies),
        property_dependencies={k: sorted(v.urns) for k, v in sorted(request.propertyDependencies.items())},
        ignore_changes=list(request.ignoreChanges),
        secret_outputs=list(request.additionalSecretOutputs),
        retain_on_delete=request.retainOnDelete,
        deleted_with=request.deletedWith,
        timeouts=timeouts,
        aliases=[
            *(Alias(urn=urn) for urn in request.aliasURNs),
            *(
                Alias(urn=a.urn)
                if a.WhichOneof("alias") == "urn"
                else Alias(
                    "", a.spec.name, a.spec.type, a.spec.stack, a.spec.project, a.spec.parentUrn, a.spec.noParent
                )
                for a in request.aliases
            ),
        ],
    )


def _trigger(request: Any) -> Value:
    return lower(from_value(request.replacement_trigger)) if request.HasField("replacement_trigger") else None


def seconds(text: str) -> float:
    """A duration such as `1h30m` in seconds. Raises StepFailed."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise StepFailed(f"'{text}' is no duration for a custom timeout; write it like `30s`, `5m` or `1h30m`.")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def earlier_urns(
    wanted: Wanted, *, stack: str, project: str, taken_over: Mapping[str, str], find: Callable[[str], bool]
) -> str | None:
    """The URN under which the state knows the resource: its own, else that of the first alias that is there.

    `taken_over` maps URNs to the old URNs that their resources came from: a child of a renamed parent had the parent's old
    name in its own.
    """
    if find(wanted.urn):
        return wanted.urn
    candidates = [_collapse(a, wanted, stack, project, taken_over) for a in wanted.aliases]
    if (old_parent := taken_over.get(wanted.parent)) is not None:
        candidates += [
            _below(old_parent, type_of(urn), name_of(urn), name_of(wanted.parent), stack, project)
            for urn in [wanted.urn, *candidates]
        ]
    return next((urn for urn in candidates if find(urn)), None)


def _collapse(alias: Alias, wanted: Wanted, stack: str, project: str, taken_over: Mapping[str, str]) -> str:
    if alias.urn:
        return alias.urn
    parent = taken_over.get(alias.parent, alias.parent) if alias.parent else wanted.parent
    if alias.no_parent or qualified_type(parent) == STACK_TYPE:
        parent = ""
    return make(
        alias.stack or stack, alias.project or project, alias.type or wanted.type, alias.name or wanted.name, parent
    )


def _below(old_parent: str, type_: str, name: str, parent_name: str, stack: str, project: str) -> str:
    # `web-disk` below `web` was `old-disk` below `old`: children are often named after their parent
    if name.startswith(parent_name):
        name = name_of(old_parent) + name.removeprefix(parent_name)
    return make(stack, project, type_, name, old_parent)
