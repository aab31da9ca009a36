-- Queries of databases: their rows, their computes, the leases on them, what they have used.
-- A lease counts until the reconciler has written it off: only it knows whether a lease that was not renewed says anything.

-- count_databases_of_tenant
-- Those that are deleted or on their way out do not count, though some may come back.
select count(*) from databases where tenant_id = %(tenant_id)s and state not in ('deleting', 'deleted') and moment_of is null;

-- names_of_databases_of_tenant
-- As counted above, the newest first: who asks has most likely forgotten that one.
select name from databases where tenant_id = %(tenant_id)s and state not in ('deleting', 'deleted') and moment_of is null
 order by created_at desc, db_id limit %(limit)s;

-- count_databases_of_organization
select count(*) from databases d join tenants t using (tenant_id) where t.org_id = %(org_id)s and d.state not in ('deleting', 'deleted') and d.moment_of is null;

-- count_moments_of_tenant
select count(*) from databases where tenant_id = %(tenant_id)s and moment_of is not null and state <> 'deleting';

-- insert_moment
-- Of the size of its database.
insert into databases (db_id, tenant_id, name, database_name, size, idle_timeout_seconds, storage_limit_bytes, state, timeline_id, target_profile, moment_of,
                       wanted_until, reconcile_at)
select %(db_id)s, tenant_id, %(name)s, %(database_name)s, size, %(linger_seconds)s, storage_limit_bytes, 'stopped', %(timeline_id)s, size, timeline_id,
       %(wanted_until)s, %(wanted_until)s
  from databases where db_id = %(source_id)s;

-- page_of_moments
-- Ordered by name; `after_name` and `after_id` are the last row of the page before.
select d.*, t.org_id, t.name as tenant, t.pg_user, c.backend_addr, c.backend_port, c.started_at as compute_started_at,
       n.node_id as compute_node_id, n.observed ->> 'network_address' as compute_node_address,
       coalesce(c.connections, 0) as compute_connections,
       (select coalesce(sum(l.active_connections), 0)::integer from leases l where l.db_id = d.db_id) as active_connections
  from databases d join tenants t using (tenant_id) left join computes c on c.compute_id = d.compute_id and c.state <> 'ended'
       left join nodes n on n.node_id = c.node_id
 where d.tenant_id = %(tenant_id)s and d.moment_of is not null and d.state <> 'deleting'
   and (d.name collate "C", d.db_id) > (coalesce(%(after_name)s::text, ''), coalesce(%(after_id)s::text, ''))
 order by d.name collate "C", d.db_id limit %(limit)s offset %(offset)s;

-- reconcile_moments_of
-- Without waiting for who is at one: it may wait for the row of the database, which is locked here.
update databases set reconcile_at = to_timestamp(0)
 where db_id in (select db_id from databases where moment_of = %(timeline_id)s order by db_id for no key update skip locked);

-- insert_database
-- What it becomes is known without an answer (rows.new).
insert into databases (db_id, tenant_id, name, size, min_size, max_size, idle_timeout_seconds, storage_limit_bytes,
                       deletion_protection, on_delete, source_database, source_time, source_lsn, source_snapshot, schema_only, branch_lsn, restore_trigger, restore_to,
                       expires_at, history_seconds,
                       state, timeline_id, target_profile, created_at, updated_at)
values (%(db_id)s, %(tenant_id)s, %(name)s, %(size)s, %(min_size)s, %(max_size)s, %(idle_timeout_seconds)s,
        %(storage_limit_bytes)s, %(deletion_protection)s, %(on_delete)s, %(source_database)s, %(source_time)s, %(source_lsn)s, %(source_snapshot)s, %(schema_only)s, %(branch_lsn)s,
        %(restore_trigger)s, %(restore_to)s, %(expires_at)s, %(history_seconds)s, %(state)s,
        %(timeline_id)s, %(target_profile)s, %(created_at)s, %(updated_at)s);

-- find_database
-- One database by name: the one in use comes first; of several on their way out, the latest. One that was deleted is none, also while its data go.
select d.*, t.org_id, t.name as tenant, t.pg_user, c.backend_addr, c.backend_port, c.started_at as compute_started_at,
       n.node_id as compute_node_id, n.observed ->> 'network_address' as compute_node_address,
       coalesce(c.connections, 0) as compute_connections,
       (select coalesce(sum(l.active_connections), 0)::integer from leases l where l.db_id = d.db_id) as active_connections
  from databases d join tenants t using (tenant_id) left join computes c on c.compute_id = d.compute_id and c.state <> 'ended'
       left join nodes n on n.node_id = c.node_id
 where d.tenant_id = %(tenant_id)s and d.name collate "C" = %(name)s and d.undelete_until is null
 order by d.state = 'deleting', d.created_at desc limit 1;

-- find_deleted_database
-- One that was deleted, by name or by name and id: of several the one whose deletion is under way, then the latest that may still come back.
select db_id from databases
 where tenant_id = %(tenant_id)s and name collate "C" = %(name)s and state in ('deleting', 'deleted')
   and (%(db_id)s::text is null or db_id = %(db_id)s)
 order by state = 'deleting' and leaves is not null desc, state = 'deleted' desc, undelete_until desc nulls last limit 1;

