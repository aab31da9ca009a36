-- What accounts have used: bytes sent to clients of each database, and what databases that are gone had used.
alter table databases add column egress_bytes bigint not null default 0;
create table organization_usage (
    org_id                text primary key references organizations,
    compute_milliseconds  bigint not null default 0,  -- of databases that are gone
    egress_bytes          bigint not null default 0   -- of databases that are gone
);
grant select, insert, update on organization_usage to spg99_service;
