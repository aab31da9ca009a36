alter table nodes drop column drain_ends_sessions;
update nodes set status = 'draining' where status = 'cordoned';
alter table nodes drop constraint nodes_status_check;
alter table nodes add constraint nodes_status_check check (status in ('active', 'draining', 'gone'));
drop table revoked_identities;
drop table certificate_authorities;
