-- Takes the request of an order back.
alter table node_tasks drop column request_id;
