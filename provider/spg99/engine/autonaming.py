"""Names for resources whose program gives none: Pulumi's `pulumi:autonaming` configuration. Here: what is proposed to the provider.
Not here: what the provider makes of it.

    pulumi:autonaming: {mode: default | verbatim | disabled}
    pulumi:autonaming: {pattern: "${name}-${hex(6)}", enforce: true, providers: {spg99: {..., resources: {"spg99:index:Tenant": ...}}}}

The configuration closest to the resource holds. Random parts come from the seed that the provider gets as well.
"""

from __future__ import annotations

import hashlib
import json
import re
import string
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from spg99.engine.urns import package_of
from spg99.engine.values import reveal
from spg99.errors import BadRequest

KEY = "pulumi:autonaming"
_KEYS = {"mode", "pattern", "enforce"}
_PART = re.compile(r"\$\{([^}]*)\}")
_RANDOM = re.compile(r"(hex|alphanum|string|num)\((\d{1,3})\)")
_ALPHABETS = {
    "hex": string.hexdigits[:16],
    "alphanum": string.ascii_lowercase + string.digits,
    "string": string.ascii_lowercase,
    "num": string.digits,
}


class Mode(IntEnum):
    """How binding a proposed name is; the numbers are the protocol's."""

    PROPOSE = 0
    ENFORCE = 1
    DISABLE = 2


@dataclass(frozen=True)
class Proposal:
    """What a provider is told about a resource's name."""

    name: str
    mode: Mode


def proposal(
    config: Mapping[str, Any], type_: str, name: str, stack: str, project: str, seed: bytes
) -> Proposal | None:
    """The proposal for a resource; None leaves it to the provider. Raises BadRequest on a configuration that means nothing."""
    if KEY not in config:
        return None
    wanted = _closest(_read(config[KEY]), type_)
    mode = wanted.get("mode", "default")
    if "pattern" in wanted:
        made = _fill(str(wanted["pattern"]), config, name, stack, project, seed)
        return Proposal(made, Mode.ENFORCE if wanted.get("enforce") else Mode.PROPOSE)
    if mode == "verbatim":
        return Proposal(name, Mode.ENFORCE)
    if mode == "disabled":
        return Proposal("", Mode.DISABLE)
    return None


def _read(value: Any) -> dict[str, Any]:
    try:
        found = json.loads(reveal(value))
    except (TypeError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise BadRequest(f"The configuration `{KEY}` must be a mapping with `mode` or `pattern`.")
    return found


def _closest(found: dict[str, Any], type_: str) -> dict[str, Any]:
    _check(found, KEY, {"providers"})
    wanted = {key: found[key] for key in _KEYS & found.keys()}
    provider = (found.get("providers") or {}).get(package_of(type_))
    if provider is None:
        return wanted
    _check(provider, f"{KEY}: providers.{package_of(type_)}", {"resources"})
    wanted = {key: provider[key] for key in _KEYS & provider.keys()} or wanted
    resource = (provider.get("resources") or {}).get(type_)
    if resource is None:
        return wanted
    _check(resource, f"{KEY}: {type_}", set())
    return {key: resource[key] for key in _KEYS & resource.keys()} or wanted


def _check(found: Any, where: str, more: set[str]) -> None:
    if not isinstance(found, dict):
        raise BadRequest(f"The configuration `{where}` must be a mapping with `mode` or `pattern`.")
    if unknown := sorted(found.keys() - _KEYS - more):
        raise BadRequest(
            f"The configuration `{where}` knows no `{unknown[0]}`; it takes {', '.join(sorted(_KEYS | more))}."
        )
    if found.get("mode", "default") not in ("default", "verbatim", "disabled"):
        raise BadRequest(f"The configuration `{where}` has no mode `{found['mode']}`: default, verbatim or disabled.")
    if "pattern" in found and "mode" in found:
        raise BadRequest(f"The configuration `{where}` takes `mode` or `pattern`, not both.")


def _fill(pattern: str, config: Mapping[str, Any], name: str, stack: str, project: str, seed: bytes) -> str:
    words = {"name": name, "stack": stack, "project": project, "organization": "organization"}
    used = 0

    def value(match: re.Match[str]) -> str:
        nonlocal used
        asked = match[1]
        if asked in words:
            return words[asked]
        if asked == "uuid":
            used += 1
            return str(uuid.UUID(bytes=_bytes(seed, used, 16), version=4))
        if random := _RANDOM.fullmatch(asked):
            used += 1
            alphabet = _ALPHABETS[random[1]]
            return "".join(alphabet[byte % len(alphabet)] for byte in _bytes(seed, used, int(random[2])))
        key = asked.removeprefix("config.")
        given = config.get(key if ":" in key else f"{project}:{key}")
        if asked != key and isinstance(given, str):
            return given
        raise BadRequest(f"The pattern of `{KEY}` asks for `${{{asked}}}`, which is not known (or secret).")

    return _PART.sub(value, pattern)


def _bytes(seed: bytes, use: int, count: int) -> bytes:
    found = b""
    while len(found) < count:
        found += hashlib.sha256(seed + bytes([use]) + len(found).to_bytes(4, "big")).digest()
    return found[:count]
