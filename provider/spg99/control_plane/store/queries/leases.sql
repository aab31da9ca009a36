-- Queries of leases: a Gateway's claim that a database is in use.

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
    returning d.db_id, held.runs, (held.state = 'ready') <> (held.connections > 0) as look
)
select n.db_id, n.db_id in (select db_id from kept) as stands, n.look from noted n where n.runs;

-- release_leases_of_database
delete from leases where db_id = %(db_id)s;

-- count_connections
select coalesce(sum(active_connections), 0)::integer from leases where db_id = %(db_id)s and expires_at > %(now)s;
