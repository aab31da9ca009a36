-- Forgets who declares what; no object changes.
drop table declarations;
