-- Queries of idempotency keys.

-- lock_idempotency_key
select pg_advisory_xact_lock(hashtextextended(%(lock_name)s, 0));

-- expire_idempotency_key
delete from idempotency_keys
 where scope_id = %(scope_id)s and idempotency_key = %(idempotency_key)s and expires_at <= %(now)s;

-- find_idempotency_key
select * from idempotency_keys where scope_id = %(scope_id)s and idempotency_key = %(idempotency_key)s;

-- keep_idempotent_answer
insert into idempotency_keys (scope_id, idempotency_key, request_sha256, response_status, response_headers,
                              response_encrypted, expires_at)
values (%(scope_id)s, %(idempotency_key)s, %(request_sha256)s, %(response_status)s, %(response_headers)s,
        %(response_encrypted)s, %(expires_at)s);

-- forget_idempotency_keys
delete from idempotency_keys where expires_at <= %(now)s;
