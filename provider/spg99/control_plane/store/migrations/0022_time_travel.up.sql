-- A moment of a database that is open for reading: a row beside the databases, there for as long as somebody reads.
alter table databases add column moment_of text;    -- the timeline of whose history it is a moment; null: a database
create index databases_moments on databases (moment_of) where moment_of is not null;

-- `app@2026-11-26T10:00:00Z`: no database can be called so.
alter table databases drop constraint databases_name_check;
alter table databases add constraint databases_name_check
    check (case when moment_of is null then name ~ '^[A-Za-z_][A-Za-z0-9_$]{0,62}$' else name ~ '^[A-Za-z_][A-Za-z0-9_$]{0,62}@[A-Za-z0-9_$:.+/-]{1,63}$' end);

alter table timeline_pins drop constraint timeline_pins_reason_check;
alter table timeline_pins add constraint timeline_pins_reason_check check (reason in ('branch', 'snapshot', 'moment'));

insert into policy_definitions (key, value_type, default_value, minimum, maximum, description) values
    ('storage.moments_max',           'integer', '4',  0, 1000, 'How many moments one tenant may have open for reading (app@2026-11-26T10:00:00Z) at the same time.'),
    ('storage.moment_linger_seconds', 'integer', '15', 1, 3600, 'How long a moment stays open for reading after its last client has left.');
