-- How large a database may be: what its owner says, what holds when he says nothing (by size), what its node last told.
alter table databases
    add column storage_limit_bytes bigint,                     -- null: the policy of its size
    add column storage_state text not null default 'ok';
insert into policy_definitions (key, value_type, default_value, minimum, maximum, description) values
    ('database.storage_limit_bytes.L1', 'integer', '8589934592', 0, 70368744177664, 'Storage limit of an L1 whose spec names none; 0 = none.'),
    ('database.storage_limit_bytes.L2', 'integer', '17179869184', 0, 70368744177664, 'Storage limit of an L2 whose spec names none; 0 = none.'),
    ('database.storage_limit_bytes.L3', 'integer', '34359738368', 0, 70368744177664, 'Storage limit of an L3 whose spec names none; 0 = none.'),
    ('database.storage_limit_bytes.L4', 'integer', '68719476736', 0, 70368744177664, 'Storage limit of an L4 whose spec names none; 0 = none.'),
    ('database.storage_limit_bytes.L5', 'integer', '137438953472', 0, 70368744177664, 'Storage limit of an L5 whose spec names none; 0 = none.');
