"""`pulumi-resource-spg99`: Pulumi's native provider, over gRPC and without Pulumi's SDK. The way in is `process.main`."""
