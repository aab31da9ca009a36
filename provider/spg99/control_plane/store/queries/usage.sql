-- Queries of usage: what an account has used since it exists, databases that are gone included.

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
