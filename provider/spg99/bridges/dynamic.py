"""What the states of users name: `spg99.bridges.dynamic:Provider`. An interface: this name stays, wherever the provider lives.

Every resource of our dynamic provider in every Pulumi state holds a constant pickle that says "import this, call it with the
noun" (pulumi/dynamic/reference.py writes it). Pulumi loads it to refresh and to delete, with whatever version of ours is
installed by then.

Imported by name only when asked for: a Pulumi program needs the resources' classes, and only the provider process the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spg99.bridges.pulumi.dynamic.provider import Provider

__all__ = ["Provider"]


def __getattr__(name: str) -> Any:
    if name == "Provider":
        from spg99.bridges.pulumi.dynamic.provider import Provider

        return Provider
    raise AttributeError(name)
