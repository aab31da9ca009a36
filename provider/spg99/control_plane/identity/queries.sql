-- Queries of identity: API keys and the organizations they act for.

-- insert_key
insert into api_keys (key_id, org_id, tenant_id, name, scope, permissions, token_sha256, expires_at, created_by)
values (%(key_id)s, %(org_id)s, %(tenant_id)s, %(name)s, %(scope)s, %(permissions)s, %(token_sha256)s, %(expires_at)s,
        %(created_by)s);

-- ensure_key
-- A key whose token is known beforehand (bootstrap); a second call changes nothing. A token that is not new becomes a key only where
-- there has never been one: it may have been rotated away or revoked, and not all that ever were tokens are remembered.
insert into api_keys (key_id, name, scope, permissions, token_sha256, created_by)
select %(key_id)s, %(name)s, 'global', %(permissions)s, %(token_sha256)s, 'system'
 where %(is_new)s or not exists (select from api_keys)
on conflict (token_sha256) do nothing;

-- key_by_token
select k.*, t.name as tenant
  from api_keys k left join tenants t using (tenant_id)
 where k.token_sha256 = %(token_sha256)s or k.previous_sha256 = %(token_sha256)s
 limit 1;

-- key_by_id
select k.*, t.name as tenant
  from api_keys k left join tenants t using (tenant_id) where k.key_id = %(key_id)s and k.revoked_at is null;

-- lock_key
select from api_keys where key_id = %(key_id)s for no key update;

-- page_of_keys
select k.*, t.name as tenant
  from api_keys k left join tenants t using (tenant_id)
 where (k.org_id = %(org_id)s or (%(with_global)s and k.org_id is null)) and k.revoked_at is null
   and (k.name collate "C", k.key_id) > (coalesce(%(after_name)s::text, ''), coalesce(%(after_id)s::text, ''))
   and (%(tenant_id)s::text is null or k.tenant_id = %(tenant_id)s)
 order by k.name collate "C", k.key_id limit %(limit)s offset %(offset)s;

-- hold_administrators
-- One at a time decides about a key that can administer the platform: of two who each revoke one, the second sees the first.
select pg_advisory_xact_lock(7399014003);

-- other_administrators
-- Keys besides this one that can administer the platform and make further keys, and when each ends.
select key_id, name, expires_at from api_keys
 where key_id <> %(key_id)s and scope = 'global' and revoked_at is null and permissions @> %(permissions)s::text[]
   and (expires_at is null or expires_at > %(now)s)
 order by expires_at desc nulls first, key_id;

-- rename_key
update api_keys set name = %(name)s, version = version + 1 where key_id = %(key_id)s;

-- rotate_key
update api_keys
   set previous_sha256 = token_sha256, previous_valid_until = %(previous_valid_until)s, token_sha256 = %(token_sha256)s,
       version = version + 1
 where key_id = %(key_id)s;

-- revoke_key
update api_keys set revoked_at = clock_timestamp(), version = version + 1 where key_id = %(key_id)s;

-- revoke_keys_of_tenant
update api_keys set revoked_at = clock_timestamp(), version = version + 1
 where tenant_id = %(tenant_id)s and revoked_at is null;

-- delete_keys_of_tenant
delete from api_keys where tenant_id = %(tenant_id)s;

-- note_key_use
update api_keys k set last_used_at = u.moment
  from unnest(%(key_ids)s::text[], %(moments)s::timestamptz[]) as u (key_id, moment)
 where k.key_id = u.key_id and (k.last_used_at is null or k.last_used_at < u.moment);

-- ensure_organization
insert into organizations (org_id, name) values (%(org_id)s, %(name)s) on conflict do nothing;

-- find_organization
select * from organizations where org_id = %(org_id)s;

-- lock_organization
select from organizations where org_id = %(org_id)s for no key update;

-- set_organization_contact
update organizations
   set email = coalesce(%(email)s, email), name = coalesce(%(name)s, name), company = coalesce(%(company)s, company),
       updated_at = clock_timestamp()
 where org_id = %(org_id)s returning *;

-- restore_organization
insert into organizations (org_id, name, email, company, plan)
values (%(org_id)s, %(name)s, %(email)s, %(company)s, %(plan)s) on conflict do nothing;
