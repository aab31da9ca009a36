"""Pulumi's Python dynamic provider. States name it as `spg99.bridges.dynamic:Provider` (bridges/dynamic.py), not by where it lives."""