-- find_database_by_id
select d.*, t.org_id, t.name as tenant, t.pg_user, c.backend_addr, c.backend_port, c.started_at as compute_started_at,
       n.node_id as compute_node_id, n.observed ->> 'network_address' as compute_node_address,
       coalesce(c.connections, 0) as compute_connections,
       (select coalesce(sum(l.active_connections), 0)::integer from leases l where l.db_id = d.db_id) as active_connections
  from databases d join tenants t using (tenant_id) left join computes c on c.compute_id = d.compute_id and c.state <> 'ended'
       left join nodes n on n.node_id = c.node_id
 where d.db_id = %(db_id)s;

-- lock_database
-- Nobody else changes it until this transaction ends. The first lock of every change. Only the lock: what belongs to the
-- row is read by the next statement, whose snapshot is younger than whoever we waited for.
select db_id from databases where db_id = %(db_id)s for no key update;

-- lock_database_unless_busy
-- As lock_database, but no row when somebody else is at it.
select db_id from databases where db_id = %(db_id)s for no key update skip locked;

-- lock_database_of_name
-- The database of this name in use.
select d.db_id from databases d join tenants t using (tenant_id)
 where d.tenant_id = %(tenant_id)s and d.name collate "C" = %(name)s and d.state not in ('deleting', 'deleted') and t.state = 'active'
   for no key update of d;

-- page_of_databases
-- Ordered by name; `after_name` and `after_id` are the last row of the page before. Those that were deleted only where that is asked, as long as
-- they can come back.
select d.*, t.org_id, t.name as tenant, t.pg_user, c.backend_addr, c.backend_port, c.started_at as compute_started_at,
       n.node_id as compute_node_id, n.observed ->> 'network_address' as compute_node_address,
       coalesce(c.connections, 0) as compute_connections,
       (select coalesce(sum(l.active_connections), 0)::integer from leases l where l.db_id = d.db_id) as active_connections
  from databases d join tenants t using (tenant_id) left join computes c on c.compute_id = d.compute_id and c.state <> 'ended'
       left join nodes n on n.node_id = c.node_id
 where d.tenant_id = %(tenant_id)s and d.moment_of is null
   and (d.name collate "C", d.db_id) > (coalesce(%(after_name)s::text, ''), coalesce(%(after_id)s::text, ''))
   and (%(state)s::text is null or d.state = %(state)s)
   and (d.undelete_until is null or (%(state)s = 'deleted' and d.state = 'deleted' and d.undelete_until > %(now)s))
   and (%(name_prefix)s::text is null or (d.name collate "C" >= %(name_prefix)s and d.name collate "C" < %(name_prefix_end)s))
 order by d.name collate "C", d.db_id limit %(limit)s offset %(offset)s;

-- database_ids_of_tenant
select db_id from databases where tenant_id = %(tenant_id)s order by db_id;

-- save_database
-- Everything the life of a database may change. The row is locked by this transaction.
update databases
   set size = %(size)s, min_size = %(min_size)s, max_size = %(max_size)s, idle_timeout_seconds = %(idle_timeout_seconds)s,
       storage_limit_bytes = %(storage_limit_bytes)s, deletion_protection = %(deletion_protection)s, on_delete = %(on_delete)s, expires_at = %(expires_at)s, history_seconds = %(history_seconds)s,
       leaves = %(leaves)s, undelete_until = %(undelete_until)s, branch_lsn = %(branch_lsn)s, restore_trigger = %(restore_trigger)s, restore_to = %(restore_to)s, state = %(state)s, state_reason = %(state_reason)s,
       compute_id = %(compute_id)s, writer_term = %(writer_term)s, current_scale = %(current_scale)s,
       target_scale = %(target_scale)s, current_profile = %(current_profile)s, target_profile = %(target_profile)s,
       lease_control_epoch = %(lease_control_epoch)s, wanted_until = %(wanted_until)s, last_used_at = %(last_used_at)s,
       idle_since = %(idle_since)s, attempt_count = %(attempt_count)s, retry_at = %(retry_at)s,
       reconcile_at = %(reconcile_at)s, compute_milliseconds = %(compute_milliseconds)s, version = %(version)s,
       updated_at = case when state is distinct from %(state)s or version <> %(version)s then clock_timestamp()
                         else updated_at end
 where db_id = %(db_id)s;

-- reconcile_database
-- Makes the reconciler look now: a moment that has come by every clock, because the reconciler's may not be the catalogue's.
update databases set reconcile_at = to_timestamp(0) where db_id = %(db_id)s;

-- postpone_database
update databases set reconcile_at = %(until)s where db_id = %(db_id)s;

-- due_databases
-- Whose moment has come, or who waits for nothing but has a lease that ended. Sleepers stand in neither index.
(select db_id from databases where reconcile_at <= %(now)s order by reconcile_at limit %(limit)s)
union
(select l.db_id from leases l join databases d using (db_id)
  where l.expires_at <= %(leases_before)s and d.reconcile_at is null order by l.expires_at limit %(limit)s);

-- next_due_at
-- The next moment at which a database is due.
select least((select min(reconcile_at) from databases where reconcile_at is not null),
             (select greatest(l.expires_at, %(leases_from)s) from leases l join databases d using (db_id)
               where d.reconcile_at is null order by l.expires_at limit 1));

-- reconcile_databases_of_node
-- The node's agent is back: everything that waited for it is looked at now.
update databases d set reconcile_at = %(now)s
  from timelines t
 where t.timeline_id = d.timeline_id and t.node_id = %(node_id)s and t.state <> 'gone'
   and (d.state not in ('stopped', 'ready', 'deleted') or d.wanted_until > %(now)s);

