delete from policy_values where key = 'storage.export_seconds';
delete from policy_definitions where key = 'storage.export_seconds';
delete from timeline_pins where reason = 'export';
alter table timeline_pins drop constraint timeline_pins_reason_check,
    add constraint timeline_pins_reason_check check (reason in ('branch', 'snapshot', 'moment'));
drop table exports;
