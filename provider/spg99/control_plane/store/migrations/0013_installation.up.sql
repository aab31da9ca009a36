-- By what an object store is known to be ours: it keeps this id, and one that keeps another is refused.
create table installation (
    is_the_one       boolean primary key default true check (is_the_one),
    installation_id  text not null
);
insert into installation (installation_id) values ('ins_' || substr(md5(gen_random_uuid()::text), 1, 20));
grant select, update on installation to spg99_service;
