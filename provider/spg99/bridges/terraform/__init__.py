"""Terraform and OpenTofu: the provider for plugin protocol 6. The protocol itself is the package `tfplugin`, which knows no noun."""
