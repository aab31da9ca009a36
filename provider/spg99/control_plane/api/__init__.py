"""The HTTP door: routes, who is asking, idempotency, problems, events. Not here: rules (lifecycle) or SQL (store)."""