-- reconcile_homeless_databases
-- A node is there: databases that were never started, and wait for a node that takes them, are looked at now.
update databases d set reconcile_at = %(now)s
  from timelines t
 where t.timeline_id = d.timeline_id and t.state = 'creating' and d.state in ('stopped', 'error')
   and (d.target_scale = 1 or d.wanted_until > %(now)s);

-- reconcile_running_of_node
-- It is to be emptied: all that runs there, or is about to, is looked at now.
update databases d set reconcile_at = %(now)s
  from timelines t
 where t.timeline_id = d.timeline_id and t.node_id = %(node_id)s and d.state not in ('stopped', 'deleted');

-- reconcile_databases_of_silent_nodes
-- Those that wait for an agent which is away, though any node could have them: nobody else makes us look. Only computes that are starting or
-- stopping are read, by the index of those that have not ended.
update databases d set reconcile_at = %(now)s
  from computes c join nodes n on n.node_id = c.node_id join timelines t on t.timeline_id = c.timeline_id
 where c.state in ('starting', 'stopping') and c.role = 'writer' and n.last_seen_at < %(silent_before)s
   and (t.configuration is not null or d.moment_of is not null) and d.db_id = c.db_id and d.compute_id = c.compute_id;

-- what_lies_on_node
-- Databases whose files on this node are the only copy, and computes that are not known to have ended there.
select (select count(*) from timelines t join databases d on d.timeline_id = t.timeline_id
         where t.node_id = %(node_id)s and t.configuration is null and t.state in ('present', 'deleting') and d.moment_of is null)::integer as only_copies,
       (select array_agg(n) from (select te.name || '/' || d.name as n
                                    from timelines t join databases d on d.timeline_id = t.timeline_id
                                         join tenants te on te.tenant_id = d.tenant_id
                                   where t.node_id = %(node_id)s and t.configuration is null and t.state in ('present', 'deleting') and d.moment_of is null
                                   order by 1 limit 3) named) as examples,
       (select count(*) from computes where node_id = %(node_id)s and state <> 'ended')::integer as computes;

-- databases_kept_by
-- Databases of which a safekeeper keeps WAL that counts, with all who do.
select te.name || '/' || d.name as database, t.configuration
  from timelines t join databases d on d.timeline_id = t.timeline_id join tenants te on te.tenant_id = d.tenant_id
 where t.state = 'present' and t.configuration -> 'members' -> 'safekeeper_ids' ? %(safekeeper_id)s
 order by 1;

-- retime_databases
-- After a step of the clock. Moments that lie ahead come no later than they could have been written now; what waits for one
-- is looked at; an idle clock that runs begins anew. Rows are locked in order, as everybody does.
with moved as (
    select db_id from databases
     where reconcile_at is not null or idle_since is not null or retry_at is not null
        or wanted_until > %(now)s::timestamptz or last_used_at > %(now)s::timestamptz
     order by db_id for no key update
)
update databases d
   set reconcile_at = case when d.reconcile_at is not null then %(now)s::timestamptz end,
       idle_since = case when d.idle_since is not null then %(now)s::timestamptz end,
       retry_at = case when d.retry_at is not null then least(d.retry_at, %(retry_at_most)s::timestamptz) end,
       wanted_until = case when d.wanted_until is not null then least(d.wanted_until, %(wanted_at_most)s::timestamptz) end,
       last_used_at = case when d.last_used_at is not null then least(d.last_used_at, %(now)s::timestamptz) end
  from moved where moved.db_id = d.db_id;

-- retime_leases
update leases set expires_at = %(expires_at)s;

-- note_storage
-- What timelines of the node that reports take on disk. Rows somebody is changing are left for the next report.
with seen as (
    select d.db_id, b.value::bigint as bytes
      from jsonb_each_text(%(bytes)s) b
      join timelines tl on tl.timeline_id = b.key and tl.node_id = %(node_id)s
      join databases d on d.timeline_id = tl.timeline_id
     where d.storage_bytes <> b.value::bigint
     order by d.db_id for no key update of d skip locked
)
update databases d set storage_bytes = seen.bytes from seen where d.db_id = seen.db_id;

-- storage_of_computes
-- What is to be known of the storage of databases whose computes a node reports.
select d.db_id, d.timeline_id, d.size, d.storage_limit_bytes, d.storage_state, d.storage_held_by, t.org_id
  from databases d join tenants t using (tenant_id) join computes c on c.compute_id = d.compute_id
 where c.node_id = %(node_id)s and c.state = 'running' and d.timeline_id = any(%(timeline_ids)s);

-- note_storage_state
-- No row when somebody is changing it: the next report comes soon.
update databases set storage_state = %(storage_state)s
 where db_id = (select db_id from databases where db_id = %(db_id)s and storage_state <> %(storage_state)s
                  for no key update skip locked)
returning db_id;

-- note_storage_held_by
-- The same.
update databases set storage_held_by = %(storage_held_by)s
 where db_id = (select db_id from databases where db_id = %(db_id)s for no key update skip locked);

-- count_databases_by_storage_state
select storage_state as state, count(*)::integer as databases from databases where storage_state <> 'ok' and moment_of is null group by 1;

