-- What the public API reads often: lists in name order from anywhere (keyset), tenants on their way out, waits for operations.
-- Collation "C": the order of a list, and so a cursor, is the same in every catalogue.
create index tenants_by_name on tenants (org_id, name collate "C", tenant_id);
create index tenants_deleting on tenants (tenant_id) where state = 'deleting';
create index databases_by_name on databases (tenant_id, name collate "C", db_id);
create index api_keys_by_name on api_keys (org_id, name collate "C", key_id) where revoked_at is null;
create index api_keys_by_tenant on api_keys (tenant_id) where tenant_id is not null;
drop index api_keys_by_org;
create index operations_running_by_tenant on operations (tenant_id) where status = 'running';
create index operations_old on operations (finished_at) where finished_at is not null;
create index outbox_events_old on outbox_events (published_at) where published_at is not null;
