"""Fifty customers, four databases each."""

import pulumi

from spg99.dynamic import Database, Tenant

config = pulumi.Config()
PURPOSES = ("app", "events", "reports", "sandbox")

for number in range(config.require_int("tenants")):
    customer = f"customer_{number:03d}"
    tenant = Tenant(customer, name=customer)
    for purpose in PURPOSES[: config.require_int("databasesPerTenant")]:
        Database(
            f"{customer}_{purpose}",
            tenant=tenant.name,
            name=purpose,
            idle_timeout_seconds=60 if purpose == "sandbox" else 300,
            opts=pulumi.ResourceOptions(parent=tenant),
        )

pulumi.export("tenants", config.require_int("tenants"))