-- expired_databases
-- Whose time is over, longest first. Those that are protected or on their way out are not looked at.
select db_id from databases
 where expires_at <= %(now)s and state not in ('deleting', 'deleted') and not deletion_protection order by expires_at limit %(limit)s;

-- databases_to_remove
-- Deleted, and the time in which they could come back is over. In no order that would let those come first each time that something still needs.
select db_id from databases where state = 'deleted' and undelete_until <= %(now)s order by random() limit %(limit)s;

-- rename_database
update databases set name = %(name)s, database_name = %(database_name)s where db_id = %(db_id)s;

-- drop_restore
-- Nobody wants it back at a moment of its history any more.
update databases set restore = null where db_id = %(db_id)s;

-- note_restore
update databases set restore = %(restore)s where db_id = %(db_id)s;

-- exchange_timeline
-- From here on it has another history.
update databases
   set timeline_id = %(timeline_id)s, database_name = null, restore = null, last_verified_at = null, history_begins_at = null,
       history_failed_at = null
 where db_id = %(db_id)s;

-- insert_database_before
-- What a database was until now, as another one of its tenant: with its history, and with whoever runs on it.
insert into databases (db_id, tenant_id, name, database_name, size, min_size, max_size, idle_timeout_seconds, storage_limit_bytes, history_seconds, expires_at,
                       source_database, source_time, source_lsn, source_snapshot, schema_only, branch_lsn, state, state_reason, timeline_id, compute_id, writer_term,
                       current_scale, current_profile, target_profile, storage_bytes, storage_state, storage_held_by, version)
select %(kept_id)s, tenant_id, %(name)s, %(database_name)s, size, min_size, max_size, idle_timeout_seconds, storage_limit_bytes, history_seconds, %(expires_at)s,
       source_database, source_time, source_lsn, source_snapshot, schema_only, %(branch_lsn)s, %(state)s, %(state_reason)s, %(timeline_id)s, %(compute_id)s, %(writer_term)s,
       %(current_scale)s, %(current_profile)s, target_profile, storage_bytes, storage_state, storage_held_by, version + 1
  from databases where db_id = %(db_id)s;

-- insert_snapshot
insert into snapshots (snapshot_id, tenant_id, name, db_id, database, time, lsn, origin, expires_at, schedule_id,
                       verify_asked_at)
values (%(snapshot_id)s, %(tenant_id)s, %(name)s, %(db_id)s, %(database)s, %(time)s, %(lsn)s, %(origin)s, %(expires_at)s, %(schedule_id)s,
        %(verify_asked_at)s);

-- find_snapshot
select s.*, t.org_id, t.name as tenant, c.name as schedule
  from snapshots s join tenants t using (tenant_id) left join snapshot_schedules c using (schedule_id)
 where s.tenant_id = %(tenant_id)s and s.name = %(name)s;

-- hold_snapshot
-- It stays until this transaction ends.
select snapshot_id from snapshots where snapshot_id = %(snapshot_id)s for share;

-- page_of_snapshots
-- Ordered by name; `after_name` and `after_id` are the last row of the page before.
select s.*, t.org_id, t.name as tenant, c.name as schedule
  from snapshots s join tenants t using (tenant_id) left join snapshot_schedules c using (schedule_id)
 where s.tenant_id = %(tenant_id)s
   and (s.name collate "C", s.snapshot_id) > (coalesce(%(after_name)s::text, ''), coalesce(%(after_id)s::text, ''))
   and (%(database)s::text is null or s.database = %(database)s)
   and (%(schedule)s::text is null or c.name = %(schedule)s)
   and (%(name_prefix)s::text is null or (s.name collate "C" >= %(name_prefix)s and s.name collate "C" < %(name_prefix_end)s))
 order by s.name collate "C", s.snapshot_id limit %(limit)s offset %(offset)s;

-- snapshots_of_tenant
select s.*, t.org_id, t.name as tenant, c.name as schedule
  from snapshots s join tenants t using (tenant_id) left join snapshot_schedules c using (schedule_id)
 where s.tenant_id = %(tenant_id)s order by s.snapshot_id for update of s;

-- count_snapshots_alone
-- Snapshots of a tenant whose database is deleted: nothing else has their content.
select count(*) from snapshots s
 where s.tenant_id = %(tenant_id)s
   and not exists (select from databases d where d.db_id = s.db_id and d.state not in ('deleting', 'deleted'));

-- snapshots_of_ids
select s.*, t.org_id, t.name as tenant, c.name as schedule
  from snapshots s join tenants t using (tenant_id) left join snapshot_schedules c using (schedule_id)
 where s.snapshot_id = any(%(snapshot_ids)s) order by s.name;

-- change_snapshot
update snapshots set expires_at = %(expires_at)s, version = version + 1, updated_at = clock_timestamp()
 where snapshot_id = %(snapshot_id)s;

-- expired_snapshots
select s.*, t.org_id, t.name as tenant, c.name as schedule
  from snapshots s join tenants t using (tenant_id) left join snapshot_schedules c using (schedule_id)
 where s.expires_at <= %(now)s order by s.expires_at limit %(limit)s for update of s skip locked;

-- delete_snapshot
delete from snapshots where snapshot_id = %(snapshot_id)s;

