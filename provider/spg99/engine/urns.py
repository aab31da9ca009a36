"""Names of resources: URNs and provider references. Here: making and taking apart. Not here: what they name.

urn:pulumi:<stack>::<project>::<parent type>$<type>::<name>        <provider urn>::<provider id>
"""

from __future__ import annotations

STACK_TYPE = "pulumi:pulumi:Stack"
PROVIDER_PREFIX = "pulumi:providers:"
DYNAMIC_PACKAGE = "pulumi-python"
NODEJS_DYNAMIC_PACKAGE = "pulumi-nodejs"
DYNAMIC_PACKAGES = (DYNAMIC_PACKAGE, NODEJS_DYNAMIC_PACKAGE)


def make(stack: str, project: str, type_: str, name: str, parent: str = "") -> str:
    """The URN of a resource; `parent` is its parent's URN or empty."""
    parent_type = qualified_type(parent) if parent else ""
    if parent_type and parent_type != STACK_TYPE:
        type_ = f"{parent_type}${type_}"
    return f"urn:pulumi:{stack}::{project}::{type_}::{name}"


def qualified_type(urn: str) -> str:
    """The type with the types of its parents before it: `a:b:Parent$a:b:Child`."""
    parts = urn.split("::", 3)
    return parts[2] if len(parts) == 4 else ""


def type_of(urn: str) -> str:
    """The resource's own type."""
    return qualified_type(urn).rpartition("$")[2]


def name_of(urn: str) -> str:
    """The resource's name (it may itself contain `::`)."""
    parts = urn.split("::", 3)
    return parts[3] if len(parts) == 4 else urn


def with_parent(urn: str, parent: str) -> str:
    """The same type and name below another parent."""
    parts = urn.split("::", 3)
    return make(parts[0].removeprefix("urn:pulumi:"), parts[1], type_of(urn), name_of(urn), parent)


def package_of(type_: str) -> str:
    """The package that serves a type token or a function token."""
    if type_.startswith(PROVIDER_PREFIX):
        return type_.removeprefix(PROVIDER_PREFIX)
    return type_.split(":", 1)[0]


def is_provider(type_: str) -> bool:
    """Whether a type is that of a provider resource."""
    return type_.startswith(PROVIDER_PREFIX)


def is_default_provider(urn: str) -> bool:
    """Whether the URN is of a provider that the engine made, not the program."""
    return is_provider(type_of(urn)) and (name_of(urn) == "default" or name_of(urn).startswith("default_"))


def split_reference(reference: str) -> tuple[str, str]:
    """A provider reference as (URN, id)."""
    urn, _, id_ = reference.rpartition("::")
    return urn, id_
