delete from policy_values where key = 'storage.before_restore_seconds';
delete from policy_definitions where key = 'storage.before_restore_seconds';
alter table databases
    drop column restore,
    drop column restore_to,
    drop column restore_trigger;
