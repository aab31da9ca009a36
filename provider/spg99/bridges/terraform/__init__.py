"""Terraform and OpenTofu: the provider for plugin protocol 6. The protocol itself is in plugin/, which knows no noun."""
