-- Queries of tasks: orders to the agents of nodes.

-- insert_task
insert into node_tasks (node_id, kind, payload, db_id, compute_id, request_id, expires_at)
values (%(node_id)s, %(kind)s, %(payload)s, %(db_id)s, %(compute_id)s, %(request_id)s, %(expires_at)s)
returning task_id;

-- lease_tasks
-- Gives open tasks of a node to its agent for a while, oldest first, in one statement: two agents with one identity (or
-- two Control Planes answering one agent) never get the same task. Comes again to the same identity: a task whose lease
-- ran out, and one that the agent says it does not hold (it was restarted, or our answer was lost).
with taken as (
    select task_id from node_tasks
     where node_id = %(node_id)s
       and ((status = 'queued' and expires_at > %(now)s)
         or (status = 'dispatched' and (leased_until <= %(now)s or not task_id = any(%(held_task_ids)s::bigint[]))))
     order by task_id limit %(limit)s
       for update skip locked
)
update node_tasks t
   set status = 'dispatched', attempt = t.attempt + 1, dispatched_at = coalesce(t.dispatched_at, clock_timestamp()),
       leased_until = %(leased_until)s, expires_at = greatest(t.expires_at, %(leased_until)s)
  from taken
 where t.task_id = taken.task_id
returning t.*;

-- renew_tasks
-- The agent is still at it.
update node_tasks set leased_until = %(leased_until)s
 where node_id = %(node_id)s and status = 'dispatched' and task_id = any(%(held_task_ids)s::bigint[]);

-- find_task
select * from node_tasks where task_id = %(task_id)s;

-- finish_task
-- Only once, and only by the node that holds it. A failure of an attempt that was given out again since does not count:
-- the later attempt is under way and has the last word.
update node_tasks
   set status = %(status)s, result = %(result)s, error = %(error)s, retryable = %(retryable)s, finished_at = clock_timestamp()
 where task_id = %(task_id)s and node_id = %(node_id)s and status = 'dispatched'
   and (%(status)s = 'completed' or attempt <= %(attempt)s);

-- cancel_task
-- Only while no agent has it.
update node_tasks
   set status = 'failed', error = %(reason)s, retryable = true, finished_at = clock_timestamp()
 where task_id = %(task_id)s and status = 'queued';

-- forget_tasks
delete from node_tasks where task_id in (
    select task_id from node_tasks where finished_at < %(moment)s order by finished_at limit %(limit)s);
