-- Credentials that a declaration manages: its id, the trigger it named last, and when the password was made.
alter table tenants
    add column credentials_id    text unique,
    add column rotation_trigger  text check (length(rotation_trigger) <= 200),
    add column rotated_at        timestamptz,       -- null: the password is the one the tenant was made with
    add check (credentials_id is not null or rotation_trigger is null);
