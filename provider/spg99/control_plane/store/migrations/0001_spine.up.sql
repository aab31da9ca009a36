-- The spine: identity, databases and their computes, nodes and tasks, outbox, audit, policy.
-- What is kept here is what must survive the loss of any process; what can be observed again (connections, pids) is
-- kept only as the last observation. Names and rules: the platform schema. Every id is text `<prefix>_<20 characters>`.

create table organizations (
    org_id              text primary key,
    name                text not null,
    email               text not null default '',
    company             text not null default '',
    plan                text not null default 'self-hosted',
    stripe_customer_id  text unique,
    created_at          timestamptz not null default clock_timestamp(),
    updated_at          timestamptz not null default clock_timestamp()
);

create table projects (
    project_id  text primary key,
    org_id      text not null references organizations,
    name        text not null check (length(name) between 1 and 63),
    created_at  timestamptz not null default clock_timestamp(),
    unique (org_id, name)
);

create table tenants (
    tenant_id           text primary key,
    org_id              text not null references organizations,
    project_id          text not null references projects,
    name                text not null check (name ~ '^[A-Za-z_][A-Za-z0-9_$]{0,62}$'),
    pg_user             text not null unique,
    password_encrypted  bytea not null,            -- AES-256-GCM, associated data = tenant_id
    scram_verifier      text not null,
    credential_version  integer not null default 1 check (credential_version > 0),
    state               text not null default 'active' check (state in ('active', 'deleting')),
    version             bigint not null default 1, -- the ETag
    created_at          timestamptz not null default clock_timestamp(),
    updated_at          timestamptz not null default clock_timestamp()
);
-- A name is free again as soon as its owner is on the way out.
create unique index tenants_name on tenants (org_id, name) where state <> 'deleting';

create table api_keys (
    key_id               text primary key,
    org_id               text references organizations,   -- null only for scope global
    tenant_id            text references tenants,
    name                 text not null check (length(name) between 1 and 100),
    scope                text not null check (scope in ('global', 'account', 'tenant')),
    permissions          text[] not null default '{}',
    token_sha256         text not null unique,
    previous_sha256      text unique,
    previous_valid_until timestamptz,
    expires_at           timestamptz,
    revoked_at           timestamptz,
    created_by           text,
    version              bigint not null default 1,
    created_at           timestamptz not null default clock_timestamp(),
    last_used_at         timestamptz,
    check ((scope = 'tenant') = (tenant_id is not null)),
    check (scope = 'global' or org_id is not null)
);
create index api_keys_by_org on api_keys (org_id, name, key_id) where revoked_at is null;

create table nodes (
    node_id             text primary key,
    org_id              text references organizations,    -- null = shared pool
    name                text not null unique,
    hostname            text not null default '',
    region              text not null default 'local',
    status              text not null default 'active' check (status in ('active', 'draining', 'gone')),
    token_sha256        text not null unique,
    observed            jsonb not null default '{}',
    enrolled_at         timestamptz not null default clock_timestamp(),
    last_seen_at        timestamptz
);

create table gateways (
    gateway_id    text primary key,
    name          text not null unique,
    hostname      text not null default '',
    token_sha256  text not null unique,
    enrolled_at   timestamptz not null default clock_timestamp(),
    last_seen_at  timestamptz
);

create table enrolment_tokens (
    token_sha256  text primary key,
    kind          text not null check (kind in ('node', 'gateway')),
    created_at    timestamptz not null default clock_timestamp(),
    expires_at    timestamptz not null,
    used_at       timestamptz
);

