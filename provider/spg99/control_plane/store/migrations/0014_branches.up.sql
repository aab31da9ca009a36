-- Databases that begin in another one, and what of a timeline's past must stay for somebody.
alter table databases
    add column source_database  text,
    add column source_time      timestamptz,
    add column source_lsn       text,
    add column branch_lsn       bigint,         -- where in the source it begins, once that is known
    add column expires_at       timestamptz,
    add column database_name    text;           -- what it is called inside of its files; null: as everywhere else
create index databases_expiring on databases (expires_at) where expires_at is not null;

-- A branch: the timeline that it begins in, and where (protocol/tasks.py: Origin, without who keeps it). It counts until the branch was started.
alter table timelines add column origin jsonb;

-- A moment of a timeline's past that somebody may still go back to: the newest image before it and the WAL from there up to it stay.
create table timeline_pins (
    timeline_id  text not null references timelines on delete cascade,
    owner_id     text not null,                  -- a database (that begins there), a snapshot
    reason       text not null check (reason in ('branch', 'snapshot')),
    lsn          bigint,                         -- null: not known yet, `at` tells: nothing of then and later may go
    at           timestamptz not null default clock_timestamp(),
    until        timestamptz,                    -- null: until it is taken back
    primary key (timeline_id, owner_id)
);
create index timeline_pins_by_owner on timeline_pins (owner_id);
grant select, insert, update, delete on timeline_pins to spg99_service;
