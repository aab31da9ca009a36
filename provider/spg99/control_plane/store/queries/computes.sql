-- Queries of computes: one row for every writer generation of a database.

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

-- end_compute
-- Answers for how long it ran. clock_timestamp(): the end is now, not when a long transaction began.
update computes
   set state = 'ended', ended_at = clock_timestamp(), exit_reason = %(reason)s, connections = 0
 where compute_id = %(compute_id)s and state <> 'ended'
returning coalesce(greatest(0, extract(epoch from ended_at - started_at) * 1000), 0)::bigint;

-- computes_on_node
-- What should run there, and what is being started or stopped there.
select * from computes where node_id = %(node_id)s and state <> 'ended';

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
-- Ended generations older than `moment`; a database keeps its newest, it is what the last end is read from.
delete from computes c
 where c.state = 'ended' and c.ended_at < %(moment)s
   and not exists (select from databases d where d.compute_id = c.compute_id);

-- database_surroundings
-- Everything around one database that a decision looks at, once for each of its latest orders (newest first); its row may hold changes that are not saved yet. Leases that ended before `leases_before` are removed on the way.
with dead as (
    delete from leases where db_id = %(db_id)s and expires_at <= %(leases_before)s
)
select k.task_id, k.kind, k.compute_id as task_compute_id, k.status, k.expires_at, k.finished_at, k.result, k.error, k.retryable,
       tl.timeline_id, tl.state as timeline_state, tl.node_id as timeline_node_id,
       c.compute_id, c.state as compute_state, c.started_at, c.ended_at, c.exit_reason,
       n.node_id, n.name as node_name, n.status as node_status, n.last_seen_at as node_last_seen_at,
       (select max(expires_at) from leases where db_id = %(db_id)s and expires_at > %(leases_before)s) as leases_end_at
  from databases d
  join timelines tl on tl.timeline_id = d.timeline_id
  left join computes c on c.compute_id = %(compute_id)s
  left join nodes n on n.node_id = tl.node_id
  left join lateral (select * from node_tasks where db_id = d.db_id order by task_id desc limit 8) k on true
 where d.db_id = %(db_id)s
 order by k.task_id desc;
