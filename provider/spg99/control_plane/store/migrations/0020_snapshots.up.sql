-- Kept moments of databases. What they need of a timeline is a row in timeline_pins.
create table snapshots (
    snapshot_id    text primary key,
    tenant_id      text not null references tenants,
    name           text not null,
    db_id          text not null,
    database       text not null,               -- its name when the snapshot was made
    time           timestamptz,
    lsn            text,
    origin         jsonb not null,              -- the moment (protocol/tasks.py: Origin, without who keeps it)
    expires_at     timestamptz,
    version        bigint not null default 1,
    created_at     timestamptz not null default clock_timestamp(),
    updated_at     timestamptz not null default clock_timestamp(),
    unique (tenant_id, name)
);
create index snapshots_of_database on snapshots (db_id);
create index snapshots_expiring on snapshots (expires_at) where expires_at is not null;
grant select, insert, update, delete on snapshots to spg99_service;

alter table databases add column source_snapshot text;
