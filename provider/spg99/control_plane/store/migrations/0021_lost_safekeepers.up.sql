-- When a safekeeper counts as lost without a word of its operator (databases/member_changes.py).
insert into policy_definitions (key, value_type, default_value, minimum, maximum, description) values
    ('storage.safekeeper_lost_seconds', 'integer', '3600', 60, 31536000, 'A safekeeper that was not heard of for so long is replaced by another in all databases that it keeps. One known to be lost: spg99 safekeepers remove.');
