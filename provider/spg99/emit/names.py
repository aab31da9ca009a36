"""Our field names as the tools write them. Here: spelling, one rule each. Not here: what a field means."""

from __future__ import annotations


def camel(name: str) -> str:
    """Pulumi's spelling: `idle_timeout_seconds` -> `idleTimeoutSeconds`."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def plural(name: str) -> str:
    """More than one: `database` -> `databases`, `policy` -> `policies`."""
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return name[:-1] + "ies"
    return name if name.endswith("s") else name + "s"


def pascal(name: str) -> str:
    """A class name: `api_key` -> `ApiKey`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def snake(name: str) -> str:
    """Back from Pulumi's spelling: `idleTimeoutSeconds` -> `idle_timeout_seconds`, `ApiKey` -> `api_key`."""
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")
