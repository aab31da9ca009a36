-- The object store describes itself: what it says of a tenant and of a database, and as of when. So a lost catalogue can be made anew.
create table stored_tenants (
    tenant_id        text primary key,           -- no reference: what is stored outlives the row of the tenant
    state            text not null default 'in_use' check (state in ('in_use', 'shredding', 'shredded')),
    described        text,                       -- as of which revision it is described there; null: not yet
    description_tag  text,
    objects_deleted  bigint not null default 0,
    next_check_at    timestamptz                 -- shredded: whoever was late may have stored something since
);
insert into stored_tenants (tenant_id)
select distinct d.tenant_id from timelines tl join databases d on d.timeline_id = tl.timeline_id where tl.configuration is not null;
grant select, insert, update, delete on stored_tenants to spg99_service;

alter table timelines
    add column described        text,
    add column description_key  text,
    add column description_tag  text;
create index timelines_kept on timelines (timeline_id) where configuration is not null;
create index timelines_described on timelines (timeline_id) where description_key is not null;