-- snapshots_of_schedule
-- Those that it has made, the latest first, and whether somebody is about to begin in one: a branch that was never started, a restore that is not carried out yet.
select s.*, t.org_id, t.name as tenant, c.name as schedule,
       exists (select from databases d left join timelines tl on tl.timeline_id = d.timeline_id
                where d.tenant_id = s.tenant_id and d.state <> 'deleting'
                  and (d.source_snapshot = s.name and tl.state = 'creating' or d.restore_to = s.name and d.restore is not null)) as is_needed
  from snapshots s join tenants t using (tenant_id) join snapshot_schedules c using (schedule_id)
 where s.schedule_id = %(schedule_id)s
 order by s.created_at desc, s.snapshot_id for update of s;

-- ask_for_verification
update snapshots set verify_asked_at = coalesce(verify_asked_at, %(now)s), updated_at = clock_timestamp() where snapshot_id = %(snapshot_id)s;

-- snapshots_to_verify
select s.*, t.org_id, t.name as tenant, c.name as schedule
  from snapshots s join tenants t using (tenant_id) left join snapshot_schedules c using (schedule_id)
 where s.verify_asked_at is not null order by s.last_error is not null, s.verify_asked_at limit %(limit)s;

-- note_verified
-- What nobody could tell stays asked for.
with noted as (
    update snapshots
       set last_verified_at = coalesce(%(verified_at)s::timestamptz, last_verified_at), last_error = %(problem)s::text,
           verify_asked_at = case when %(is_over)s then null else verify_asked_at end, updated_at = clock_timestamp()
     where snapshot_id = %(snapshot_id)s and verify_asked_at is not null
       and (last_error is distinct from %(problem)s::text or %(is_over)s)
    returning *)
select s.*, t.org_id, t.name as tenant, c.name as schedule
  from noted s join tenants t using (tenant_id) left join snapshot_schedules c using (schedule_id);

-- let_go_of_snapshots
-- They are ordinary ones from now on.
update snapshots set schedule_id = null, version = version + 1, updated_at = clock_timestamp() where schedule_id = %(schedule_id)s;

-- insert_schedule
insert into snapshot_schedules (schedule_id, tenant_id, name, db_id, database, cron, keep, verify, next_snapshot_at, attempt_at)
values (%(schedule_id)s, %(tenant_id)s, %(name)s, %(db_id)s, %(database)s, %(cron)s, %(keep)s, %(verify)s, %(next_snapshot_at)s, %(next_snapshot_at)s);

-- find_schedule
select s.*, t.org_id, t.name as tenant from snapshot_schedules s join tenants t using (tenant_id)
 where s.tenant_id = %(tenant_id)s and s.name = %(name)s;

-- lock_schedule
-- Nobody else changes it, or makes a snapshot for it, until this transaction ends.
select schedule_id from snapshot_schedules where schedule_id = %(schedule_id)s for no key update;

-- page_of_schedules
-- Ordered by name; `after_name` and `after_id` are the last row of the page before.
select s.*, t.org_id, t.name as tenant from snapshot_schedules s join tenants t using (tenant_id)
 where s.tenant_id = %(tenant_id)s
   and (s.name collate "C", s.schedule_id) > (coalesce(%(after_name)s::text, ''), coalesce(%(after_id)s::text, ''))
   and (%(database)s::text is null or s.database = %(database)s)
   and (%(name_prefix)s::text is null or (s.name collate "C" >= %(name_prefix)s and s.name collate "C" < %(name_prefix_end)s))
 order by s.name collate "C", s.schedule_id limit %(limit)s offset %(offset)s;

-- schedules_of_tenant
select s.*, t.org_id, t.name as tenant from snapshot_schedules s join tenants t using (tenant_id)
 where s.tenant_id = %(tenant_id)s order by s.schedule_id for no key update of s;

-- schedules_of_database
select s.*, t.org_id, t.name as tenant from snapshot_schedules s join tenants t using (tenant_id)
 where s.db_id = %(db_id)s order by s.name;

-- change_schedule
update snapshot_schedules
   set cron = %(cron)s, keep = %(keep)s, verify = %(verify)s, next_snapshot_at = %(next_snapshot_at)s, attempt_at = %(attempt_at)s, claim = %(claim)s,
       version = version + 1, updated_at = clock_timestamp()
 where schedule_id = %(schedule_id)s;

-- claim_schedules
-- Those whose moment has come: from now on this attempt at them counts, and others look at them again only when it should be over.
update snapshot_schedules s
   set claim = %(claim)s, attempt_at = %(until)s
  from tenants t
 where t.tenant_id = s.tenant_id
   and s.schedule_id in (select schedule_id from snapshot_schedules where attempt_at <= %(now)s
                          order by attempt_at limit %(limit)s for update skip locked)
returning s.*, t.org_id, t.name as tenant;

-- claimed_schedule
-- It, locked, if this attempt still counts.
select s.*, t.org_id, t.name as tenant from snapshot_schedules s join tenants t using (tenant_id)
 where s.schedule_id = %(schedule_id)s and s.claim = %(claim)s for no key update of s;

-- note_attempt
update snapshot_schedules
   set claim = null, next_snapshot_at = %(next_snapshot_at)s, attempt_at = %(attempt_at)s, last_snapshot_at = %(last_snapshot_at)s,
       last_error = %(last_error)s
 where schedule_id = %(schedule_id)s;

