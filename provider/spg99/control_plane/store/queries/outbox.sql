-- Queries of the outbox: written with the change, numbered by the relay, read by position.

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
delete from outbox_events
 where published_at < %(moment)s and position < (select max(position) from outbox_events);
