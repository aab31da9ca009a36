alter table snapshots drop column schedule_id;
drop table snapshot_schedules;