-- page_of_schedule_times
select schedule_id, cron, next_snapshot_at, attempt_at from snapshot_schedules
 where schedule_id > %(after_id)s order by schedule_id limit %(limit)s for no key update skip locked;

-- set_schedule_times
update snapshot_schedules set next_snapshot_at = %(next_snapshot_at)s, attempt_at = %(attempt_at)s where schedule_id = %(schedule_id)s;

-- delete_schedule
delete from snapshot_schedules where schedule_id = %(schedule_id)s;

-- delete_database
delete from databases where db_id = %(db_id)s;

-- insert_compute
insert into computes (compute_id, db_id, timeline_id, node_id, writer_term, profile, state)
values (%(compute_id)s, %(db_id)s, %(timeline_id)s, %(node_id)s, %(writer_term)s, %(profile)s, 'starting');

-- mark_compute_running
update computes
   set state = 'running', backend_addr = %(backend_addr)s, backend_port = %(backend_port)s, pid = %(pid)s,
       started_at = %(now)s
 where compute_id = %(compute_id)s and state = 'starting';

-- mark_compute_stopping
update computes set state = 'stopping' where compute_id = %(compute_id)s and state <> 'ended';

-- give_compute
-- It serves another database from here on.
update computes set db_id = %(db_id)s where compute_id = %(compute_id)s;

-- mark_compute_running_on
update computes set state = 'running' where compute_id = %(compute_id)s and state = 'stopping';

-- end_compute
-- Answers for how long it ran. clock_timestamp(): the end is now, not when a long transaction began.
update computes
   set state = 'ended', ended_at = clock_timestamp(), exit_reason = %(reason)s, connections = 0
 where compute_id = %(compute_id)s and state <> 'ended'
returning coalesce(greatest(0, extract(epoch from ended_at - started_at) * 1000), 0)::bigint;

-- computes_on_node
-- What should run there, and what is being started or stopped there.
select * from computes where node_id = %(node_id)s and state <> 'ended';

-- last_terms_of_timeline
-- Which nodes have had a timeline, and its last term there: they have files of it that may still do.
select node_id, max(writer_term)::bigint as writer_term from computes where timeline_id = %(timeline_id)s group by node_id;

-- computes_of_timeline
select compute_id from computes where timeline_id = %(timeline_id)s order by writer_term;

-- note_connections
-- Only those of the node that reports. Rows somebody is changing are left for the next report.
with seen as (
    select c.compute_id, n.value::integer as connections
      from jsonb_each_text(%(connections)s) n join computes c on c.compute_id = n.key
     where c.node_id = %(node_id)s and c.state <> 'ended' and c.connections <> n.value::integer
     order by c.compute_id for no key update of c skip locked
)
update computes c set connections = seen.connections from seen where c.compute_id = seen.compute_id;

-- forget_computes
-- Ended generations older than `moment`; a database keeps its newest, it is what the last end is read from, and a timeline that no
-- start has succeeded on yet keeps all: whose WAL safekeepers have of it must be known (ComputeStart.attempts).
delete from computes where compute_id in (
    select c.compute_id from computes c
     where c.state = 'ended' and c.ended_at < %(moment)s
       and not exists (select from databases d where d.compute_id = c.compute_id)
       and not exists (select from timelines t where t.timeline_id = c.timeline_id and t.state = 'creating')
     limit %(limit)s);

-- database_surroundings
-- Everything around one database, by id or the one in use by name, that a decision looks at, once for each of its latest orders (newest first);
-- its row may hold changes that are not saved yet.
select d.db_id, k.task_id, k.kind, k.compute_id as task_compute_id, k.status, k.expires_at, k.finished_at, k.result, k.error, k.retryable,
       tl.timeline_id, tl.state as timeline_state, tl.node_id as timeline_node_id, tl.configuration as timeline_configuration,
       tl.origin as timeline_origin,
       c.compute_id, c.state as compute_state, c.started_at, c.ended_at, c.exit_reason,
       n.node_id, n.name as node_name, n.status as node_status, n.last_seen_at as node_last_seen_at,
       (n.observed ->> 'keeps_wal')::boolean as node_keeps_wal, n.drain_ends_sessions as node_ends_sessions,
       (select max(expires_at) from leases where db_id = d.db_id and expires_at > %(leases_before)s) as leases_end_at,
       exists (select from leases where db_id = d.db_id and expires_at <= %(leases_before)s) as has_ended_leases,
       d.moment_of is not null and not exists (select from databases s where s.timeline_id = d.moment_of and s.state not in ('deleting', 'deleted')) as is_source_gone
  from databases d
  join timelines tl on tl.timeline_id = d.timeline_id
  left join computes c on c.compute_id = case when %(is_saved)s then d.compute_id else %(compute_id)s end
  left join nodes n on n.node_id = tl.node_id
  left join lateral (select * from node_tasks where db_id = d.db_id order by task_id desc limit 8) k on true
 where d.db_id = (select coalesce(%(db_id)s::text, (select i.db_id from databases i where i.tenant_id = %(tenant_id)s
                                                      and i.name collate "C" = %(name)s and i.state not in ('deleting', 'deleted'))))
 order by k.task_id desc;

-- take_lease
-- The database's row is locked by this transaction.
insert into leases (db_id, gateway_id, renewed_at, expires_at)
values (%(db_id)s, %(gateway_id)s, %(now)s, %(expires_at)s)
on conflict (db_id, gateway_id) do update set renewed_at = %(now)s, expires_at = greatest(leases.expires_at, %(expires_at)s);

