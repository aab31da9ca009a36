delete from policy_values where key in ('storage.history_seconds', 'storage.image_wal_bytes');
delete from policy_definitions where key in ('storage.history_seconds', 'storage.image_wal_bytes');
alter table databases drop column history_seconds;
alter table timelines drop column tenant_id, drop column history, drop column swept_at;
delete from enrolment_tokens where kind = 'pageserver';
alter table enrolment_tokens drop constraint enrolment_tokens_kind_check;
alter table enrolment_tokens add constraint enrolment_tokens_kind_check check (kind in ('node', 'gateway', 'safekeeper'));
drop table pageservers;
