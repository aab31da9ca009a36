"""The same nouns as in 01, through the native provider and its generated SDK."""

import pulumi
import pulumi_spg99 as spg99

config = pulumi.Config()

acme = spg99.Tenant("acme", name="acme_native")

app = spg99.Database(
    "app",
    tenant=acme.name,
    name="app",
    size=spg99.Size.L1,
    idle_timeout_seconds=60,
)

credentials = spg99.TenantCredentials("acme", tenant=acme.name, rotation_trigger=config.require("rotation"))

address = spg99.parse_dsn_output(dsn=app.connection_string)

pulumi.export("database", app.name)
pulumi.export("host", address.host)
pulumi.export("password", credentials.password)
