"""What every change writes beside its own rows: outbox, audit, operations, policies, kept answers. Not here: a domain."""
