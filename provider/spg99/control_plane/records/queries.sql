-- Queries of what every change writes: audit log, operations, outbox, policies, kept answers.
-- The service role may only insert into the audit log and select from it.

-- record_audit
insert into audit_logs (org_id, actor, action, subject, outcome, request_id, metadata)
values (%(org_id)s, %(actor)s, %(action)s, %(subject)s, %(outcome)s, %(request_id)s, %(metadata)s);

-- ensure_audit_partitions
select ensure_partitions(clock_timestamp(), %(months)s::integer);

-- start_operation
insert into operations (op_id, kind, org_id, tenant_id, db_id)
values (%(op_id)s, %(kind)s, %(org_id)s, %(tenant_id)s, %(db_id)s);

-- note_operation
-- One that has begun and succeeded in this transaction: nobody can have waited for it.
insert into operations (op_id, kind, org_id, tenant_id, db_id, status, finished_at)
values (%(op_id)s, %(kind)s, %(org_id)s, %(tenant_id)s, %(db_id)s, 'succeeded', clock_timestamp());

-- finish_database_operations
-- clock_timestamp(): the end is now, not when a long transaction began.
update operations
   set status = case when %(error)s::jsonb is null then 'succeeded' else 'failed' end,
       error = %(error)s, finished_at = clock_timestamp()
 where db_id = %(db_id)s and status = 'running' and kind = any(%(kinds)s)
returning op_id;

-- finish_tenant_operations
update operations set status = 'succeeded', finished_at = clock_timestamp()
 where tenant_id = %(tenant_id)s and db_id is null and status = 'running' and kind = any(%(kinds)s)
returning op_id;

-- find_operation
select * from operations where op_id = %(op_id)s;

-- running_operation
select * from operations
 where kind = %(kind)s and status = 'running'
   and (%(db_id)s::text is null or db_id = %(db_id)s)
   and (%(tenant_id)s::text is null or tenant_id = %(tenant_id)s)
 order by created_at limit 1;

-- forget_operations
delete from operations where op_id in (
    select op_id from operations where finished_at < %(moment)s limit %(limit)s);

-- publish_event
insert into outbox_events (event_id, event_type, subject, org_id, tenant_id, envelope)
values (%(event_id)s, %(event_type)s, %(subject)s, %(org_id)s, %(tenant_id)s,
        jsonb_build_object('event_id', %(event_id)s::text, 'event_type', %(event_type)s::text,
                           'occurred_at', to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                           'version', 1, 'correlation_id', %(correlation_id)s::text, 'payload', %(payload)s::jsonb));

-- try_relay_lock
select pg_try_advisory_xact_lock(7399014002);

-- number_events
-- Positions in the order of writing, which is the order of commit for each aggregate (its row was locked).
with pending as materialized (
    select event_seq from outbox_events where status = 'pending' order by event_seq limit %(limit)s
), numbered as materialized (
    select event_seq, nextval('outbox_positions') as position from pending
)
update outbox_events e
   set position = n.position, status = 'published', published_at = clock_timestamp(), attempt_count = attempt_count + 1
  from numbered n
 where e.event_seq = n.event_seq
returning e.position;

-- events_since
select position, event_id, event_type, subject, org_id, tenant_id, envelope
  from outbox_events
 where position > %(after)s
   and (%(upto)s::bigint is null or position <= %(upto)s)
   and (%(event_types)s::text[] is null or event_type = any(%(event_types)s))
 order by position limit %(limit)s;

-- events_since_for
select position, event_id, event_type, subject, org_id, tenant_id, envelope
  from outbox_events
 where position > %(after)s and position <= %(upto)s
   and (%(org_id)s::text is null or org_id = %(org_id)s)
   and (%(tenant_id)s::text is null or tenant_id = %(tenant_id)s)
 order by position limit %(limit)s;

-- last_event_position
select coalesce(max(position), 0) from outbox_events;

-- first_event_position
select coalesce(min(position), 0) from outbox_events;

-- outbox_lag
select count(*) as pending, min(created_at) as oldest_at from outbox_events where status = 'pending';

-- forget_events
delete from outbox_events where event_seq in (
    select event_seq from outbox_events
     where published_at < %(moment)s and position < (select max(position) from outbox_events)
     order by position limit %(limit)s);

