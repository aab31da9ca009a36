-- Queries of the fleet: nodes and Gateways, who they are, when they were last heard of, what nodes are ordered.

-- use_enrolment_token
-- Once, and in time.
update enrolment_tokens set used_at = clock_timestamp()
 where token_sha256 = %(token_sha256)s and kind = %(kind)s and used_at is null and expires_at > %(now)s
returning token_sha256;

-- enroll_node
-- A known name gets a new identity and keeps what lies on the node, unless its agent was heard of just now: then a second
-- machine was given the same name by mistake, and no row comes back.
-- Only its first heartbeat makes it a place for databases.
insert into nodes (node_id, name, hostname, region, token_sha256)
values (%(identity_id)s, %(name)s, %(hostname)s, %(region)s, %(token_sha256)s)
on conflict (name) do update
   set hostname = excluded.hostname, region = excluded.region, token_sha256 = excluded.token_sha256, status = 'active',
       enrolled_at = clock_timestamp()
 where nodes.last_seen_at is null or nodes.last_seen_at < %(silent_before)s
returning node_id;

-- node_last_seen
select last_seen_at from nodes where name = %(name)s;

-- node_of_token
select * from nodes where token_sha256 = %(token_sha256)s and status <> 'gone';

-- find_node
select * from nodes where node_id = %(node_id)s;

-- note_node_seen
-- Answers when it was heard of before.
update nodes n set last_seen_at = %(now)s, observed = %(observed)s
  from (select node_id, last_seen_at from nodes where node_id = %(node_id)s) before
 where n.node_id = before.node_id
returning before.last_seen_at;

-- nodes_with_room
-- Those a new timeline may go to: active, shared or the organization's own; with room, most free disk first; a hundred are enough.
select * from nodes
 where status = 'active' and (org_id is null or org_id = %(org_id)s)
 order by coalesce((observed ->> 'disk_is_short')::boolean, false), (observed ->> 'disk_free_bytes')::bigint desc nulls last,
          node_id limit 100;

-- page_of_nodes
select * from nodes
 where status <> 'gone' and name collate "C" > coalesce(%(after_name)s::text, '')
 order by name collate "C" limit %(limit)s offset %(offset)s;

-- node_named
select * from nodes where (name = %(name_or_id)s or node_id = %(name_or_id)s) and status <> 'gone'
 order by node_id = %(name_or_id)s desc limit 1;

-- lock_node
-- The same; nobody else changes it until this transaction ends.
select * from nodes where (name = %(name_or_id)s or node_id = %(name_or_id)s) and status <> 'gone'
 order by node_id = %(name_or_id)s desc limit 1 for no key update;

-- set_node_status
update nodes set status = %(status)s, drain_ends_sessions = %(ends_sessions)s where node_id = %(node_id)s;

-- remove_node
-- Its name is free for another.
update nodes set status = 'gone', name = name || ' (removed ' || node_id || ')' where node_id = %(node_id)s;

-- enroll_gateway
insert into gateways (gateway_id, name, hostname, token_sha256, last_seen_at)
values (%(identity_id)s, %(name)s, %(hostname)s, %(token_sha256)s, %(now)s)
on conflict (name) do update
   set hostname = excluded.hostname, token_sha256 = excluded.token_sha256, enrolled_at = clock_timestamp(),
       last_seen_at = excluded.last_seen_at
returning gateway_id;

-- gateway_of_token
select * from gateways where token_sha256 = %(token_sha256)s;

-- take_egress_batch
-- Answers a row when this batch was not counted yet. Its row is locked from here on: the same batch in a second report waits.
update gateways set egress_run_id = %(run_id)s, egress_batch = %(batch)s
 where gateway_id = %(gateway_id)s and (egress_run_id is distinct from %(run_id)s or egress_batch < %(batch)s)
returning gateway_id;

-- note_gateway_seen
update gateways set last_seen_at = %(now)s where gateway_id = %(gateway_id)s;

-- insert_task
-- With `leased_until` it is given to the agent with this, in one transaction: it waits for orders in this process.
insert into node_tasks (node_id, kind, payload, db_id, compute_id, request_id, expires_at, status, attempt, dispatched_at, leased_until)
values (%(node_id)s, %(kind)s, %(payload)s, %(db_id)s, %(compute_id)s, %(request_id)s,
        greatest(%(expires_at)s, %(leased_until)s::timestamptz),
        case when %(leased_until)s::timestamptz is null then 'queued' else 'dispatched' end,
        case when %(leased_until)s::timestamptz is null then 0 else 1 end,
        case when %(leased_until)s::timestamptz is not null then clock_timestamp() end, %(leased_until)s)
returning *;

