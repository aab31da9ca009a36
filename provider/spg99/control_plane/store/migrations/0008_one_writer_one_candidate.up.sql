-- A database has at most one writer, and room for one compute that is being prepared to become it (a handoff).
alter table computes
    add column role text not null default 'writer' check (role in ('writer', 'candidate'));
drop index computes_one_writer;
create unique index computes_one_writer on computes (db_id) where state <> 'ended' and role = 'writer';
create unique index computes_one_candidate on computes (db_id) where state <> 'ended' and role = 'candidate';
