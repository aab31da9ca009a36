"""The dynamic provider for the proof package: a state refers to `proof.dynamic_provider.Provider`. Needs tests/ on PYTHONPATH.

`module_text()` is what `spg99.dynamic` is for the product; write it to a file beside a program and import `Gadget` from it.
"""

from __future__ import annotations

from typing import ClassVar

from proof.gadget import PACKAGE
from spg99.bridges.pulumi.dynamic.provider import Provider as ProductsProvider
from spg99.emit import dynamic
from spg99.shapes import Package


class Provider(ProductsProvider):
    """Serves the proof nouns."""

    PACKAGE: ClassVar[Package] = PACKAGE


def module_text() -> str:
    """Source of the typed face of the proof package."""
    return dynamic.module(PACKAGE, served_by="proof.dynamic_provider", package_at="proof.gadget")
