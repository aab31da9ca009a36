alter table databases drop column schema_only;
