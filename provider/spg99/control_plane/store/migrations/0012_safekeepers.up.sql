-- Who keeps the WAL of databases beside their computes.
create table safekeepers (
    safekeeper_id  text primary key,            -- of one disk: one that has lost it comes back as another
    name           text not null,
    hostname       text not null default '',
    status         text not null default 'active' check (status in ('active', 'lost')),
    token_sha256   text not null unique,
    observed       jsonb not null default '{}',
    enrolled_at    timestamptz not null default clock_timestamp(),
    last_seen_at   timestamptz
);
create unique index safekeepers_by_name on safekeepers (name) where status = 'active';
grant select, insert, update, delete on safekeepers to spg99_service;

alter table enrolment_tokens drop constraint enrolment_tokens_kind_check;
alter table enrolment_tokens add constraint enrolment_tokens_kind_check check (kind in ('node', 'gateway', 'safekeeper'));

-- Which safekeepers keep it and how many of them make a commit durable (wal/quorum.py). Null: the files on its node are the only copy.
alter table timelines add column configuration jsonb;

insert into policy_definitions (key, value_type, default_value, minimum, maximum, description) values
    ('storage.safekeepers', 'integer', '0', 0, 9, 'Safekeepers of a new database: its commits wait for them, and outlive its node. 0 = its node alone keeps it.'),
    ('storage.quorum',      'integer', '0', 0, 9, 'How many of a new database''s safekeepers a commit waits for; 0 = most of them.');
