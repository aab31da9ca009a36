-- What the deletion of a database leaves.
alter table databases add column on_delete text not null default 'delete' check (on_delete in ('delete', 'retain', 'snapshot_then_delete'));
