-- Who keeps the history of databases in the object store.
create table pageservers (
    pageserver_id  text primary key,
    name           text not null unique,
    hostname       text not null default '',
    token_sha256   text not null unique,
    enrolled_at    timestamptz not null default clock_timestamp(),
    last_seen_at   timestamptz
);
grant select, insert, update, delete on pageservers to spg99_service;

alter table enrolment_tokens drop constraint enrolment_tokens_kind_check;
alter table enrolment_tokens add constraint enrolment_tokens_kind_check check (kind in ('node', 'gateway', 'safekeeper', 'pageserver'));

-- Whose it is: known also when its database is gone and the store still has something of it.
alter table timelines
    add column tenant_id text,
    add column history   jsonb,                 -- what a pageserver said of it last (protocol/pageserver.py)
    add column swept_at  timestamptz;           -- since then the store has nothing of one that is gone
update timelines t set tenant_id = d.tenant_id from databases d where d.timeline_id = t.timeline_id and t.configuration is not null;

alter table databases add column history_seconds bigint;      -- null: the account's policy

insert into policy_definitions (key, value_type, default_value, minimum, maximum, description) values
    ('storage.history_seconds', 'integer', '604800', 0, 31622400, 'How far back a database with safekeepers can be restored to any moment, where its spec says nothing.'),
    ('storage.image_wal_bytes', 'integer', '67108864', 0, 1099511627776, 'WAL after which a running database with safekeepers gets a new image; 0 = only when it stops.');
