-- A branch that begins with the schema of its source and with none of its rows. What a first start goes by is the timeline's origin.
alter table databases add column schema_only boolean not null default false;
