-- Takes the storage limits back: databases are as large as their nodes let them.
delete from policy_values where key like 'database.storage_limit_bytes.%';
delete from policy_definitions where key like 'database.storage_limit_bytes.%';
alter table databases drop column storage_limit_bytes, drop column storage_state;
