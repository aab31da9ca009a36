alter table databases drop column on_delete;
