-- An order knows the request it was given for, so that the agent's log can be joined to that of who asked.
alter table node_tasks add column request_id text;
