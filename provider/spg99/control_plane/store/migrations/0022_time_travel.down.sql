-- Who reads is ended: agents are told to stop what is in no catalogue.
update timelines set state = 'gone', gone_at = clock_timestamp() where timeline_id in (select timeline_id from databases where moment_of is not null);
delete from timeline_pins where reason = 'moment';
delete from databases where moment_of is not null;
delete from policy_values where key in ('storage.moments_max', 'storage.moment_linger_seconds');
delete from policy_definitions where key in ('storage.moments_max', 'storage.moment_linger_seconds');
alter table timeline_pins drop constraint timeline_pins_reason_check;
alter table timeline_pins add constraint timeline_pins_reason_check check (reason in ('branch', 'snapshot'));
drop index databases_moments;
alter table databases drop constraint databases_name_check;
alter table databases add constraint databases_name_check check (name ~ '^[A-Za-z_][A-Za-z0-9_$]{0,62}$');
alter table databases drop column moment_of;
