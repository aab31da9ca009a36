alter table databases drop column last_verified_at, drop column history_begins_at, drop column history_failed_at;
