import * as pulumi from "@pulumi/pulumi";
import * as spg99 from "@spg99/pulumi";

const acme = new spg99.Tenant("acme", { name: "acme_ts" });

const app = new spg99.Database("app", {
  tenant: acme.name,
  name: "app",
  size: spg99.Size.L1,
  idleTimeoutSeconds: 60,
});

export const database = pulumi.interpolate`${app.tenant}/${app.name}`;
export const connectionString = app.connectionString;
