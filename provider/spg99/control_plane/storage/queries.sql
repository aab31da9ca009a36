-- Queries of timelines: the durable histories of databases, and on which node their files are. And the installation's id.

-- insert_timeline
insert into timelines (timeline_id, db_id, state, parent_id, origin)
values (%(timeline_id)s, %(db_id)s, 'creating', %(parent_id)s, %(origin)s);

-- find_timeline
select * from timelines where timeline_id = %(timeline_id)s;

-- insert_pin
insert into timeline_pins (timeline_id, owner_id, reason, lsn, at, until)
values (%(timeline_id)s, %(owner_id)s, %(reason)s, %(lsn)s, %(at)s, %(until)s);

-- delete_pins_of_owner
delete from timeline_pins where owner_id = %(owner_id)s;

-- pins_of_timeline
select * from timeline_pins where timeline_id = %(timeline_id)s order by owner_id;


-- place_timeline
update timelines set node_id = %(node_id)s where timeline_id = %(timeline_id)s;

-- configure_timeline
update timelines set configuration = %(configuration)s, tenant_id = %(tenant_id)s where timeline_id = %(timeline_id)s;

-- kept_timelines
-- All whose WAL safekeepers keep, also those that are gone, until the store has nothing of them any more.
select timeline_id, tenant_id, configuration, state = 'gone' as is_gone from timelines
 where configuration is not null and tenant_id is not null and swept_at is null order by timeline_id;

-- note_history
update timelines
   set history = %(history)s, swept_at = case when %(is_swept)s and state = 'gone' then clock_timestamp() else swept_at end
 where timeline_id = %(timeline_id)s;

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
     where t.state = 'gone' and t.gone_at < %(moment)s
       and (t.configuration is null or t.swept_at is not null or t.gone_at < %(unswept_moment)s)
       and not exists (select from computes c where c.timeline_id = t.timeline_id)
       and not exists (select from jsonb_array_elements_text(t.configuration -> 'members' -> 'safekeeper_ids') kept_by
                        where kept_by = any(%(away)s))
     limit %(limit)s);

-- node_of_timeline
select node_id from timelines where timeline_id = %(timeline_id)s;

-- installation_id
select installation_id from installation;