create table databases (
    db_id                     text primary key,
    tenant_id                 text not null references tenants,
    name                      text not null check (name ~ '^[A-Za-z_][A-Za-z0-9_$]{0,62}$'),
    size                      text not null check (size in ('L1', 'L2', 'L3', 'L4', 'L5')),
    min_size                  text check (min_size in ('L1', 'L2', 'L3', 'L4', 'L5')),
    max_size                  text check (max_size in ('L1', 'L2', 'L3', 'L4', 'L5')),
    idle_timeout_seconds      integer not null check (idle_timeout_seconds >= 0),
    deletion_protection       boolean not null default false,
    state                     text not null check (state in ('creating', 'stopped', 'booting', 'ready', 'idle',
                                                             'stopping', 'deleting', 'error')),
    state_reason              text,
    timeline_id               text not null unique,
    compute_id                text,               -- the compute that serves it or is being started or stopped for it
    writer_term               bigint not null default 0,
    current_scale             integer not null default 0 check (current_scale in (0, 1)),
    target_scale              integer not null default 0 check (target_scale in (0, 1)),
    current_profile           text,
    target_profile            text not null,
    candidate_profile         text,
    candidate_worker_id       text,
    candidate_writer_term     bigint,
    scale_state               text not null default 'STEADY',
    freeze_new_checkouts      boolean not null default false,
    lease_control_epoch       bigint not null default 1,
    autoscale_cooldown_until  timestamptz,
    scale_phase_started_at    timestamptz,
    scale_phase_deadline_at   timestamptz,
    scale_failure_reason      text,
    wanted_until              timestamptz,        -- a client or the API wants it running until then
    last_used_at              timestamptz,
    idle_since                timestamptz,        -- state idle: when the idle clock began
    attempt_count             integer not null default 0,
    retry_at                  timestamptz,
    reconcile_at              timestamptz,        -- when the reconciler must look again; null = nothing to do until told
    compute_milliseconds      bigint not null default 0,
    storage_bytes             bigint not null default 0,
    source                    jsonb,
    version                   bigint not null default 1,
    created_at                timestamptz not null default clock_timestamp(),
    updated_at                timestamptz not null default clock_timestamp(),
    check (state <> 'error' or state_reason is not null),
    check (state not in ('ready', 'idle') or compute_id is not null)
);
create unique index databases_name on databases (tenant_id, name) where state <> 'deleting';
create index databases_due on databases (reconcile_at) where reconcile_at is not null;
create index databases_by_state on databases (tenant_id, state, name);

-- writer_term is the fence: it only grows.
create function databases_guard() returns trigger language plpgsql as $$
begin
    if new.writer_term < old.writer_term then
        raise exception 'writer_term of % may not fall from % to %', old.db_id, old.writer_term, new.writer_term
            using errcode = 'check_violation';
    end if;
    if new.lease_control_epoch < old.lease_control_epoch then
        raise exception 'lease_control_epoch of % may not fall', old.db_id using errcode = 'check_violation';
    end if;
    return new;
end $$;
create trigger databases_guard before update on databases for each row execute function databases_guard();

create table timelines (
    timeline_id  text primary key,
    db_id        text not null,                   -- no reference: the files outlive the row of the database
    node_id      text references nodes,           -- where the files are
    parent_id    text,
    state        text not null check (state in ('creating', 'present', 'deleting', 'gone')),
    created_at   timestamptz not null default clock_timestamp(),
    gone_at      timestamptz
);
create index timelines_by_node on timelines (node_id) where state <> 'gone';

create table computes (
    compute_id    text primary key,
    db_id         text not null,
    timeline_id   text not null references timelines,
    node_id       text not null references nodes,
    writer_term   bigint not null,
    profile       text not null,
    state         text not null check (state in ('starting', 'running', 'stopping', 'ended')),
    backend_addr  text,
    backend_port  integer,
    pid           integer,
    connections   integer not null default 0,
    created_at    timestamptz not null default clock_timestamp(),
    started_at    timestamptz,
    ended_at      timestamptz,
    exit_reason   text,
    unique (db_id, writer_term),
    check ((state = 'ended') = (ended_at is not null)),
    check (state <> 'running' or (backend_addr is not null and backend_port is not null))
);
-- At most one writer per database, held by the catalogue itself.
create unique index computes_one_writer on computes (db_id) where state <> 'ended';
create index computes_by_node on computes (node_id) where state <> 'ended';

create table leases (
    db_id               text not null references databases on delete cascade,
    gateway_id          text not null references gateways on delete cascade,
    active_connections  integer not null default 0,
    acquired_at         timestamptz not null default clock_timestamp(),
    renewed_at          timestamptz not null default clock_timestamp(),
    expires_at          timestamptz not null,
    primary key (db_id, gateway_id)
);
create index leases_by_gateway on leases (gateway_id);
create index leases_by_expiry on leases (expires_at);

create table node_tasks (
    task_id        bigint generated always as identity primary key,
    node_id        text not null references nodes,
    kind           text not null,
    payload        jsonb not null,
    db_id          text,                          -- what it is for, so that the reconciler finds its open tasks
    compute_id     text,
    status         text not null default 'queued' check (status in ('queued', 'dispatched', 'completed', 'failed')),
    attempt        integer not null default 0,
    created_at     timestamptz not null default clock_timestamp(),
    expires_at     timestamptz not null,
    dispatched_at  timestamptz,
    leased_until   timestamptz,
    finished_at    timestamptz,
    result         jsonb,
    error          text,
    retryable      boolean,
    check ((status in ('completed', 'failed')) = (finished_at is not null)),
    check (status <> 'dispatched' or leased_until is not null)
);
create index node_tasks_open on node_tasks (node_id, task_id) where status in ('queued', 'dispatched');
create index node_tasks_by_db on node_tasks (db_id, task_id);
create index node_tasks_old on node_tasks (finished_at) where finished_at is not null;

