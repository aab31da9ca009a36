-- Takes the indexes of the public API back.
drop index tenants_by_name, tenants_deleting, databases_by_name, api_keys_by_name, api_keys_by_tenant,
    operations_running_by_tenant, operations_old, outbox_events_old;
create index api_keys_by_org on api_keys (org_id, name, key_id) where revoked_at is null;
