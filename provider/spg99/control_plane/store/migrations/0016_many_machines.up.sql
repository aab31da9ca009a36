-- By what our own processes on different machines know each other.
create table certificate_authorities (
    name           text primary key,
    certificate    text not null,               -- PEM
    key_encrypted  bytea not null,              -- with the installation's key, as passwords are
    created_at     timestamptz not null default clock_timestamp()
);
grant select, insert, update, delete on certificate_authorities to spg99_service;

-- Whose certificates are refused before they end: of nodes that were removed.
create table revoked_identities (
    identity_id  text primary key,
    revoked_at   timestamptz not null
);
grant select, insert, update, delete on revoked_identities to spg99_service;

-- cordoned: takes nothing new. draining: what it has goes elsewhere.
alter table nodes drop constraint nodes_status_check;
alter table nodes add constraint nodes_status_check check (status in ('active', 'cordoned', 'draining', 'gone'));

-- Whether a node that is emptied ends the sessions of databases in use, or waits for them.
alter table nodes add column drain_ends_sessions boolean not null default false;
