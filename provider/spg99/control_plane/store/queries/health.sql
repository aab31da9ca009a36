-- Queries of readiness and metrics.

-- applied_migrations
select version from schema_migrations;

-- nodes_heard_of
select count(*) from nodes where status = 'active' and last_seen_at > %(after)s;

-- count_databases_by_state
select state, count(*) as databases from databases group by state;
