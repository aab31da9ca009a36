-- Queries of databases.

-- insert_database
insert into databases (db_id, tenant_id, name, size, min_size, max_size, idle_timeout_seconds, deletion_protection, state,
                       timeline_id, target_profile, reconcile_at)
values (%(db_id)s, %(tenant_id)s, %(name)s, %(size)s, %(min_size)s, %(max_size)s, %(idle_timeout_seconds)s,
        %(deletion_protection)s, 'creating', %(timeline_id)s, %(size)s, clock_timestamp());

-- find_database
-- One database by name: the one in use comes first; of several on their way out, the latest.
select d.*, t.org_id, t.name as tenant, t.pg_user, c.backend_addr, c.backend_port, c.started_at as compute_started_at,
       (select coalesce(sum(l.active_connections), 0)::integer from leases l
         where l.db_id = d.db_id and l.expires_at > clock_timestamp()) as active_connections
  from databases d join tenants t using (tenant_id) left join computes c on c.compute_id = d.compute_id and c.state <> 'ended'
 where d.tenant_id = %(tenant_id)s and d.name collate "C" = %(name)s
 order by d.state = 'deleting', d.created_at desc limit 1;

-- find_database_by_id
select d.*, t.org_id, t.name as tenant, t.pg_user, c.backend_addr, c.backend_port, c.started_at as compute_started_at,
       (select coalesce(sum(l.active_connections), 0)::integer from leases l
         where l.db_id = d.db_id and l.expires_at > clock_timestamp()) as active_connections
  from databases d join tenants t using (tenant_id) left join computes c on c.compute_id = d.compute_id and c.state <> 'ended'
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
 where d.tenant_id = %(tenant_id)s and d.name collate "C" = %(name)s and d.state <> 'deleting' and t.state = 'active'
   for no key update of d;

-- page_of_databases
-- Ordered by name; `after_name` and `after_id` are the last row of the page before.
select d.*, t.org_id, t.name as tenant, t.pg_user, c.backend_addr, c.backend_port, c.started_at as compute_started_at,
       (select coalesce(sum(l.active_connections), 0)::integer from leases l
         where l.db_id = d.db_id and l.expires_at > clock_timestamp()) as active_connections
  from databases d join tenants t using (tenant_id) left join computes c on c.compute_id = d.compute_id and c.state <> 'ended'
 where d.tenant_id = %(tenant_id)s
   and (%(after_name)s::text is null or (d.name collate "C", d.db_id) > (%(after_name)s::text, %(after_id)s::text))
   and (%(state)s::text is null or d.state = %(state)s)
   and (%(name_prefix)s::text is null or (d.name collate "C" >= %(name_prefix)s and d.name collate "C" < %(name_prefix_end)s))
 order by d.name collate "C", d.db_id limit %(limit)s offset %(offset)s;

-- database_ids_of_tenant
select db_id from databases where tenant_id = %(tenant_id)s order by db_id;

-- hold_tenant_active
-- The state of a tenant, held until this transaction ends: a tenant on its way out gets no new database.
select state from tenants where tenant_id = %(tenant_id)s for share;

-- save_database
-- Everything the life of a database may change. The row is locked by this transaction.
update databases
   set size = %(size)s, min_size = %(min_size)s, max_size = %(max_size)s, idle_timeout_seconds = %(idle_timeout_seconds)s,
       deletion_protection = %(deletion_protection)s, state = %(state)s, state_reason = %(state_reason)s,
       compute_id = %(compute_id)s, writer_term = %(writer_term)s, current_scale = %(current_scale)s,
       target_scale = %(target_scale)s, current_profile = %(current_profile)s, target_profile = %(target_profile)s,
       lease_control_epoch = %(lease_control_epoch)s, wanted_until = %(wanted_until)s, last_used_at = %(last_used_at)s,
       idle_since = %(idle_since)s, attempt_count = %(attempt_count)s, retry_at = %(retry_at)s,
       reconcile_at = %(reconcile_at)s, compute_milliseconds = %(compute_milliseconds)s, version = %(version)s,
       updated_at = case when state is distinct from %(state)s or version <> %(version)s then clock_timestamp()
                         else updated_at end
 where db_id = %(db_id)s;

-- look_at_database
-- Makes the reconciler look now.
update databases set reconcile_at = clock_timestamp() where db_id = %(db_id)s;

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

-- look_at_databases_of_node
-- The node's agent is back: everything that waited for it is looked at now.
update databases d set reconcile_at = %(now)s
  from timelines t
 where t.timeline_id = d.timeline_id and t.node_id = %(node_id)s and t.state <> 'gone'
   and (d.state not in ('stopped', 'ready') or d.wanted_until > %(now)s);

-- look_at_homeless_databases
-- A node is there: databases that no node could take are looked at now.
update databases d set reconcile_at = %(now)s
  from timelines t
 where t.timeline_id = d.timeline_id and t.node_id is null and d.state in ('creating', 'error');

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

-- delete_database
delete from databases where db_id = %(db_id)s;

-- wish_running
-- What is idle is as if it had just been used; after a failed start somebody waits, so it is tried again soon.
update databases
   set idle_since = case when state = 'idle' then clock_timestamp() end,
       wanted_until = case when state = 'error' then greatest(wanted_until, clock_timestamp() + interval '10 seconds')
                           else wanted_until end
 where db_id = %(db_id)s;
