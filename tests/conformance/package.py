"""The package that the suite mounts: every noun of the product, and the proof noun with every kind of field. Not here: any noun."""

from __future__ import annotations

from proof.gadget import GADGET, MOUNTED
from proof.gadget import PACKAGE as PROOF
from spg99.prepared import PACKAGE as PRODUCT
from spg99.shapes import Noun, Package

PACKAGE: Package = PRODUCT._replace(nouns=(*PRODUCT.nouns, GADGET), reads=(*PRODUCT.reads, *PROOF.reads))
NOUNS: tuple[Noun, ...] = PACKAGE.nouns
ALSO_MOUNTED = tuple(noun for noun in MOUNTED if noun not in NOUNS)


def faces() -> str:
    """Source of the typed face of the dynamic provider for this package."""
    from spg99.emit import dynamic

    return dynamic.module(PACKAGE, served_by="conformance.dynamic_provider", package_at="conformance.package")
