"""A stack's deployment: resources and pending operations, as Pulumi's state files spell them (version 3).

Here: the model and its JSON. Not here: files (backend.py), ciphers (crypt.py), what changes during a run (snapshot.py).
Fields of a resource that this engine does not know are kept in `extra` and written back as they came.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from spg99.engine.urns import STACK_TYPE, is_provider
from spg99.engine.values import SECRET, SIG, Props, Value, is_secret
from spg99.errors import BadRequest

# The engine version that the state claims. Older engines refuse nothing by it; `magic` must be its SHA-256.
ENGINE_VERSION = "v3.260.0"
DEPLOYMENT_VERSION = 3
_NEWEST_READABLE = 4
DEPTH_MAX = 200
"""Values nested deeper than this are nobody's: Pulumi's own wire ends at about fifty. Every walk along a value may rely on it."""
_FLOAT = "8ad145fe-0d11-4827-bfd7-1abcbf086f5c"

Encrypt = Callable[[str], str]
Decrypt = Callable[[str], str]


class Damaged(BadRequest):
    """The state is nothing that an engine has written. What to do about it depends on where it lies, which the one who read it adds."""


@dataclass
class Resource:
    """One resource of a stack. Treat as immutable once it is in a snapshot: replace it, do not change it."""

    urn: str
    type: str
    custom: bool = True
    id: str = ""
    inputs: Props = field(default_factory=dict)
    outputs: Props = field(default_factory=dict)
    parent: str = ""
    provider: str = ""
    dependencies: list[str] = field(default_factory=list)
    property_dependencies: dict[str, list[str]] = field(default_factory=dict)
    protect: bool = False
    external: bool = False
    delete: bool = False
    pending_replacement: bool = False
    retain_on_delete: bool = False
    deleted_with: str = ""
    import_id: str = ""
    init_errors: list[str] = field(default_factory=list)
    additional_secret_outputs: list[str] = field(default_factory=list)
    ignore_changes: list[str] = field(default_factory=list)
    replace_on_changes: list[str] = field(default_factory=list)
    replacement_trigger: Value = None
    custom_timeouts: dict[str, float] = field(default_factory=dict)
    created: str = ""
    modified: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """How others refer to this provider resource."""
        return f"{self.urn}::{self.id}"

    @property
    def managed(self) -> bool:
        """Whether a provider process creates and deletes it for this stack."""
        return self.custom and not self.external and not is_provider(self.type)

    def needs(self) -> set[str]:
        """URNs of everything that must come before it."""
        found = {self.parent, self.deleted_with, self.provider.rpartition("::")[0], *self.dependencies}
        for urns in self.property_dependencies.values():
            found.update(urns)
        return found - {""}


@dataclass(frozen=True)
class Operation:
    """Something that had begun and of which nobody wrote the end."""

    resource: Resource
    type: str
    """creating, updating, deleting, reading or importing"""


@dataclass
class Deployment:
    """All that is known of a stack."""

    resources: list[Resource] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    secrets_provider: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def outputs(self) -> Props:
        """Outputs of the stack (its root component's)."""
        root = next((r for r in self.resources if r.type == STACK_TYPE and not r.parent), None)
        return root.outputs if root else {}


# (attribute, key in JSON) in the order Pulumi writes them. urn, custom and type are always written.
_FIELDS = (
    ("urn", "urn"),
    ("custom", "custom"),
    ("delete", "delete"),
    ("id", "id"),
    ("type", "type"),
    ("inputs", "inputs"),
    ("outputs", "outputs"),
    ("parent", "parent"),
    ("protect", "protect"),
    ("external", "external"),
    ("dependencies", "dependencies"),
    ("init_errors", "initErrors"),
    ("provider", "provider"),
    ("property_dependencies", "propertyDependencies"),
    ("pending_replacement", "pendingReplacement"),
    ("additional_secret_outputs", "additionalSecretOutputs"),
    ("custom_timeouts", "customTimeouts"),
    ("import_id", "importID"),
    ("retain_on_delete", "retainOnDelete"),
    ("deleted_with", "deletedWith"),
    ("created", "created"),
    ("modified", "modified"),
    ("ignore_changes", "ignoreChanges"),
    ("replace_on_changes", "replaceOnChanges"),
    ("replacement_trigger", "replacementTrigger"),
)
_ATTRIBUTE_OF = {key: attribute for attribute, key in _FIELDS}
_ALWAYS = {"urn", "custom", "type"}
_SEALED = {"inputs", "outputs", "replacement_trigger"}


def now() -> str:
    """The current moment as state files spell it."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def dump_resource(resource: Resource, encrypt: Encrypt) -> dict[str, Any]:
    """A resource as its JSON object."""
    found: dict[str, Any] = {}
    for attribute, key in _FIELDS:
        value = getattr(resource, attribute)
        if attribute in _ALWAYS or value or (attribute == "replacement_trigger" and value is not None):
            found[key] = seal(value, encrypt) if attribute in _SEALED else value
    return found | resource.extra


def load_resource(raw: dict[str, Any], decrypt: Decrypt) -> Resource:
    """A resource from its JSON object; `null` means absent. Raises Damaged when it names no URN or type."""
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, value in raw.items():
        attribute = _ATTRIBUTE_OF.get(key)
        if attribute is None:
            extra[key] = value
        elif value is not None:
            known[attribute] = unseal(value, decrypt) if attribute in _SEALED else value
    if not known.get("urn") or not known.get("type"):
        raise Damaged("The state is damaged: a resource in it has no URN or no type.")
    known["property_dependencies"] = {k: v or [] for k, v in known.get("property_dependencies", {}).items()}
    known.setdefault("custom", False)
    extra.pop("aliases", None)  # old URNs, resolved when the state was written
    return Resource(**known, extra=extra)


def seal(value: Value, encrypt: Encrypt) -> Value:
    """The value as it may be written: secrets encrypted, not-a-number spelled out."""
    if isinstance(value, dict):
        if is_secret(value):
            plaintext = json.dumps(seal(value.get("value"), lambda text: text), separators=(",", ":"))
            return {SIG: SECRET, "ciphertext": encrypt(plaintext)}
        return {key: seal(item, encrypt) for key, item in value.items()}
    if isinstance(value, list):
        return [seal(item, encrypt) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return {SIG: _FLOAT, "value": struct.pack(">d", value).hex()}
    return value


def unseal(value: Value, decrypt: Decrypt) -> Value:
    """The reverse of `seal`; a secret in plain text (an export with shown secrets) is taken as well."""
    if isinstance(value, dict):
        if value.get(SIG) == SECRET:
            text = decrypt(value["ciphertext"]) if "ciphertext" in value else value.get("plaintext")
            if text is None:
                return value
            # a secret inside a secret is marked, but not encrypted a second time
            return {SIG: SECRET, "value": unseal(json.loads(text), lambda inner: inner)}
        if value.get(SIG) == _FLOAT:
            return struct.unpack(">d", bytes.fromhex(value["value"]))[0]
        return {key: unseal(item, decrypt) for key, item in value.items()}
    return [unseal(item, decrypt) for item in value] if isinstance(value, list) else value


def manifest() -> dict[str, str]:
    """Who wrote the state, when, and Pulumi's check number for it."""
    return {"time": now(), "magic": hashlib.sha256(ENGINE_VERSION.encode()).hexdigest(), "version": ENGINE_VERSION}


def load_deployment(raw: dict[str, Any] | None, decrypt: Decrypt) -> Deployment:
    """A deployment from its JSON object; None is an empty stack."""
    raw = dict(raw or {})
    resources = [load_resource(r, decrypt) for r in raw.pop("resources", None) or []]
    operations = [
        Operation(load_resource(o["resource"], decrypt), o["type"]) for o in raw.pop("pending_operations", None) or []
    ]
    raw.pop("manifest", None)
    return Deployment(resources, operations, raw.pop("secrets_providers", None), raw)


def check_depth(raw: Any, where: str) -> None:
    """Refuses what is nested too deeply to be walked along. Raises Damaged."""
    level, depth = [raw], 0
    while level:
        if depth > DEPTH_MAX:
            raise Damaged(f"{where} is nested more than {DEPTH_MAX} levels deep, which no state is: it is damaged.")
        level = [item for each in level for item in _items(each)]
        depth += 1


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def check_version(raw: dict[str, Any], where: str) -> None:
    """Refuses by name what a newer Pulumi wrote and this engine would lose, and what nobody wrote. Raises BadRequest."""
    check_depth(raw, where)
    version, features = raw.get("version"), raw.get("features") or []
    if not isinstance(version, int) or version < DEPLOYMENT_VERSION:
        raise BadRequest(
            f"{where} has state version {version}; this engine reads {DEPLOYMENT_VERSION} and {_NEWEST_READABLE}. "
            "Let the Pulumi CLI upgrade it (`pulumi up`)."
        )
    if version > _NEWEST_READABLE:
        raise BadRequest(
            f"{where} was written by a newer Pulumi (state version {version}, this engine knows up to "
            f"{_NEWEST_READABLE}). Go on with the Pulumi CLI or upgrade spg99."
        )
    if features:
        raise BadRequest(
            f"{where} uses {', '.join(features)}, which the embedded engine does not do. Go on with the Pulumi CLI."
        )


def copy(resource: Resource, **changes: Any) -> Resource:
    """The resource with some fields changed."""
    return dataclasses.replace(resource, **changes)
