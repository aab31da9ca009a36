-- Takes the count of egress, and of what is gone, back.
drop table organization_usage;
alter table databases drop column egress_bytes;
