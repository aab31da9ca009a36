-- Queries of nodes and Gateways: who they are and when they were last heard of.

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
values (%(node_id)s, %(name)s, %(hostname)s, %(region)s, %(token_sha256)s)
on conflict (name) do update
   set hostname = excluded.hostname, region = excluded.region, token_sha256 = excluded.token_sha256, status = 'active',
       enrolled_at = clock_timestamp()
 where nodes.last_seen_at is null or nodes.last_seen_at < %(silent_before)s
returning *;

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

-- node_with_room
-- The node for a new timeline: active, heard of lately, shared or the organization's own, most free disk first.
select * from nodes
 where status = 'active' and last_seen_at > %(seen_after)s and (org_id is null or org_id = %(org_id)s)
 order by (observed ->> 'disk_free_bytes')::bigint desc nulls last, node_id limit 1;

-- enroll_gateway
insert into gateways (gateway_id, name, hostname, token_sha256, last_seen_at)
values (%(gateway_id)s, %(name)s, %(hostname)s, %(token_sha256)s, %(now)s)
on conflict (name) do update
   set hostname = excluded.hostname, token_sha256 = excluded.token_sha256, enrolled_at = clock_timestamp(),
       last_seen_at = excluded.last_seen_at
returning *;

-- gateway_of_token
select * from gateways where token_sha256 = %(token_sha256)s;

-- take_egress_batch
-- Answers a row when this batch was not counted yet. Its row is locked from here on: the same batch in a second report waits.
update gateways set egress_run_id = %(run_id)s, egress_batch = %(batch)s
 where gateway_id = %(gateway_id)s and (egress_run_id is distinct from %(run_id)s or egress_batch < %(batch)s)
returning gateway_id;

-- note_gateway_seen
update gateways set last_seen_at = %(now)s where gateway_id = %(gateway_id)s;

-- credentials_of_user
select tenant_id, org_id, name as tenant, pg_user, scram_verifier, credential_version
  from tenants where pg_user = %(pg_user)s and state = 'active';