create table operations (
    op_id         text primary key,
    org_id        text,
    kind          text not null,                  -- database.create, database.delete, database.start, tenant.delete ...
    tenant_id     text,
    db_id         text,
    status        text not null default 'running' check (status in ('running', 'succeeded', 'failed')),
    error         jsonb,
    created_at    timestamptz not null default clock_timestamp(),
    finished_at   timestamptz,
    check ((status = 'running') = (finished_at is null))
);
create index operations_running on operations (db_id) where status = 'running';

create table idempotency_keys (
    scope_id            text not null,            -- the API key's organization (or its own id for scope global)
    idempotency_key     text not null check (length(idempotency_key) between 1 and 255),
    request_sha256      text not null,            -- method, path and body
    response_status     integer not null,
    response_headers    jsonb not null default '{}',
    response_encrypted  bytea not null,           -- bodies hold credentials
    created_at          timestamptz not null default clock_timestamp(),
    expires_at          timestamptz not null,
    primary key (scope_id, idempotency_key)
);
create index idempotency_keys_old on idempotency_keys (expires_at);

create table outbox_events (
    event_seq       bigint generated always as identity primary key,  -- order of writing; per aggregate also of commit
    event_id        text not null unique,
    event_type      text not null,
    subject         text not null,                -- the aggregate: db_..., ten_...
    org_id          text,
    tenant_id       text,
    envelope        jsonb not null,
    status          text not null default 'pending' check (status in ('pending', 'published')),
    position        bigint unique,                -- given by the relay, one at a time: the order readers see, without gaps to come
    attempt_count   integer not null default 0,
    last_error      text,
    created_at      timestamptz not null default clock_timestamp(),
    published_at    timestamptz,
    check ((status = 'published') = (position is not null))
);
create index outbox_events_pending on outbox_events (event_seq) where status = 'pending';
create sequence outbox_positions;

create table audit_logs (
    audit_id     bigint generated always as identity,
    occurred_at  timestamptz not null default clock_timestamp(),
    org_id       text,
    actor        text not null,                   -- key_..., node_..., gw_..., system
    action       text not null,                   -- tenant.create ...
    subject      text,
    outcome      text not null default 'done' check (outcome in ('done', 'refused')),
    request_id   text,
    metadata     jsonb not null default '{}',
    primary key (occurred_at, audit_id),
    check (metadata - array['name', 'tenant', 'project', 'size', 'fields', 'reason', 'code', 'scope', 'permissions', 'key_id',
                            'node', 'kind', 'cascade', 'force', 'address', 'term', 'state', 'grace_seconds', 'path'] = '{}'::jsonb)
) partition by range (occurred_at);
create table audit_logs_default partition of audit_logs default;
create index audit_logs_by_org on audit_logs (org_id, occurred_at);

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is immutable: corrections are new rows', tg_table_name using errcode = 'insufficient_privilege';
end $$;
create trigger audit_logs_immutable before update or delete on audit_logs for each row execute function refuse_change();
create trigger audit_logs_no_truncate before truncate on audit_logs for each statement execute function refuse_change();

-- Makes the partitions of this and the next months ahead of time; runs with the owner's rights because the service owns nothing.
create function ensure_partitions(from_moment timestamptz, months integer) returns integer
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    first date := date_trunc('month', from_moment at time zone 'UTC')::date;
    begins date;
    made integer := 0;
    part text;
begin
    for i in 0 .. months loop
        begins := first + make_interval(months => i);
        part := 'audit_logs_' || to_char(begins, 'YYYY_MM');
        if to_regclass(part) is null then
            begin
                execute format('create table %I partition of audit_logs for values from (%L) to (%L)', part,
                               begins::timestamp at time zone 'UTC', (begins + interval '1 month')::timestamp at time zone 'UTC');
                made := made + 1;
            exception when duplicate_table or check_violation then null;  -- another Control Plane was first, or rows wait in default
            end;
        end if;
    end loop;
    return made;
end $$;

create table policy_definitions (
    key            text primary key,
    value_type     text not null check (value_type in ('integer', 'boolean', 'text')),
    default_value  jsonb not null,
    minimum        bigint,
    maximum        bigint,
    allowed        jsonb,
    description    text not null
);

