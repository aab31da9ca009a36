"""The embedded engine: runs a Pulumi program where no Pulumi CLI is. Not here: anything about our own resources."""
