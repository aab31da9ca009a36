-- Queries of organizations and projects.

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

-- find_project
select project_id from projects where org_id = %(org_id)s and name = %(name)s;

-- make_project
insert into projects (project_id, org_id, name) values (%(project_id)s, %(org_id)s, %(name)s) on conflict do nothing;