-- report_leases
-- All leases of one Gateway in one statement. In use: renewed, or taken anew if the database still runs; unused: released.
-- The rows of the databases are locked first and in order, as everybody does, so a lease and a stop never pass each other.
-- Answers the databases whose lease stands, and which of them (and of the released ones) must be looked at.
with report as (
    select * from unnest(%(db_ids)s::text[], %(connections)s::integer[], %(last_used_ats)s::timestamptz[])
        as r(db_id, connections, last_used_at)
), egress as (
    select * from unnest(%(egress_db_ids)s::text[], %(egress_bytes)s::bigint[]) as e(db_id, egress_bytes)
), held as (
    -- What went out counts for one that was stopped meanwhile or is not reported as used, too.
    select d.db_id, d.state, d.state in ('ready', 'idle') and r.db_id is not null as runs, r.connections,
           coalesce(e.egress_bytes, 0) as egress_bytes, least(r.last_used_at, %(now)s) as last_used_at
      from databases d left join report r on r.db_id = d.db_id left join egress e on e.db_id = d.db_id
     where d.db_id in (select db_id from report union all select db_id from egress)
       and (d.state in ('ready', 'idle') or e.egress_bytes > 0)
     order by d.db_id
       for no key update of d
), running as (
    select * from held where runs
), kept as (
    insert into leases (db_id, gateway_id, active_connections, renewed_at, expires_at)
    select db_id, %(gateway_id)s, connections, %(now)s, %(expires_at)s from running where connections > 0
    on conflict (db_id, gateway_id)
    do update set active_connections = excluded.active_connections, renewed_at = %(now)s, expires_at = %(expires_at)s
    returning db_id
), released as (
    delete from leases l using report r
     where l.db_id = r.db_id and l.gateway_id = %(gateway_id)s and r.connections = 0
    returning l.db_id
), noted as (
    update databases d
       set egress_bytes = d.egress_bytes + held.egress_bytes,
           last_used_at = case when held.runs then greatest(d.last_used_at, held.last_used_at) else d.last_used_at end,
           -- Used and released since the last checkout: nobody is about to connect any more.
           wanted_until = case when held.runs and held.connections = 0
                                    and held.last_used_at >= d.wanted_until - %(held_for)s::interval
                               then null else d.wanted_until end,
           reconcile_at = case when held.runs and (held.state = 'ready') <> (held.connections > 0) then %(now)s
                               else d.reconcile_at end
      from held where held.db_id = d.db_id
    returning d.db_id, held.runs, (held.state = 'ready') <> (held.connections > 0) as needs_reconciling
)
select n.db_id, n.db_id in (select db_id from kept) as stands, n.needs_reconciling from noted n where n.runs;

-- remove_ended_leases
delete from leases where db_id = %(db_id)s and expires_at <= %(moment)s;

-- release_leases_of_database
delete from leases where db_id = %(db_id)s;

-- usage_of_organization
-- Compute time runs until now for a compute that runs.
select (coalesce(max(u.compute_milliseconds), 0)
        + coalesce(sum(d.compute_milliseconds
                       + coalesce(greatest(0, extract(epoch from %(now)s - c.started_at) * 1000), 0)), 0))::bigint / 1000
           as compute_seconds,
       (coalesce(max(u.egress_bytes), 0) + coalesce(sum(d.egress_bytes), 0))::bigint as egress_bytes
  from organizations o
  left join organization_usage u on u.org_id = o.org_id
  left join tenants t on t.org_id = o.org_id
  left join databases d on d.tenant_id = t.tenant_id
  left join computes c on c.compute_id = d.compute_id and c.state <> 'ended'
 where o.org_id = %(org_id)s;

-- keep_usage_of_database
-- What a database has used stays with its account when it goes.
insert into organization_usage (org_id, compute_milliseconds, egress_bytes)
select t.org_id, %(compute_milliseconds)s, d.egress_bytes
  from databases d join tenants t using (tenant_id) where d.db_id = %(db_id)s
on conflict (org_id) do update
   set compute_milliseconds = organization_usage.compute_milliseconds + excluded.compute_milliseconds,
       egress_bytes = organization_usage.egress_bytes + excluded.egress_bytes;

-- count_databases_by_state
select state, count(*) as databases from databases where moment_of is null group by state;

-- note_history_of_database
-- What a pageserver does not say (it has just begun) stays what it was.
update databases
   set last_verified_at = coalesce(%(last_verified_at)s, last_verified_at),
       history_begins_at = coalesce(%(begins_at)s, history_begins_at),
       history_failed_at = case when %(has_failed)s then coalesce(history_failed_at, %(now)s) end
 where timeline_id = %(timeline_id)s;

-- databases_of_timelines
-- Of what was deleted and cannot come back any more, only what is pinned is kept.
select d.timeline_id, case when d.state = 'deleted' and d.undelete_until <= %(now)s then 0 else d.history_seconds end as history_seconds, t.org_id
  from databases d join tenants t using (tenant_id)
 where d.timeline_id = any(%(timeline_ids)s);

-- tenants_to_describe
-- Of which the object store does not say yet what is so now.
select s.tenant_id, s.description_tag, t.version::text as revision
  from stored_tenants s join tenants t using (tenant_id)
 where s.state = 'in_use' and s.described is distinct from t.version::text
 order by s.tenant_id limit %(limit)s;

