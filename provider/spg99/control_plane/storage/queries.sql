-- Queries of timelines: the durable histories of databases, and on which node their files are. And the installation's id.

-- insert_timeline
insert into timelines (timeline_id, db_id, state, parent_id, origin)
values (%(timeline_id)s, %(db_id)s, 'creating', %(parent_id)s, %(origin)s);

-- find_timeline
select * from timelines where timeline_id = %(timeline_id)s;

-- give_timeline
update timelines set db_id = %(db_id)s where timeline_id = %(timeline_id)s;

-- insert_pin
insert into timeline_pins (timeline_id, owner_id, reason, lsn, at, until)
values (%(timeline_id)s, %(owner_id)s, %(reason)s, %(lsn)s, %(at)s, %(until)s);

-- delete_pins_of_owner
delete from timeline_pins where owner_id = %(owner_id)s;

-- pins_of_timelines
select * from timeline_pins where timeline_id = any(%(timeline_ids)s) and (until is null or until > %(now)s);

-- pins_of_timeline
select * from timeline_pins where timeline_id = %(timeline_id)s order by owner_id;


-- place_timeline
update timelines set node_id = %(node_id)s where timeline_id = %(timeline_id)s;

-- configure_timeline
update timelines set configuration = %(configuration)s, tenant_id = %(tenant_id)s where timeline_id = %(timeline_id)s;

-- kept_timelines
-- All whose WAL safekeepers keep, also those that are gone, until the store has nothing of them any more.
select timeline_id, tenant_id, configuration, state = 'gone' as is_gone, state = 'present' as has_started from timelines
 where configuration is not null and tenant_id is not null and swept_at is null order by timeline_id;

-- note_history
update timelines
   set history = %(history)s, swept_at = case when %(is_swept)s and state = 'gone' then clock_timestamp() else swept_at end
 where timeline_id = %(timeline_id)s;

-- timelines_with_members
-- In no order that would let the same ones come first each time.
select db_id from timelines
 where state = 'present' and configuration is not null
   and (configuration ? 'is_pending' or configuration -> 'next_members' <> 'null'::jsonb
        or exists (select from jsonb_array_elements_text(configuration -> 'members' -> 'safekeeper_ids') kept_by
                    where kept_by = any(%(gone_ids)s)))
 order by random() limit %(limit)s;

-- mark_timeline
-- clock_timestamp(): gone is gone now, not when a long transaction began.
update timelines
   set state = %(state)s, gone_at = case when %(state)s = 'gone' then clock_timestamp() end
 where timeline_id = %(timeline_id)s;

-- timelines_to_forget
-- Of the timelines a node reports, those that were deleted, whichever node they were placed on last: a creation that failed
-- here may have left files and been made elsewhere. One that the catalogue has never heard of, or that is not gone, is left
-- alone: after a restore or a mix-up of nodes it may be somebody's only copy.
select timeline_id from timelines
 where timeline_id = any(%(timeline_ids)s) and state = 'gone';

-- forget_timelines
-- `away`: safekeepers that have not been heard of for long. What one of them kept is not forgotten before it was told to remove it.
delete from timelines where timeline_id in (
    select t.timeline_id from timelines t
     where t.state = 'gone' and t.gone_at < %(moment)s and t.description_key is null
       and (t.configuration is null or t.swept_at is not null or t.gone_at < %(unswept_moment)s)
       and not exists (select from computes c where c.timeline_id = t.timeline_id)
       and not exists (select from jsonb_array_elements_text(t.configuration -> 'members' -> 'safekeeper_ids') kept_by
                        where kept_by = any(%(away)s))
     limit %(limit)s);

-- node_of_timeline
select node_id from timelines where timeline_id = %(timeline_id)s;

-- installation_id
select installation_id from installation;

-- take_installation_id
-- Of a store whose catalogue was lost: this is that installation from now on.
update installation set installation_id = %(installation_id)s;

-- insert_stored_tenant
insert into stored_tenants (tenant_id) values (%(tenant_id)s) on conflict do nothing;

-- note_tenant_described
update stored_tenants set described = %(revision)s, description_tag = %(tag)s
 where tenant_id = %(tenant_id)s and state = 'in_use';

-- note_timeline_described
update timelines
   set described = %(revision)s, description_key = %(object_key)s, description_tag = %(tag)s
 where timeline_id = %(timeline_id)s;

-- descriptions_to_remove
-- Of databases that are gone.
select timeline_id, description_key from timelines
 where description_key is not null and state = 'gone' order by timeline_id limit 100;

-- note_description_removed
update timelines set described = null, description_key = null, description_tag = null where timeline_id = %(timeline_id)s;

-- shred_tenant
update stored_tenants set state = 'shredding' where tenant_id = %(tenant_id)s and state = 'in_use';

-- tenants_to_shred
select s.tenant_id, s.state, s.objects_deleted from stored_tenants s
 where (s.state = 'shredding' or (s.state = 'shredded' and s.next_check_at <= %(now)s))
   and not exists (select from tenants t where t.tenant_id = s.tenant_id)
 order by s.tenant_id limit 20;

-- note_shredded
update stored_tenants
   set objects_deleted = objects_deleted + %(objects_deleted)s,
       state = case when %(is_done)s then 'shredded' else state end, next_check_at = %(next_check_at)s
 where tenant_id = %(tenant_id)s;

-- note_timelines_swept
-- Nothing of a deleted tenant is left: nobody need look for what its timelines had.
update timelines set swept_at = clock_timestamp() where tenant_id = %(tenant_id)s and state = 'gone' and swept_at is null;

-- restore_timeline
insert into timelines (timeline_id, db_id, tenant_id, node_id, state, configuration)
values (%(timeline_id)s, %(db_id)s, %(tenant_id)s, %(node_id)s, %(state)s, %(configuration)s);

-- restore_stored_tenant
insert into stored_tenants (tenant_id, state) values (%(tenant_id)s, %(state)s) on conflict do nothing;
