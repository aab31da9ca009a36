-- Queries of policies: the most specific value wins.

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

-- policy_definition
select key, value_type, default_value, minimum, maximum, allowed, description from policy_definitions where key = %(key)s;

-- set_policy
insert into policy_values (key, scope, scope_id, value, updated_by)
values (%(key)s, %(scope)s, %(scope_id)s, %(value)s::jsonb, %(updated_by)s)
on conflict (key, scope, scope_id)
do update set value = excluded.value, updated_by = excluded.updated_by, updated_at = clock_timestamp();

-- clear_policy
delete from policy_values where key = %(key)s and scope = %(scope)s and scope_id = %(scope_id)s;
