-- Snapshots that are made by themselves: when, of what, how many of them stay.
create table snapshot_schedules (
    schedule_id      text primary key,
    tenant_id        text not null references tenants,
    name             text not null,
    db_id            text not null,
    database         text not null,             -- its name when the schedule was made
    cron             text not null,
    keep             integer not null check (keep >= 1),
    next_snapshot_at timestamptz not null,      -- in the past: it is late
    attempt_at       timestamptz not null,      -- when somebody takes it up: as above, or later while one is at it, and after a failure
    claim            text,                      -- whose attempt counts; null: nobody's
    last_snapshot_at timestamptz,
    last_error       text,
    version          bigint not null default 1,
    created_at       timestamptz not null default clock_timestamp(),
    updated_at       timestamptz not null default clock_timestamp(),
    unique (tenant_id, name)
);
create index snapshot_schedules_due on snapshot_schedules (attempt_at);
create index snapshot_schedules_of_database on snapshot_schedules (db_id);
grant select, insert, update, delete on snapshot_schedules to spg99_service;

alter table snapshots add column schedule_id text references snapshot_schedules;
create index snapshots_of_schedule on snapshots (schedule_id) where schedule_id is not null;