-- lease_tasks
-- Gives open tasks of a node to its agent for a while, oldest first, in one statement: two agents with one identity (or
-- two Control Planes answering one agent) never get the same task. Comes again to the same identity: a task whose lease
-- ran out, and one that the agent says it does not hold (it was restarted, or our answer was lost).
with taken as (
    select task_id from node_tasks
     where node_id = %(node_id)s
       and ((status = 'queued' and expires_at > %(now)s)
         or (status = 'dispatched' and (leased_until <= %(now)s or not task_id = any(%(held_task_ids)s::bigint[]))))
     order by task_id limit %(limit)s
       for update skip locked
)
update node_tasks t
   set status = 'dispatched', attempt = t.attempt + 1, dispatched_at = coalesce(t.dispatched_at, clock_timestamp()),
       leased_until = %(leased_until)s, expires_at = greatest(t.expires_at, %(leased_until)s)
  from taken
 where t.task_id = taken.task_id
returning t.*;

-- renew_tasks
-- The agent is still at it. One that was renewed just now is left alone: a write costs a sync, in the middle of a wake.
update node_tasks set leased_until = %(leased_until)s
 where node_id = %(node_id)s and status = 'dispatched' and task_id = any(%(held_task_ids)s::bigint[])
   and leased_until < %(renewed_before)s;

-- find_task
select * from node_tasks where task_id = %(task_id)s;

-- finish_task
-- Only once, and only by the node that holds it. A failure of an attempt that was given out again since does not count:
-- the later attempt is under way and has the last word.
update node_tasks
   set status = %(status)s, result = %(result)s, error = %(error)s, retryable = %(retryable)s, finished_at = clock_timestamp()
 where task_id = %(task_id)s and node_id = %(node_id)s and status = 'dispatched'
   and (%(status)s = 'completed' or attempt <= %(attempt)s);

-- cancel_task
-- Only while no agent has it.
update node_tasks
   set status = 'failed', error = %(reason)s, retryable = true, finished_at = clock_timestamp()
 where task_id = %(task_id)s and status = 'queued';

-- retime_tasks
update node_tasks
   set expires_at = %(expires_at)s, leased_until = case when status = 'dispatched' then %(leased_until)s::timestamptz end
 where status in ('queued', 'dispatched') and kind = %(kind)s;

-- prolong_tasks
update node_tasks set expires_at = %(moment)s where status = 'queued' and expires_at < %(moment)s returning node_id;

-- retime_nodes
-- A moment ahead would make an agent count as alive for as long as the clock went back.
update nodes set last_seen_at = %(now)s where last_seen_at > %(now)s;

-- forget_tasks
delete from node_tasks where task_id in (
    select task_id from node_tasks where finished_at < %(moment)s order by finished_at limit %(limit)s);

-- insert_enrolment_token
insert into enrolment_tokens (token_sha256, kind, created_at, expires_at)
values (%(token_sha256)s, %(kind)s, %(created_at)s, %(created_at)s::timestamptz + make_interval(mins => %(minutes)s));

-- forget_enrolment_tokens
delete from enrolment_tokens where token_sha256 in (
    select token_sha256 from enrolment_tokens where expires_at < %(moment)s limit %(limit)s);

-- disks_of_nodes
-- Those that were heard of lately.
select name, coalesce((observed ->> 'disk_total_bytes')::bigint, 0) as total_bytes,
       coalesce((observed ->> 'disk_free_bytes')::bigint, 0) as free_bytes,
       coalesce((observed ->> 'disk_is_short')::boolean, false) as is_short,
       coalesce((observed ->> 'reserve_is_given_up')::boolean, false) as reserve_is_given_up
  from nodes where status = 'active' and last_seen_at > %(after)s order by name;

-- nodes_heard_of
select count(*) from nodes where status = 'active' and last_seen_at > %(after)s;

-- lose_safekeeper
update safekeepers set status = 'lost' where safekeeper_id = %(safekeeper_id)s and status = 'active';

-- page_of_safekeepers
select * from safekeepers
 where status = 'active' and name collate "C" > coalesce(%(after_name)s::text, '')
 order by name collate "C" limit %(limit)s offset %(offset)s;

-- safekeeper_named
select * from safekeepers where (name = %(name_or_id)s or safekeeper_id = %(name_or_id)s) and status = 'active'
 order by safekeeper_id = %(name_or_id)s desc limit 1;

-- lock_safekeeper
-- The same; stronger than a heartbeat's lock: who makes it a member waits, too (hold_safekeepers).
select * from safekeepers where (name = %(name_or_id)s or safekeeper_id = %(name_or_id)s) and status = 'active'
 order by safekeeper_id = %(name_or_id)s desc limit 1 for update;

