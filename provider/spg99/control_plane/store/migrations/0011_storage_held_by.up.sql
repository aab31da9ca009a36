-- What keeps a database below its limit, for its owner: exactly, or by watching.
alter table databases add column storage_held_by text;
