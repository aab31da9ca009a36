"""The application's tenant and database; the DSN is a secret output that the application takes from its environment."""

import pulumi

from spg99.dynamic import Database, Tenant

shop = Tenant("shop", name="shop")
orders = Database("orders", tenant=shop.name, name="orders", idle_timeout_seconds=30)

pulumi.export("database_url", orders.connection_string)
