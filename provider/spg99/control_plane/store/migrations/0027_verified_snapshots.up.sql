-- Snapshots that are laid out and read, once or whenever their schedule makes one.
alter table snapshots add column verify_asked_at timestamptz;   -- null: nobody asks for it, or it was done
alter table snapshots add column last_verified_at timestamptz;
alter table snapshots add column last_error text;
create index snapshots_to_verify on snapshots (verify_asked_at) where verify_asked_at is not null;
alter table snapshot_schedules add column verify boolean not null default false;
