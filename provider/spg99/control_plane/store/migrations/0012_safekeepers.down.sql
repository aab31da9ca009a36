delete from policy_values where key in ('storage.safekeepers', 'storage.quorum');
delete from policy_definitions where key in ('storage.safekeepers', 'storage.quorum');
alter table timelines drop column configuration;
delete from enrolment_tokens where kind = 'safekeeper';
alter table enrolment_tokens drop constraint enrolment_tokens_kind_check;
alter table enrolment_tokens add constraint enrolment_tokens_kind_check check (kind in ('node', 'gateway'));
drop table safekeepers;
