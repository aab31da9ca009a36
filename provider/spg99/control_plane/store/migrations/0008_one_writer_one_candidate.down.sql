-- Takes the room for a candidate back: one that is being prepared ends, the writer stays.
update computes set state = 'ended', ended_at = clock_timestamp(), exit_reason = 'The catalogue went back to an older version.'
 where role = 'candidate' and state <> 'ended';
drop index computes_one_candidate;
drop index computes_one_writer;
alter table computes drop column role;
create unique index computes_one_writer on computes (db_id) where state <> 'ended';