-- databases_to_describe
-- The same of databases. Everything that a description says, or that it hangs on, stands in the revision.
select * from (
    select d.db_id, d.tenant_id, d.name, d.size, d.min_size, d.max_size, d.idle_timeout_seconds, d.storage_limit_bytes, d.history_seconds, d.deletion_protection, d.on_delete,
           d.source_database, d.source_time, d.source_lsn, d.source_snapshot, d.schema_only, d.branch_lsn, d.expires_at, d.undelete_until, d.database_name,
           -- One that is not carried out yet is asked for again by the next declaration; one that is, never.
           case when d.restore is null then d.restore_trigger end as restore_trigger, case when d.restore is null then d.restore_to end as restore_to,
           tl.origin is not null and tl.state = 'creating' as begins_in_another, d.state, d.writer_term, d.version, d.created_at, tl.timeline_id, tl.state as timeline_state, tl.configuration,
           tl.node_id, n.name as node_name, tl.description_tag, tl.described,
           concat_ws('.', d.version, d.writer_term / %(terms_at_once)s, d.state = 'deleting', tl.state, tl.node_id,
                     tl.configuration ->> 'number', d.database_name, d.branch_lsn, d.restore is null, d.undelete_until) as revision
      from timelines tl join databases d on d.timeline_id = tl.timeline_id left join nodes n on n.node_id = tl.node_id
     where tl.configuration is not null) due
 where described is distinct from revision
 order by timeline_id limit %(limit)s;

-- raise_writer_terms
-- A safekeeper has promised a higher term than the catalogue knows, which is one of yesterday or was made anew: the next start is above it.
with promised as (
    select d.db_id, p.value::bigint as term
      from jsonb_each_text(%(promised)s) p join databases d on d.timeline_id = p.key
     where d.writer_term < p.value::bigint
     order by d.db_id for no key update of d
)
update databases d set writer_term = promised.term from promised where d.db_id = promised.db_id;

-- restore_database
insert into databases (db_id, tenant_id, name, size, min_size, max_size, idle_timeout_seconds, storage_limit_bytes, history_seconds, deletion_protection, on_delete,
                       source_database, source_time, source_lsn, source_snapshot, schema_only, branch_lsn, restore_trigger, restore_to, expires_at, undelete_until, database_name, state, timeline_id, target_profile, writer_term, version, created_at)
values (%(db_id)s, %(tenant_id)s, %(name)s, %(size)s, %(min_size)s, %(max_size)s, %(idle_timeout_seconds)s, %(storage_limit_bytes)s,
        %(history_seconds)s, %(deletion_protection)s, %(on_delete)s, %(source_database)s, %(source_time)s, %(source_lsn)s, %(source_snapshot)s, %(schema_only)s, %(branch_lsn)s,
        %(restore_trigger)s, %(restore_to)s, %(expires_at)s,
        %(undelete_until)s, %(database_name)s, %(state)s, %(timeline_id)s, %(size)s, %(writer_term)s, %(version)s, %(created_at)s);

-- insert_export
insert into exports (export_id, tenant_id, db_id, database, pg_user, origin, op_id, expires_at, created_at)
values (%(export_id)s, %(tenant_id)s, %(db_id)s, %(database)s, %(pg_user)s, %(origin)s, %(op_id)s, %(expires_at)s, %(created_at)s);

-- find_export
select e.*, t.org_id, t.name as tenant from exports e join tenants t using (tenant_id) where e.export_id = %(export_id)s;

-- lock_export
select e.*, t.org_id, t.name as tenant from exports e join tenants t using (tenant_id) where e.export_id = %(export_id)s for update of e;

-- page_of_exports
-- Ordered by the name of their database; `after_name` and `after_id` are the last row of the page before.
select e.*, t.org_id, t.name as tenant from exports e join tenants t using (tenant_id)
 where e.tenant_id = %(tenant_id)s and e.state <> 'deleting'
   and (e.database collate "C", e.export_id) > (coalesce(%(after_name)s::text, ''), coalesce(%(after_id)s::text, ''))
   and (%(name_prefix)s::text is null or (e.database collate "C" >= %(name_prefix)s and e.database collate "C" < %(name_prefix_end)s))
 order by e.database collate "C", e.export_id limit %(limit)s offset %(offset)s;

-- exports_of_tenant
select e.*, t.org_id, t.name as tenant from exports e join tenants t using (tenant_id)
 where e.tenant_id = %(tenant_id)s order by e.export_id for update of e;

-- due_exports
-- The oldest first: a node makes one at a time.
select export_id from exports where state in ('waiting', 'running', 'deleting') or expires_at <= %(now)s order by created_at, export_id limit %(limit)s;

-- nodes_that_export
-- Also one whose export is being deleted meanwhile: it may still be at it.
select distinct node_id from exports where node_id is not null and (state = 'running' or (state = 'deleting' and size_bytes is null));

-- change_export
update exports
   set state = %(state)s, task_id = %(task_id)s, node_id = %(node_id)s, attempt_id = %(attempt_id)s, size_bytes = %(size_bytes)s,
       piece_bytes = %(piece_bytes)s, error = %(error)s, expires_at = %(expires_at)s, finished_at = %(finished_at)s
 where export_id = %(export_id)s;

-- delete_export
delete from exports where export_id = %(export_id)s;
