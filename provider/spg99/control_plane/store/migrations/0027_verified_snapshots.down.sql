alter table snapshot_schedules drop column verify;
alter table snapshots drop column last_error;
alter table snapshots drop column last_verified_at;
alter table snapshots drop column verify_asked_at;
