"""One tenant and one database, declared."""

import pulumi

from spg99.dynamic import Database, Tenant

config = pulumi.Config()

acme = Tenant("acme", name="acme")

app = Database(
    "app",
    tenant=acme.name,
    name="app",
    size="L1",
    idle_timeout_seconds=config.require_int("idleTimeoutSeconds"),
)

pulumi.export("database", app.name)
pulumi.export("connection_string", app.connection_string)
