"""Bridges: make an infrastructure-as-code tool speak to us. Not here: anything about one particular resource."""
