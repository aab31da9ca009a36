-- Who declares which object: the stack or state from which its create came, as the client told it. No row: nobody told
-- (objects from before this migration among them). What is found here and not in that stack or state is an orphan of it.
create table declarations (
    uid text primary key,                       -- of the object: ten_, db_, key_, crd_
    noun text not null,
    human_id text not null,                     -- acme/app
    org_id text,                                -- null: a key of scope global
    tenant_id text,                             -- null: it belongs to no tenant
    tool text not null,
    state text not null,                        -- the stack or state
    resource text,                              -- Pulumi's URN
    key_id text not null,                       -- the API key it was declared with
    also_known_to text,                         -- another stack or state that has read the object as one of its own since
    also_known_at timestamptz,
    declared_at timestamptz not null default clock_timestamp()
);
create index declarations_by_state on declarations (org_id, state, human_id collate "C", uid);
create index declarations_by_tenant on declarations (tenant_id) where tenant_id is not null;
grant select, insert, update, delete on declarations to spg99_service;
