"""`spg99 import-file`: an import file for `pulumi import` or `spg99 import`. Not here: what stands in it (bridges)."""

from __future__ import annotations
