alter table databases drop column storage_held_by;
