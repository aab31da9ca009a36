-- What users see of a database's history: a pageserver says it (databases/histories.py).
alter table databases
    add column last_verified_at   timestamptz,
    add column history_begins_at  timestamptz,   -- the oldest moment that can come back
    add column history_failed_at  timestamptz;   -- since then the store has not taken what is new; null: it does
