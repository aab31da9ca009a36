-- Takes the spine back. The service role stays: roles belong to the cluster, not to this database.
drop table policy_values, policy_definitions, audit_logs, outbox_events, idempotency_keys, operations, node_tasks, leases,
    computes, timelines, databases, enrolment_tokens, gateways, nodes, api_keys, tenants, projects, organizations;
drop sequence outbox_positions;
drop function databases_guard, refuse_change, ensure_partitions, policy_values_within_bounds;