-- policy_value
select coalesce((select v.value from policy_values v
                  where v.key = d.key
                    and ((v.scope = 'user' and v.scope_id = %(user_id)s::text)
                      or (v.scope = 'org' and v.scope_id = %(org_id)s::text)
                      or (v.scope = 'plan'
                          and v.scope_id = (select o.plan from organizations o where o.org_id = %(org_id)s::text))
                      or v.scope = 'global')
                  order by array_position(array['user', 'org', 'plan', 'global'], v.scope) limit 1),
                d.default_value)
  from policy_definitions d where d.key = %(key)s;

-- policy_values
-- The same of up to four at once. Listed, not as an array: PostgreSQL takes an array it does not know for ten rows, finds one plan for all
-- values dear, and makes a new one each time, which takes longer than the answer.
select d.key, coalesce((select v.value from policy_values v
                         where v.key = d.key
                           and ((v.scope = 'org' and v.scope_id = %(org_id)s::text)
                             or (v.scope = 'plan'
                                 and v.scope_id = (select o.plan from organizations o where o.org_id = %(org_id)s::text))
                             or v.scope = 'global')
                         order by array_position(array['org', 'plan', 'global'], v.scope) limit 1),
                       d.default_value) as value
  from (values (%(key_1)s::text), (%(key_2)s::text), (%(key_3)s::text), (%(key_4)s::text)) asked (key)
  join policy_definitions d on d.key = asked.key;

-- policy_definition
select key, value_type, default_value, minimum, maximum, allowed, description from policy_definitions where key = %(key)s;

-- set_policy
insert into policy_values (key, scope, scope_id, value, updated_by)
values (%(key)s, %(scope)s, %(scope_id)s, %(value)s::jsonb, %(updated_by)s)
on conflict (key, scope, scope_id)
do update set value = excluded.value, updated_by = excluded.updated_by, updated_at = clock_timestamp();

-- lock_idempotency_key
select pg_advisory_xact_lock(hashtextextended(%(lock_name)s, 0));

-- forget_idempotency_key
delete from idempotency_keys where scope_id = %(scope_id)s and idempotency_key = %(idempotency_key)s;

-- find_idempotency_key
select * from idempotency_keys where scope_id = %(scope_id)s and idempotency_key = %(idempotency_key)s;

-- keep_idempotent_answer
insert into idempotency_keys (scope_id, idempotency_key, request_sha256, response_status, response_headers,
                              response_encrypted, expires_at)
values (%(scope_id)s, %(idempotency_key)s, %(request_sha256)s, %(response_status)s, %(response_headers)s,
        %(response_encrypted)s, %(expires_at)s);

-- retime_idempotency_keys
-- What a step back has made too late is brought back too: it would be kept for years.
update idempotency_keys set expires_at = %(expires_at)s where expires_at <> %(expires_at)s;

-- forget_idempotency_keys
delete from idempotency_keys where (scope_id, idempotency_key) in (
    select scope_id, idempotency_key from idempotency_keys where expires_at <= %(moment)s limit %(limit)s)
   and expires_at <= %(moment)s;

-- keep_declaration
-- Who makes an object declares it, and who changes it declares it from then on; one that nobody declared becomes theirs. The same stack or state again
-- writes only what differs: the resource after a rename, say.
insert into declarations as d (uid, noun, human_id, org_id, tenant_id, tool, state, resource, key_id)
values (%(uid)s, %(noun)s, %(human_id)s, %(org_id)s, %(tenant_id)s, %(tool)s, %(state)s, %(resource)s, %(key_id)s)
on conflict (uid) do update
   set tool = excluded.tool, state = excluded.state, resource = excluded.resource, key_id = excluded.key_id,
       also_known_to = null, also_known_at = null, declared_at = clock_timestamp()
 where (d.tool, d.state, d.key_id) is distinct from (excluded.tool, excluded.state, excluded.key_id)
    or d.resource is distinct from excluded.resource or d.also_known_to is not null;

-- note_declaration_known
update declarations set also_known_to = %(state)s, also_known_at = clock_timestamp()
 where uid = %(uid)s and state <> %(state)s and also_known_to is distinct from %(state)s;

-- forget_declaration
delete from declarations where uid = %(uid)s;

-- forget_declarations_of_tenant
delete from declarations where tenant_id = %(tenant_id)s;

-- page_of_declarations
select * from declarations
 where (org_id = %(org_id)s or (%(with_global)s and org_id is null))
   and (%(state)s::text is null or state = %(state)s)
   and (%(tenant_id)s::text is null or tenant_id = %(tenant_id)s)
   and (human_id collate "C", uid) > (coalesce(%(after_name)s::text, ''), coalesce(%(after_id)s::text, ''))
 order by human_id collate "C", uid limit %(limit)s offset %(offset)s;