-- hold_safekeepers
-- A heartbeat goes on meanwhile; a removal does not.
select * from safekeepers where safekeeper_id = any(%(safekeeper_ids)s) and status = 'active' order by safekeeper_id for key share;

-- safekeeper_of_name
select * from safekeepers where name = %(name)s and status = 'active' for update;

-- retime_safekeepers
update safekeepers set last_seen_at = %(now)s where last_seen_at > %(now)s;

-- enroll_safekeeper
insert into safekeepers (safekeeper_id, name, hostname, token_sha256)
values (%(identity_id)s, %(name)s, %(hostname)s, %(token_sha256)s)
returning safekeeper_id;

-- safekeeper_of_token
select * from safekeepers where token_sha256 = %(token_sha256)s and status = 'active';

-- active_safekeepers
select * from safekeepers where status = 'active'
 order by (observed ->> 'disk_free_bytes')::bigint desc nulls last, safekeeper_id limit 100;

-- safekeepers_gone
select * from safekeepers where status <> 'active' or last_seen_at < %(silent_before)s::timestamptz;

-- safekeepers_not_seen_since
select * from safekeepers where status = 'active' and (last_seen_at is null or last_seen_at < %(moment)s);

-- safekeepers_of_ids
-- One that has lost its disk comes back as another: nobody is to ask for it any more.
select * from safekeepers where safekeeper_id = any(%(safekeeper_ids)s) and status = 'active';

-- note_safekeeper_seen
-- Answers when it was heard of before.
update safekeepers s set last_seen_at = %(now)s, observed = %(observed)s
  from (select safekeeper_id, last_seen_at from safekeepers where safekeeper_id = %(safekeeper_id)s) before
 where s.safekeeper_id = before.safekeeper_id
returning before.last_seen_at;

-- enroll_pageserver
insert into pageservers (pageserver_id, name, hostname, token_sha256)
values (%(identity_id)s, %(name)s, %(hostname)s, %(token_sha256)s)
on conflict (name) do update
   set pageserver_id = excluded.pageserver_id, hostname = excluded.hostname, token_sha256 = excluded.token_sha256, enrolled_at = clock_timestamp()
returning pageserver_id;

-- pageserver_of_name
select pageserver_id from pageservers where name = %(name)s for update;

-- pageserver_of_token
select pageserver_id, name, token_sha256, last_seen_at from pageservers where token_sha256 = %(token_sha256)s;

-- note_pageserver_seen
-- Answers whether nobody of a lower id was heard of.
with seen as (
    update pageservers set last_seen_at = %(now)s where pageserver_id = %(pageserver_id)s returning pageserver_id)
select not exists (select from pageservers p, seen
                    where p.pageserver_id < seen.pageserver_id and p.last_seen_at >= %(silent_before)s);

-- pageservers_exist
select exists (select from pageservers);

-- retime_pageservers
update pageservers set last_seen_at = %(now)s where last_seen_at > %(now)s;

-- find_authority
select certificate, key_encrypted from certificate_authorities where name = %(name)s;

-- insert_authority
-- Of two Control Planes that begin at once the first one's counts.
insert into certificate_authorities (name, certificate, key_encrypted)
values (%(name)s, %(certificate)s, %(key_encrypted)s)
on conflict (name) do nothing;

-- revoke_identity
insert into revoked_identities (identity_id, revoked_at) values (%(identity_id)s, %(now)s)
on conflict (identity_id) do update set revoked_at = excluded.revoked_at;

-- revoked_identities
select identity_id from revoked_identities where revoked_at > %(since)s order by identity_id limit 1000;

-- readmit_safekeeper
-- Only one that this catalogue has never heard of, by id and by name: neither it nor another of its name was here.
insert into safekeepers (safekeeper_id, name, hostname, token_sha256)
select %(identity_id)s, %(name)s, %(hostname)s, %(token_sha256)s
 where not exists (select from safekeepers where name = %(name)s and status = 'active' and safekeeper_id <> %(identity_id)s)
on conflict (safekeeper_id) do update
   set hostname = excluded.hostname, token_sha256 = excluded.token_sha256, enrolled_at = clock_timestamp()
 where safekeepers.status = 'active' and safekeepers.last_seen_at is null and safekeepers.name = excluded.name
returning safekeeper_id;

-- restore_safekeeper
insert into safekeepers (safekeeper_id, name, token_sha256) values (%(safekeeper_id)s, %(name)s, %(token_sha256)s) on conflict do nothing;

-- restore_node
insert into nodes (node_id, name, token_sha256) values (%(node_id)s, %(name)s, %(token_sha256)s)
on conflict (name) do update set name = excluded.name returning node_id;
