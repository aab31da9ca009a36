delete from policy_values where key = 'storage.undelete_seconds';
delete from policy_definitions where key = 'storage.undelete_seconds';
-- An older version knows no way back: it removes what was deleted.
update databases set state = 'deleting', reconcile_at = to_timestamp(0) where state = 'deleted';
drop index databases_deleted;
drop index databases_name;
create unique index databases_name on databases (tenant_id, name) where state <> 'deleting';
alter table databases
    drop constraint databases_deleted_check,
    drop constraint databases_state_check,
    add constraint databases_state_check
        check (state in ('creating', 'stopped', 'booting', 'ready', 'idle', 'stopping', 'deleting', 'error')),
    drop column undelete_until,
    drop column leaves;
