"""Our field names as the tools write them. Here: spelling, one rule each. Not here: what a field means."""

from __future__ import annotations


def camel(name: str) -> str:
    """Pulumi's spelling: `idle_timeout_seconds` -> `idleTimeoutSeconds`."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)
