-- Queries of tenants: PostgreSQL users, their credentials, and the projects they are grouped in.

-- find_project
select project_id from projects where org_id = %(org_id)s and name = %(name)s;

-- make_project
insert into projects (project_id, org_id, name) values (%(project_id)s, %(org_id)s, %(name)s) on conflict do nothing;

-- insert_tenant
-- What it becomes is known without an answer (rows.create).
insert into tenants (tenant_id, org_id, project_id, name, pg_user, password_encrypted, scram_verifier, created_at, updated_at)
values (%(tenant_id)s, %(org_id)s, %(project_id)s, %(name)s, %(pg_user)s, %(password_encrypted)s, %(scram_verifier)s,
        %(created_at)s, %(updated_at)s);

-- tenant_by_name
-- The one in use comes first; of several on their way out, the latest.
select t.*, p.name as project
  from tenants t join projects p using (project_id)
 where t.org_id = %(org_id)s and t.name collate "C" = %(name)s
 order by t.state = 'deleting', t.created_at desc limit 1;

-- tenant_by_id
select t.*, p.name as project from tenants t join projects p using (project_id) where t.tenant_id = %(tenant_id)s;

-- lock_tenant
select from tenants where tenant_id = %(tenant_id)s for no key update;

-- page_of_tenants
select t.*, p.name as project
  from tenants t join projects p using (project_id)
 where t.org_id = %(org_id)s
   and (t.name collate "C", t.tenant_id) > (coalesce(%(after_name)s::text, ''), coalesce(%(after_id)s::text, ''))
   and (%(state)s::text is null or t.state = %(state)s)
   and (%(name_prefix)s::text is null or (t.name collate "C" >= %(name_prefix)s and t.name collate "C" < %(name_prefix_end)s))
   and (%(only_tenant_id)s::text is null or t.tenant_id = %(only_tenant_id)s)
 order by t.name collate "C", t.tenant_id limit %(limit)s offset %(offset)s;

-- count_tenants
select count(*) from tenants where org_id = %(org_id)s and state <> 'deleting';

-- rotate_tenant_credentials
update tenants
   set password_encrypted = %(password_encrypted)s, scram_verifier = %(scram_verifier)s,
       credential_version = credential_version + 1, version = version + 1, rotated_at = clock_timestamp(),
       updated_at = clock_timestamp()
 where tenant_id = %(tenant_id)s;

-- manage_tenant_credentials
-- Who manages the credentials from now on, and with which trigger; null ends it.
update tenants
   set credentials_id = %(credentials_id)s, rotation_trigger = %(rotation_trigger)s, version = version + 1,
       updated_at = clock_timestamp()
 where tenant_id = %(tenant_id)s;

-- mark_tenant_deleting
update tenants set state = 'deleting', version = version + 1, updated_at = clock_timestamp()
 where tenant_id = %(tenant_id)s;

-- ended_tenants
-- Several Control Planes may look at once; each takes others.
select t.*, p.name as project
  from tenants t join projects p using (project_id)
 where t.state = 'deleting' and not exists (select from databases d where d.tenant_id = t.tenant_id)
 order by t.tenant_id limit %(limit)s for update of t skip locked;

-- delete_tenant
delete from tenants where tenant_id = %(tenant_id)s;

-- any_tenant_secret
select tenant_id, password_encrypted from tenants limit 1;

-- hold_tenant_by_name
-- As tenant_by_name, and it stays as it is until this transaction ends: a tenant on its way out gets no new database.
select t.*, p.name as project
  from tenants t join projects p using (project_id)
 where t.org_id = %(org_id)s and t.name collate "C" = %(name)s
 order by t.state = 'deleting', t.created_at desc limit 1 for share of t;

-- tenant_of_user
select t.*, p.name as project
  from tenants t join projects p using (project_id) where t.pg_user = %(pg_user)s and t.state = 'active';

-- credentials_of_user
select tenant_id, org_id, name as tenant, pg_user, scram_verifier, credential_version
  from tenants where pg_user = %(pg_user)s and state = 'active';

-- verifier_of_tenant
select scram_verifier from tenants where tenant_id = %(tenant_id)s;

-- restore_tenant
insert into tenants (tenant_id, org_id, project_id, name, pg_user, password_encrypted, scram_verifier, credential_version, credentials_id,
                     rotation_trigger, rotated_at, version, created_at)
values (%(tenant_id)s, %(org_id)s, %(project_id)s, %(name)s, %(pg_user)s, %(password_encrypted)s, %(scram_verifier)s, %(credential_version)s,
        %(credentials_id)s, %(rotation_trigger)s, %(rotated_at)s, %(version)s, %(created_at)s);

-- any_tenant
select tenant_id from tenants limit 1;
