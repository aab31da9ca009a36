"""The dynamic provider of the suite's package; a state refers to `conformance.dynamic_provider.Provider`. Needs tests/ on PYTHONPATH."""

from __future__ import annotations

from typing import ClassVar

from conformance.package import PACKAGE
from spg99.bridges.pulumi.dynamic.provider import Provider as ProductsProvider
from spg99.shapes import Package


class Provider(ProductsProvider):
    """Serves the suite's nouns."""

    PACKAGE: ClassVar[Package] = PACKAGE
