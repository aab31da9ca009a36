-- Queries of operations.

-- start_operation
insert into operations (op_id, kind, org_id, tenant_id, db_id)
values (%(op_id)s, %(kind)s, %(org_id)s, %(tenant_id)s, %(db_id)s);

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
delete from operations where finished_at < %(moment)s;
