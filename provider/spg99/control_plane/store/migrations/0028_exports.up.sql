-- Databases as archives of pg_dump's in the object store (databases/exports.py).
create table exports (
    export_id    text primary key,
    tenant_id    text not null references tenants,
    db_id        text not null,
    database     text not null,               -- its name when the export was asked for
    pg_user      text not null,
    origin       jsonb not null,              -- the moment (protocol/tasks.py: Origin, without who keeps it)
    op_id        text not null,
    state        text not null default 'waiting' check (state in ('waiting', 'running', 'ready', 'failed', 'deleting')),
    task_id      bigint,
    node_id      text,
    attempt_id   text,                        -- part of its objects' keys
    size_bytes   bigint,
    piece_bytes  bigint,
    error        text,
    expires_at   timestamptz not null,
    created_at   timestamptz not null,
    finished_at  timestamptz
);
create unique index exports_unfinished on exports (db_id) where state in ('waiting', 'running');
create index exports_of_tenant on exports (tenant_id, database, export_id);
grant select, insert, update, delete on exports to spg99_service;

alter table timeline_pins drop constraint timeline_pins_reason_check,
    add constraint timeline_pins_reason_check check (reason in ('branch', 'snapshot', 'moment', 'export'));

insert into policy_definitions (key, value_type, default_value, minimum, maximum, description) values
    ('storage.export_seconds', 'integer', '604800', 3600, 31536000, 'How long an export is kept in the object store.');