create table policy_values (
    key         text not null references policy_definitions,
    scope       text not null check (scope in ('global', 'plan', 'org', 'user')),
    scope_id    text not null default '',
    value       jsonb not null,
    updated_at  timestamptz not null default clock_timestamp(),
    updated_by  text not null default 'system',
    primary key (key, scope, scope_id),
    check ((scope = 'global') = (scope_id = ''))
);

create function policy_values_within_bounds() returns trigger language plpgsql as $$
declare
    d policy_definitions;
begin
    select * into d from policy_definitions where key = new.key;
    if d.value_type = 'integer' and (jsonb_typeof(new.value) <> 'number' or new.value::text !~ '^-?[0-9]+$') then
        raise exception 'policy % takes a whole number', new.key using errcode = 'check_violation';
    elsif d.value_type = 'boolean' and jsonb_typeof(new.value) <> 'boolean' then
        raise exception 'policy % takes true or false', new.key using errcode = 'check_violation';
    elsif d.value_type = 'text' and jsonb_typeof(new.value) <> 'string' then
        raise exception 'policy % takes a text', new.key using errcode = 'check_violation';
    end if;
    if d.value_type = 'integer' and ((d.minimum is not null and (new.value)::bigint < d.minimum)
                                  or (d.maximum is not null and (new.value)::bigint > d.maximum)) then
        raise exception 'policy % must lie between % and %', new.key, d.minimum, d.maximum using errcode = 'check_violation';
    end if;
    if d.allowed is not null and not d.allowed @> new.value then
        raise exception 'policy % must be one of %', new.key, d.allowed using errcode = 'check_violation';
    end if;
    return new;
end $$;
create trigger policy_values_within_bounds before insert or update on policy_values
    for each row execute function policy_values_within_bounds();

insert into policy_definitions (key, value_type, default_value, minimum, maximum, description) values
    ('database.idle_timeout_seconds',       'integer', '300', 0, 2592000, 'Idle time of a database whose spec names none.'),
    ('database.start_retry_max',            'integer', '10', 1, 1000, 'Attempts to start a database before only a new connection tries again.'),
    ('limits.tenants_max',                  'integer', '-1', -1, 1000000000, 'Tenants of an account; -1 = no limit.'),
    ('limits.databases_max',                'integer', '-1', -1, 1000000000, 'Databases of an account; -1 = no limit.'),
    ('limits.compute_seconds_max',          'integer', '-1', -1, 9000000000000, 'Compute seconds of an account; -1 = no limit.'),
    ('limits.egress_bytes_max',             'integer', '-1', -1, 9000000000000000, 'Bytes sent to clients of an account; -1 = no limit.'),
    ('api.requests_per_minute',             'integer', '6000', 1, 100000000, 'Requests of one API key.'),
    ('gateway.lease_seconds',               'integer', '15', 1, 3600, 'A lease ends this long after its last renewal.'),
    ('gateway.grace_seconds',               'integer', '600', 0, 86400, 'Cached checkouts stay usable this long while the Control Plane is away.'),
    ('gateway.tenant_connections_max',      'integer', '1000', 1, 1000000, 'Connections of one tenant through one gateway.'),
    ('keys.rotation_grace_seconds',         'integer', '0', 0, 2592000, 'Default time for which a rotated token stays valid.');
insert into policy_definitions (key, value_type, default_value, description) values
    ('operations.start_stop_enabled', 'boolean', 'true', 'Whether start, stop and scale may be called (off = managed mode).');
-- The trial plan of the contract, section 3.
insert into policy_values (key, scope, scope_id, value) values
    ('limits.tenants_max', 'plan', 'trial', '1'),
    ('limits.databases_max', 'plan', 'trial', '2'),
    ('limits.compute_seconds_max', 'plan', 'trial', '36000'),
    ('limits.egress_bytes_max', 'plan', 'trial', '5368709120');

-- The service role: everything it needs, nothing it must not do. It owns nothing.
do $$
begin
    if not exists (select from pg_roles where rolname = 'spg99_service') then
        create role spg99_service nologin;
    end if;
exception when duplicate_object or unique_violation then null;
end $$;
grant spg99_service to current_user;
grant usage on schema public to spg99_service;
grant select, insert, update, delete on
    organizations, projects, tenants, api_keys, nodes, gateways, enrolment_tokens, databases, timelines, computes, leases,
    node_tasks, operations, idempotency_keys, outbox_events, policy_values to spg99_service;
grant select on policy_definitions to spg99_service;
grant select, insert on audit_logs to spg99_service;
grant usage, select on all sequences in schema public to spg99_service;
grant execute on function ensure_partitions(timestamptz, integer) to spg99_service;
