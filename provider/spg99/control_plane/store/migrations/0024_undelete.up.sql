-- A deleted database whose commits safekeepers keep can come back for a while.
alter table databases
    add column leaves          text check (leaves in ('undelete', 'database', 'snapshot')),  -- what the deletion under way leaves; null: nothing
    add column undelete_until  timestamptz,     -- it was deleted, and can come back until then
    drop constraint databases_state_check,
    add constraint databases_state_check
        check (state in ('creating', 'stopped', 'booting', 'ready', 'idle', 'stopping', 'deleting', 'error', 'deleted')),
    add constraint databases_deleted_check check (state <> 'deleted' or undelete_until is not null);
drop index databases_name;
create unique index databases_name on databases (tenant_id, name) where state not in ('deleting', 'deleted');
create index databases_deleted on databases (undelete_until) where state = 'deleted';

insert into policy_definitions (key, value_type, default_value, minimum, maximum, description) values
    ('storage.undelete_seconds', 'integer', '604800', 0, 31536000, 'How long a deleted database that has safekeepers can come back. 0: not at all.');
