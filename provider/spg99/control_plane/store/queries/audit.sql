-- Queries of the audit log. The service role may only insert and select.

-- record_audit
insert into audit_logs (org_id, actor, action, subject, outcome, request_id, metadata)
values (%(org_id)s, %(actor)s, %(action)s, %(subject)s, %(outcome)s, %(request_id)s, %(metadata)s);

-- ensure_audit_partitions
select ensure_partitions(clock_timestamp(), %(months)s::integer);
