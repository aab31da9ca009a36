alter table databases drop column source_snapshot;
delete from timeline_pins where reason = 'snapshot';
drop table snapshots;
