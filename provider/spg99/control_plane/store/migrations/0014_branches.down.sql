drop table timeline_pins;
alter table timelines drop column origin;
drop index databases_expiring;
alter table databases
    drop column database_name,
    drop column expires_at,
    drop column branch_lsn,
    drop column source_lsn,
    drop column source_time,
    drop column source_database;
