-- A database goes back to a moment of its own history.
alter table databases
    add column restore_trigger  text,
    add column restore_to       text,
    add column restore          jsonb;          -- where it shall go back to (protocol/tasks.py: Origin); null: nobody wants that

insert into policy_definitions (key, value_type, default_value, minimum, maximum, description) values
    ('storage.before_restore_seconds', 'integer', '604800', 0, 31536000, 'How long the state before a restore in place is kept, as a database of its own.');
