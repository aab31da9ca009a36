"""Pulumi's Python dynamic provider. `Provider` is what every state file refers to: this name must stay for ever.

Imported by name only when asked for: a Pulumi program needs resource.py, and only the provider process needs the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spg99.bridges.dynamic.provider import Provider

__all__ = ["Provider"]


def __getattr__(name: str) -> Any:
    if name == "Provider":
        from spg99.bridges.dynamic.provider import Provider

        return Provider
    raise AttributeError(name)
